"""Cuts of large results, by reference: digests and totals come from the store, rows cannot be read through it.

Binding cuts arguments and batches; the wiring hands in the store's side.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from memory.runs.results import ResultSlice

CutRows = Callable[[ResultSlice, int, int], Awaitable[ResultSlice]]
"""Returns the part of a slice that begins `start` rows into it and has `count` rows."""


class Cuts(Protocol):
    """The results of one run."""

    async def cut(self, part: ResultSlice, start: int, count: int) -> ResultSlice:
        """Return rows of a slice as a slice."""
        ...

    async def cuts(self, part: ResultSlice, start: int, size: int) -> Sequence[ResultSlice]:
        """Return every batch of a slice from `start` on."""
        ...


def cut_ahead(rows: Cuts) -> CutRows:
    """Return a cut that fetches all batches of a size with the first of them, so that a hundred cost one query."""
    slices: dict[tuple[str, int], ResultSlice] = {}

    async def cut(source: ResultSlice, start: int, count: int) -> ResultSlice:
        key = (source["handle"], source["start"] + start)
        if key not in slices:
            for part in await rows.cuts(source, start, count):
                slices[part["handle"], part["start"]] = part
        part = slices[key]
        return part if part["count"] == count else await rows.cut(source, start, count)

    return cut
