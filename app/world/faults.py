"""How the world misbehaves, by name: counted, so that the same calls always meet the same faults."""

import re
from dataclasses import dataclass

NAMED = {"none": (0, 0, 0.0, 0), "drop3": (3, 0, 0.0, 0), "drop7": (7, 0, 0.0, 0), "flaky500": (0, 5, 0.0, 0),
         "slow": (0, 0, 0.05, 0)}  # fmt: skip


@dataclass(slots=True)
class Faults:
    """One profile with its counters."""

    drop_every: int = 0
    """Every n-th write commits, and then the connection is closed without a reply."""
    fail_every: int = 0
    """Every n-th write is refused with 500 before anything happens."""
    delay: float = 0.0
    """Seconds that every read takes longer."""
    failing_batch: int = 0
    """The refund batch with this number is refused for good, before anything happens."""
    writes: int = 0
    batches: int = 0
    committed: int = 0

    @classmethod
    def of(cls, profile: str) -> "Faults":
        """Return a profile by name, or `fail_batch:N`; raises ValueError naming what exists."""
        if match := re.fullmatch(r"fail_batch:(\d+)", profile):
            return cls(failing_batch=int(match[1]))
        if profile not in NAMED:
            raise ValueError(f"there is no fault profile {profile!r}; choose {', '.join(NAMED)} or fail_batch:N")
        drop, fail, delay, batch = NAMED[profile]
        return cls(drop, fail, delay, batch)

    def breaks(self) -> bool:
        """Count a write and tell whether it breaks before anything happens."""
        self.writes += 1
        return self.fail_every > 0 and self.writes % self.fail_every == 0

    def refuses_batch(self) -> bool:
        """Count a refund batch and tell whether it is the one that fails for good."""
        self.batches += 1
        return self.failing_batch > 0 and self.batches == self.failing_batch

    def drops(self) -> bool:
        """Count a committed write and tell whether its reply is lost."""
        self.committed += 1
        return self.drop_every > 0 and self.committed % self.drop_every == 0
