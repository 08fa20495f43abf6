"""Comparison of a plan's expectations with the journal: every effect there, with its approval, and the sums equal.

Pure; the auditor calls it with the journal of the run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.execution.action_names import step_name
from graphs.planning.plan import Plan
from graphs.state import State
from memory.governance.journal import JournalEntry
from tools.action import Json


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """Result of the comparison; no problems means that all is as expected."""

    problems: tuple[str, ...]
    effects: int
    """Effects that the journal records as done."""
    skipped: int
    """Actions that had been done before under the same natural key."""
    approvals: tuple[str, ...]
    """Approvals that the effects rest on."""
    unchecked: int = 0
    """Effects and skips that nothing looked at."""

    @property
    def ok(self) -> bool:
        """Return whether everything is as expected."""
        return not self.problems

    def as_json(self) -> dict[str, Json]:
        """Return the finding as it stands in the journal."""
        return {
            "ok": self.ok,
            "problems": list(self.problems),
            "effects": self.effects,
            "skipped": self.skipped,
            "approvals": list(self.approvals),
            "unchecked": self.unchecked,
        }


Body = Mapping[str, Any]


class _Record:
    """The journal by kind and step."""

    def __init__(self, entries: Sequence[JournalEntry]) -> None:
        self._bodies: dict[str, list[Body]] = {}
        for entry in entries:
            self._bodies.setdefault(entry.kind, []).append(entry.body)

    def of(self, kind: str, step: str | None = None) -> list[Body]:
        """Return the entries of a kind, of all steps or of one; what takes a step back is a step of its own."""
        return [body for body in self._bodies.get(kind, ()) if step in (None, step_name(str(body.get("step", ""))))]

    def completions(self, step: str | None = None) -> list[Body]:
        """Return the outcomes that are done, those included that a person confirmed."""
        return [body for body in (*self.of("outcome", step), *self.of("resolved", step)) if body["state"] == "done"]


def compare(plan: Plan, state: State, entries: Sequence[JournalEntry]) -> AuditFinding:
    """Return what is not as the plan expected, step by step."""
    record = _Record(entries)
    approvals = {str(body["approval"]) for body in record.of("permitted") if body.get("approval")}
    return AuditFinding(
        problems=(*_verification(state), *_steps(plan, state, record), *_missing_approvals(record)),
        effects=len(record.completions()),
        skipped=len(record.of("skipped")),
        approvals=tuple(sorted(approvals)),
        unchecked=sum(_unchecked(plan, state, record)),
    )


def _unchecked(plan: Plan, state: State, record: _Record) -> Iterator[int]:
    """Count by step what no look at the world confirms: neither the tool's own, nor a read of the plan that passed."""
    confirmed = {*_passed_checks(plan, state), *state.get("undone", [])}
    for step in plan.steps:
        if step.effect != "read" and step.id not in confirmed:
            yield sum(map(_is_unchecked, (*record.of("outcome", step.id), *record.of("skipped", step.id))))


def _passed_checks(plan: Plan, state: State) -> Iterator[str]:
    """Yield the writes that a read has looked at; a model may say so as well, but only people's word for it counts."""
    for step in plan.steps if plan.source != "model" else ():
        if _has_run(state.get("results", {}).get(step.id)):
            yield from step.checks


def _is_unchecked(body: Body) -> bool:
    return body.get("state", "done") == "done" and body.get("checked") is not True


def _has_run(result: Mapping[str, Json] | None) -> bool:
    return result is not None and not result.get("skipped")


def _verification(state: State) -> Iterator[str]:
    outcome = state.get("outcome")
    if outcome and outcome.get("state") == "unverified":
        yield outcome.get("message", "")


def _steps(plan: Plan, state: State, record: _Record) -> Iterator[str]:
    for step in plan.steps:
        result = state.get("results", {}).get(step.id)
        if step.effect == "read" or result is None or result.get("skipped"):
            continue
        count = _int(result.get("batches"), 1) - _int(result.get("failed"), 0)
        outcomes = record.completions(step.id)
        # What is contradicted stands in the results only once people have accepted it.
        skips = [*record.of("skipped", step.id), *record.of("contradicted", step.id)]
        if len({body["step"] for body in (*outcomes, *skips)}) < count:
            yield f"step {step.id!r} reports {count} actions done, the journal has {len(outcomes)}"
        elif not skips and len(outcomes) == count:
            yield from _sums(step.id, result, outcomes)


def _sums(step: str, result: Mapping[str, Json], outcomes: Sequence[Body]) -> Iterator[str]:
    """Compare the numbers that a step reports with the sums over its recorded outcomes."""
    total: Counter[str] = Counter()
    for body in outcomes:
        outcome: Mapping[str, Any] = body.get("outcome") or {}
        numbers: Mapping[str, Json] = outcome.get("result") or {}
        total.update({name: value for name, value in numbers.items() if type(value) is int})
    for name in total.keys() & result.keys():
        if total[name] != result[name]:
            yield f"step {step!r} reports {name} {result[name]}, its recorded outcomes add up to {total[name]}"


def _missing_approvals(record: _Record) -> Iterator[str]:
    # A failed audit is put before people as well, but after the act.
    gates = {body["step"] for body in record.of("held") if body.get("code") != "audit_failed"}
    for body in record.of("permitted"):
        if body["step"] in gates and not body.get("approval"):
            yield f"step {body['step']!r} was held for people, but its permit names no approval"


def _int(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default
