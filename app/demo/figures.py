"""Results of the demo's acts and the checks that they must pass; read by the proof and by the last lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tools.money import DEFAULT, text

Counts = Mapping[str, int]
Entries = Sequence[Mapping[str, Any]]
"""Journal entries as the API shows them."""


@dataclass(frozen=True, slots=True)
class Prevention:
    """The first act: the same charges, twice over."""

    invoices: int
    naive: Counts
    countersign: Counts
    read_back: int
    """Lost replies that were found to have succeeded, so that nothing was sent again."""


@dataclass(frozen=True, slots=True)
class Repair:
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
class ProofCheck:
    """One claim and whether it held."""

    claim: str
    is_met: bool
    evidence: str


def times(repair: Repair) -> Times:
    """Return the run's time split into story, gates and recovery, by the journal's own clock."""
    moments = [(entry["body"]["kind"], datetime.fromisoformat(entry["body"]["at"])) for entry in repair.entries]
    total = (moments[-1][1] - moments[0][1]).total_seconds()
    gates = recovery = 0.0
    gate_start: datetime | None = None
    for kind, at in moments:
        # Only one gate is open at a time, so the last one opened is the one decided.
        if kind == "held":
            gate_start = at
        elif kind == "approval" and gate_start:
            gates, gate_start = gates + (at - gate_start).total_seconds(), None
    if repair.killed_at:
        later = [at for _, at in moments if at > repair.killed_at]
        recovery = (later[0] - repair.killed_at).total_seconds() if later else 0.0
    return Times(story=total - gates - recovery, gates=gates, recovery=recovery)


def times_performed(entries: Entries, tool: str) -> int:
    """Return how often a tool's effect was really performed in a run."""
    return sum(entry["body"]["kind"] == "outcome" and entry["body"]["tool"] == tool for entry in entries)


def checks(prevention: Prevention, repair: Repair, truth: Counts, figures: Mapping[str, Any]) -> list[ProofCheck]:
    """Return every promise of the demo with the evidence for it."""
    counts: Counts = figures["observed"]
    names = ("refunds", "escalated", "manual")
    sums = [text(value["amount"], DEFAULT) for value in (counts, truth)]
    return [
        _equal("every invoice was charged once", prevention.countersign["charges"], prevention.invoices),
        _equal("no customer was charged twice", prevention.countersign["double_charges"], 0),
        _positive("the naive client charged people twice", prevention.naive["double_charges"]),
        _equal("the run ended well", repair.status, "done"),
        *(_equal(f"{name}: as the labels say", counts[name], truth[name]) for name in names),
        _equal("amount: as the labels say", *sums),
        _equal("no charge was refunded twice", counts["duplicate_effects"], 0),
        _equal("no look-alike was touched", counts["lookalikes_touched"], 0),
        _equal("nothing was refunded that should not be", counts["harm"], 0),
        _positive("the naive client refunded some twice", figures["naive"]["duplicate_effects"]),
        _equal("the retry job was paused once", times_performed(repair.entries, "billing.pause_job"), 1),
        _equal("one approval was void when its runbook changed", repair.approvals["voided"], 1),
        _equal("a killed worker was survived", repair.kills, 1),
        _equal("chains, rows, log and heads hold", figures["journal"]["ok"], True),
        _equal("the stranger's verifier says so of the export and of a receipt", figures["verdicts"].hold, True),
        ProofCheck(
            "state never holds the rows", figures["ids"] <= 5, f"{figures['ids']} charge ids in its largest value"
        ),
    ]


def _equal(claim: str, value: object, target: object) -> ProofCheck:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return ProofCheck(claim, value == target, text if value == target else f"{text}, expected {target}")


def _positive(claim: str, count: int) -> ProofCheck:
    return ProofCheck(claim, count > 0, f"{count:,}")
