"""Whether the record agrees with what a plan expected: every effect there, with its approval, and the sums equal.

Pure; the auditor calls it with the journal of the run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.plan import Plan
from graphs.position import UNDO
from graphs.state import State
from memory.journal import Entry
from tools.action import Json


@dataclass(frozen=True, slots=True)
class Finding:
    """What the comparison found; no problems means that all is as expected."""

    problems: tuple[str, ...]
    effects: int
    """Effects that the journal records as done."""
    skipped: int
    """Actions that had been done before under the same natural key."""
    approvals: tuple[str, ...]
    """Approvals that the effects rest on."""

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
        }


class _Record:
    """The journal by step: what was done, found done already, and permitted."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.done: dict[str, list[Mapping[str, Any]]] = {}
        self.skipped: dict[str, set[str]] = {}
        self.permitted: dict[str, list[Mapping[str, Any]]] = {}
        self.held: set[str] = set()
        for entry in entries:
            self._add(entry.body)

    def _add(self, body: Mapping[str, Any]) -> None:
        name = str(body.get("step", ""))
        step = name.split("#", maxsplit=1)[0] if not name.endswith(UNDO) else name
        match body["kind"]:
            case "outcome" | "resolved" if body["state"] == "done":
                self.done.setdefault(step, []).append(body)
            case "skipped":
                self.skipped.setdefault(step, set()).add(name)
            case "permitted":
                self.permitted.setdefault(step, []).append(body)
            case "held":
                self.held.add(name)
            case _:
                pass


def compare(plan: Plan, state: State, entries: Sequence[Entry]) -> Finding:
    """Return what is not as the plan expected, step by step."""
    record = _Record(entries)
    approvals = {body["approval"] for bodies in record.permitted.values() for body in bodies if body.get("approval")}
    outcome = state.get("outcome") or {}
    problems = [outcome.get("message", "")] if outcome.get("state") == "unverified" else []
    return Finding(
        problems=(*problems, *_steps(plan, state, record), *_unapproved(record)),
        effects=sum(len(bodies) for bodies in record.done.values()),
        skipped=sum(len(names) for names in record.skipped.values()),
        approvals=tuple(sorted(approvals)),
    )


def _steps(plan: Plan, state: State, record: _Record) -> Iterator[str]:
    for step in plan.steps:
        result = state.get("results", {}).get(step.id)
        if step.effect == "read" or result is None or result.get("skipped"):
            continue
        wanted = _int(result.get("batches"), 1) - _int(result.get("failed"), 0)
        done, skipped = record.done.get(step.id, []), record.skipped.get(step.id, set())
        if len({body["step"] for body in done} | skipped) < wanted:
            yield f"step {step.id!r} reports {wanted} actions done, the journal has {len(done)}"
        elif not skipped and len(done) == wanted:
            yield from _sums(step.id, result, done)


def _sums(step: str, result: Mapping[str, Json], done: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Compare the numbers that a step reports with the sums over its recorded outcomes."""
    total: Counter[str] = Counter()
    for body in done:
        outcome: Mapping[str, Any] = body.get("outcome") or {}
        told: Mapping[str, Json] = outcome.get("result") or {}
        total.update({name: value for name, value in told.items() if type(value) is int})
    for name, value in result.items():
        if type(value) is int and name in total and total[name] != value:
            yield f"step {step!r} reports {name} {value}, its recorded outcomes add up to {total[name]}"


def _unapproved(record: _Record) -> Iterator[str]:
    for bodies in record.permitted.values():
        for body in bodies:
            if body["step"] in record.held and not body.get("approval"):
                yield f"step {body['step']!r} was held for people, but its permit names no approval"


def _int(value: Json, default: int) -> int:
    return value if isinstance(value, int) else default
