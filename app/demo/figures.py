"""What the demo found out, act by act, and the checks that it holds itself to; the proof and the last word use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Counts = Mapping[str, int]
Entries = Sequence[Mapping[str, Any]]
"""Journal entries as the API shows them."""


@dataclass(frozen=True, slots=True)
class Prevented:
    """The first act: the same charges, twice over."""

    asked: int
    naive: Counts
    governed: Counts
    read_back: int
    """Lost replies that were found to have succeeded, so that nothing was sent again."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """The second act: one run, from the chat message to its end."""

    run: str
    status: str
    message: str
    entries: Entries
    approvals: Counts
    """asked, voided, decided."""
    kills: int
    killed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Times:
    """Where the time of a run went, in seconds."""

    story: float
    """From the first to the last entry, without waiting for people and without recovery."""
    gates: float
    recovery: float
    """From the kill to the first entry of the successor."""


@dataclass(frozen=True, slots=True)
class Check:
    """One claim and whether it held."""

    claim: str
    held: bool
    found: str


def times(repaired: Repaired) -> Times:
    """Return where the time went, by the journal's own clock."""
    moments = [(entry["body"]["kind"], datetime.fromisoformat(entry["body"]["at"])) for entry in repaired.entries]
    whole = (moments[-1][1] - moments[0][1]).total_seconds()
    gates = recovery = 0.0
    opened: datetime | None = None
    for kind, at in moments:
        if kind == "held":
            opened = at
        elif kind == "approval" and opened:
            gates, opened = gates + (at - opened).total_seconds(), None
    if repaired.killed_at:
        later = [at for _, at in moments if at > repaired.killed_at]
        recovery = (later[0] - repaired.killed_at).total_seconds() if later else 0.0
    return Times(story=whole - gates - recovery, gates=gates, recovery=recovery)


def times_performed(entries: Entries, tool: str) -> int:
    """Return how often a tool's effect was really performed in a run."""
    return sum(entry["body"]["kind"] == "outcome" and entry["body"]["tool"] == tool for entry in entries)


def checks(prevented: Prevented, repaired: Repaired, expected: Counts, found: Mapping[str, Any]) -> list[Check]:
    """Return everything that the demo promises, with what was found."""
    seen: Counts = found["observed"]
    same = ("refunds", "escalated", "manual", "amount")
    return [
        _equal("every invoice was charged once", prevented.governed["charges"], prevented.asked),
        _equal("no customer was charged twice", prevented.governed["double_charges"], 0),
        _more("the naive client charged people twice", prevented.naive["double_charges"]),
        _equal("the run ended well", repaired.status, "done"),
        *(_equal(f"{name}: as the labels say", seen[name], expected[name]) for name in same),
        _equal("no charge was refunded twice", seen["duplicate_effects"], 0),
        _equal("no look-alike was touched", seen["lookalikes_touched"], 0),
        _equal("nothing was refunded that should not be", seen["harm"], 0),
        _more("the naive client refunded some twice", found["naive"]["duplicate_effects"]),
        _equal("the retry job was paused once", times_performed(repaired.entries, "billing.pause_job"), 1),
        _equal("one approval was void when its runbook changed", repaired.approvals["voided"], 1),
        _equal("a killed worker was survived", repaired.kills, 1),
        _equal("the journal's chains hold", found["journal"]["ok"], True),
        Check("state never holds the rows", found["ids"] <= 5, f"{found['ids']} charge ids in its largest value"),
    ]


def _equal(claim: str, found: object, wanted: object) -> Check:
    told = f"{found:,}" if isinstance(found, int) and not isinstance(found, bool) else str(found)
    return Check(claim, found == wanted, told if found == wanted else f"{told}, expected {wanted}")


def _more(claim: str, found: int) -> Check:
    return Check(claim, found > 0, f"{found:,}")
