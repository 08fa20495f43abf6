"""Large results of a step for its tool: slices as models, cases as CEL; the gateway gives one to each call."""

from collections.abc import AsyncIterator, Mapping

from memory.runs.results import ResultSlice, RunRows
from tools import cel
from tools.action import Json
from tools.deadline import put_off
from tools.tool import SliceArgument

_ROWS = 500
"""Rows that pass until the deadline is put off again."""
_KEPT_ROWS = 1_000
"""Rows of the largest slice that is kept for a second look."""


class Handles:
    """Results of one step: slices as models, cases as CEL."""

    def __init__(self, rows: RunRows) -> None:
        self._rows = rows
        self._last: tuple[SliceArgument, list[Mapping[str, Json]]] | None = None
        """The slice read last, with its rows: what was sent is read again to see whether it came to be."""

    async def read(self, part: SliceArgument) -> AsyncIterator[Mapping[str, Json]]:
        """Yield the rows of a slice of this run, in order.

        Raises Permanent("forged_authority") if the slice claims another total or currency than its rows have: what
        policies and people's limits were compared with must be what is sent.
        """
        if self._last and self._last[0] == part:
            for row in self._last[1]:
                yield row
            return
        rows: list[Mapping[str, Json]] = []
        async for page in self._rows.pages(_plain(part)):
            put_off()
            for row in page:
                yield row
            rows += page if part.count <= _KEPT_ROWS else []
        self._last = (part, rows) if len(rows) == part.count else None

    async def keep(self, name: str, rows: AsyncIterator[Mapping[str, Json]]) -> SliceArgument:
        """Store rows under this step; the first writer wins."""
        return SliceArgument.model_validate(await self._rows.keep(name, _put_off(rows)))

    async def split(self, part: SliceArgument, cases: Mapping[str, str], otherwise: str) -> Mapping[str, SliceArgument]:
        """Partition a slice by CEL cases over its rows' fields; every case gets a slice, empty ones too."""
        slices = await self._rows.split(
            _plain(part),
            cel.classifier(cases),
            fields=cel.case_fields(cases),
            names=list(cases),
            otherwise=otherwise,
            on_piece=put_off,
        )
        return {name: SliceArgument.model_validate(value) for name, value in slices.items()}

    async def recall(self, query: str, limit: int) -> Mapping[str, Json]:
        """Keep the memories found in this run's scopes; their texts stay out of journal and prompts."""
        part, result = await self._rows.recall("found", query, limit)
        omissions: dict[str, Json] = {
            "expired": result.expired_count,
            "superseded": result.superseded_count,
            "below": result.unrelated_count,
        }
        return {"found": SliceArgument.model_validate(part).model_dump(), "hidden": omissions}

    async def remember(self, text: str) -> str:
        """Put a text into this run's working memory, which ends with the run; returns its id."""
        return await self._rows.remember(text)


async def _put_off(rows: AsyncIterator[Mapping[str, Json]]) -> AsyncIterator[Mapping[str, Json]]:
    """Pass rows on, and put the deadline off now and then."""
    count = 0
    async for row in rows:
        if count % _ROWS == 0:
            put_off()
        count += 1
        yield row


def _plain(part: SliceArgument) -> ResultSlice:
    return ResultSlice(**part.model_dump())
