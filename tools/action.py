"""Actions, decisions and outcomes as frozen values, and the digest that an approval binds."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from tools.money import Money

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]
Role = Literal["planner", "researcher", "executor", "auditor"]
Effect = Literal["read", "write", "destructive"]
Verdict = Literal["allow", "deny", "hold", "shadow"]
NO_ANSWER = "no answer"
"""How the message of a read begins that failed because nobody answered, however often it was tried."""
OutcomeState = Literal["done", "denied", "held", "failed", "unverified", "in_doubt", "compensated", "skipped"]
_PLAIN_TYPES = frozenset({str, int, bool, type(None)})


def as_object(value: object) -> Mapping[str, Json] | None:
    """Return a value if it is a JSON object, else None: adapters are written by others, and answer what they like."""
    return cast(Mapping[str, Json], value) if isinstance(value, Mapping) else None


def canonical(value: Json) -> str:
    """Return the one text of a JSON value: sorted keys, no spaces, integers and text only.

    Follows RFC 8785 for the values it accepts; floats are refused with TypeError because nothing hashed may hold one.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Json) -> str:
    """Return the SHA-256 of the canonical text, as 64 lower-case hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def digest_of_lines(lines: Iterable[str]) -> str:
    """Return the SHA-256 over lines joined by newlines: the digest of a list of canonical items."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def has_long_number(value: object) -> bool:
    """Return whether a value holds an integer beyond 64 bits, which no checkpoint, sum or condition takes."""
    if isinstance(value, int):
        return not -(2**63) <= value < 2**63
    if isinstance(value, Mapping):
        return any(map(has_long_number, cast(Mapping[str, object], value).values()))
    return isinstance(value, list | tuple) and any(map(has_long_number, cast(Sequence[object], value)))


def _refuse_floats(value: object) -> None:
    # Most values are these, which one look tells.
    if type(value) in _PLAIN_TYPES:
        return
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float; money and counts are integers in minor units")
    if isinstance(value, Mapping):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]  # JSON is walked, not known
            _refuse_floats(item)  # pyright: ignore[reportUnknownArgumentType]  # same
    elif isinstance(value, list | tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]  # same
            _refuse_floats(item)  # pyright: ignore[reportUnknownArgumentType]  # same


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of operation, never a business amount; all integers so that sums are exact."""

    tokens: int = 0
    micros: int = 0
    """Money in millionths of the accounting currency."""
    calls: int = 0
    millis: int = 0
    """Wall time; report, never budgeted here."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.tokens + other.tokens,
            self.micros + other.micros,
            self.calls + other.calls,
            self.millis + other.millis,
        )

    def as_json(self) -> dict[str, int]:
        """Return the cost as it stands in journals and answers."""
        return {"tokens": self.tokens, "micros": self.micros, "calls": self.calls, "millis": self.millis}


@dataclass(frozen=True, slots=True)
class Pin:
    """The exact knowledge version that a plan rests on."""

    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Action:
    """One proposed call of one tool: every argument is a literal or a handle with its digest."""

    run: str
    step: str
    """Step id inside the plan, with `#n` appended for the n-th batch."""
    role: Role
    tool: str
    args: Mapping[str, Json]
    plan_hash: str
    user: str
    """The requester's principal id, on whose behalf the agent acts."""
    pins: tuple[Pin, ...] = ()
    exposure: Money | None = None
    """Sum of the amounts of all actions in the same approval; policies and limits compare it."""
    is_tainted: bool = False
    """True if any argument stems from text that an outsider wrote."""
    compensates: str | None = None
    """Id of the effect that this action reverses."""
    checkpoint: str = ""
    """Id of the checkpoint that the step started from; recorded, not part of what is approved."""
    progress: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Where a batch stands, for people who watch; recorded, not part of what is approved."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Verdict of policy on one action, with the rules and the version behind it."""

    verdict: Verdict
    code: str | None = None
    """Set for `deny`, from the closed list of `memory.errors`."""
    rules: tuple[str, ...] = ()
    need: int = 0
    """Distinct approvals needed for `hold`, or already counted for an `allow` that consumes one."""
    groups: frozenset[str] = frozenset()
    """Groups whose members may approve; empty means any."""
    ttl: int = 0
    """Seconds that an approval stays open."""
    policy: str = ""
    """Hash of the policy set that was evaluated; empty if no policy was asked."""
    cards: str = ""
    """Hash of the text that described the tools to it."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one action; `result` is small, large results are named by handle."""

    state: OutcomeState
    code: str | None = None
    message: str = ""
    result: Mapping[str, Json] = field(default_factory=dict[str, Json])
    approval: str | None = None
    """Id of the approval to wait for, when `state` is `held`."""
    effect: str | None = None
    """Id of the effect row, when the action was a write that got as far as a claim."""
    cost: Cost = field(default_factory=Cost)
    checked: bool = False
    """True if the world was seen to be as the outcome says."""
    observed: Mapping[str, Json] | None = None
    """How the target of a skipped write stands now; what is expected of it is judged by this alone."""
