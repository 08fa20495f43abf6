"""How far a run is and how long it will take: folded from journal entries; streams and run views show it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from memory.governance.journal import JournalEntry

_NOT_DONE = frozenset({"replayed", "failed", "skipped"})


class Pace:
    """The speed of a batched step, from its first batch that was seen to the last."""

    def __init__(self) -> None:
        self._step = ""
        self._first: tuple[int, datetime] = (0, datetime.min)

    def note(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the progress that an outcome reports, with seconds left once two batches were seen."""
        told: Mapping[str, Any] | None = body.get("progress")
        if not told or not told.get("of"):
            return None
        at, batch, of = datetime.fromisoformat(body["at"]), int(told["batch"]), int(told["of"])
        if self._step != told["step"]:
            self._step, self._first = told["step"], (batch, at)
        seen = batch - self._first[0]
        left = (at - self._first[1]).total_seconds() / seen * (of - batch) if seen > 0 else None
        shown = {name: told.get(name) for name in ("step", "batch", "of", "done", "total")}
        return {**shown, "seconds_left": None if left is None else round(left, 1), "text": _words(shown, body, left)}


def latest(entries: Iterable[JournalEntry]) -> dict[str, Any] | None:
    """Return the progress after the last entry, or None if none is batched."""
    pace, found = Pace(), None
    for entry in entries:
        body = entry.body
        if body["kind"] == "outcome":
            found = pace.note(body) or found
    return found


def _words(shown: Mapping[str, Any], body: Mapping[str, Any], left: float | None) -> str:
    words = [f"batch {shown['batch']}/{shown['of']}"]
    if shown["done"] is not None:
        words.append(f"{shown['done']:,} {_verb(body)}")
    if left is not None and shown["batch"] != shown["of"]:
        words.append(f"about {max(1, round(left))} s left")
    return ", ".join(words)


def _verb(body: Mapping[str, Any]) -> str:
    """Name what a batch counts by its own result: `refunded`, `escalated`, `notified`."""
    outcome: Mapping[str, Any] = body.get("outcome") or {}
    result: Mapping[str, Any] = outcome.get("result") or outcome
    counted = [name for name, value in result.items() if name.endswith("ed") and isinstance(value, int)]
    return next((name for name in counted if name not in _NOT_DONE), "done")
