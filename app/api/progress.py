"""Progress and time left of a batched step, folded from journal entries; used by streams and run views."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from memory.governance.journal import JournalEntry

_NOT_DONE = frozenset({"replayed", "failed", "skipped"})


class Pace:
    """Speed of one batched step, measured from the first batch noted to the latest."""

    def __init__(self) -> None:
        self._step = ""
        self._first: tuple[int, datetime] = (0, datetime.min)

    def note(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the progress in an outcome, or None; `seconds_left` needs two batches."""
        report: Mapping[str, Any] | None = body.get("progress")
        if not report or not report.get("of"):
            return None
        at, batch, of = datetime.fromisoformat(body["at"]), int(report["batch"]), int(report["of"])
        if self._step != report["step"]:
            self._step, self._first = report["step"], (batch, at)
        # The first batch is the start of the measurement: how long it took itself is not known.
        batches = batch - self._first[0]
        seconds_left = (at - self._first[1]).total_seconds() / batches * (of - batch) if batches > 0 else None
        view = {name: report.get(name) for name in ("step", "batch", "of", "done", "total")}
        return {
            **view,
            "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            "text": _words(view, body, seconds_left),
        }


def latest(entries: Iterable[JournalEntry]) -> dict[str, Any] | None:
    """Return the progress after the last entry, or None if no step runs in batches."""
    pace, progress = Pace(), None
    for entry in entries:
        body = entry.body
        if body["kind"] == "outcome":
            progress = pace.note(body) or progress
    return progress


def _words(view: Mapping[str, Any], body: Mapping[str, Any], seconds_left: float | None) -> str:
    words = [f"batch {view['batch']}/{view['of']}"]
    if view["done"] is not None:
        words.append(f"{view['done']:,} {_verb(body)}")
    if seconds_left is not None and view["batch"] != view["of"]:
        words.append(f"about {max(1, round(seconds_left))} s left")
    return ", ".join(words)


def _verb(body: Mapping[str, Any]) -> str:
    """Name what a batch counts by its own result: `refunded`, `escalated`, `notified`."""
    outcome: Mapping[str, Any] = body.get("outcome") or {}
    result: Mapping[str, Any] = outcome.get("result") or outcome
    names = [name for name, value in result.items() if name.endswith("ed") and isinstance(value, int)]
    return next((name for name in names if name not in _NOT_DONE), "done")
