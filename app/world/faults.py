"""Fault profiles and the rate limit of the demo business, counted: the same calls meet the same faults."""

import re
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """One profile with its counters."""

    drop_every: int = 0
    """Every n-th write commits, and then the connection is closed without a reply."""
    fail_every: int = 0
    """Every n-th write is refused with 500 before anything happens."""
    delay: float = 0.0
    """Seconds that every read takes longer."""
    busy: bool = False
    """A repetition is refused with 409 while the first request under its key is at work, as payment services do."""
    work: float = 0.0
    """Seconds that every write works before it commits."""
    failing_batch: int = 0
    """The refund batch with this number is refused for good, before anything happens."""
    writes: int = 0
    batches: int = 0
    commits: int = 0

    @classmethod
    def of(cls, profile: str) -> "Faults":
        """Return a profile by name, `fail_batch:N`, or `busy409:SECONDS`; raises ValueError naming what exists."""
        if match := re.fullmatch(r"fail_batch:([1-9]\d{0,5})", profile):
            return cls(failing_batch=int(match[1]))
        if match := re.fullmatch(r"busy409:(\d{1,3}(?:\.\d{1,3})?)", profile):
            return cls(busy=True, work=float(match[1]))
        profiles = {
            "none": cls(),
            "drop3": cls(drop_every=3),
            "drop7": cls(drop_every=7),
            "flaky500": cls(fail_every=5),
            "slow": cls(delay=0.05),
        }
        if profile not in profiles:
            raise ValueError(
                f"there is no fault profile {profile!r}; choose {', '.join(profiles)}, fail_batch:N or busy409:SECONDS"
            )
        return profiles[profile]

    def breaks(self) -> bool:
        """Count a write and tell whether it breaks before anything happens."""
        # Counted, not drawn: the demo and the tests must meet the same faults each time.
        self.writes += 1
        return self.fail_every > 0 and self.writes % self.fail_every == 0

    def refuses_batch(self) -> bool:
        """Count a refund batch and tell whether it is the one that fails for good."""
        self.batches += 1
        return self.failing_batch > 0 and self.batches == self.failing_batch

    def drops(self) -> bool:
        """Count a committed write and tell whether its reply is lost."""
        self.commits += 1
        return self.drop_every > 0 and self.commits % self.drop_every == 0


@dataclass(slots=True)
class RateLimit:
    """How many calls a client may make in one second."""

    per_second: int = 5_000
    second: int = 0
    calls: Counter[str] = field(default_factory=Counter[str])

    def allows(self, client: str) -> bool:
        """Count a call and tell whether it is within the limit."""
        second = int(time.monotonic())
        if second != self.second:
            self.second, self.calls = second, Counter()
        self.calls[client] += 1
        return self.calls[client] <= self.per_second
