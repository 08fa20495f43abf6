"""Large results of a step for its tool: slices as models, cases as CEL; the gateway gives one to each call."""

from collections.abc import AsyncIterator, Mapping

from memory.errors import Permanent
from memory.runs.results import ResultSlice, RunRows
from memory.runs.rows import amount, common_currency, currency
from tools import cel
from tools.action import Json
from tools.tool import SliceArgument


class Handles:
    """Results of one step: slices as models, cases as CEL."""

    def __init__(self, rows: RunRows) -> None:
        self._rows = rows

    async def read(self, part: SliceArgument) -> AsyncIterator[Mapping[str, Json]]:
        """Yield the rows of a slice of this run, in order.

        Raises Permanent("forged_authority") if the slice claims another total or currency than its rows have: what
        policies and people's limits were compared with must be what is sent.
        """
        rows = [row async for row in self._rows.read(_plain(part))]
        if (total := sum(map(amount, rows))) != part.total:
            message = f"the rows of {part.handle!r} come to {total}, not {part.total} minor units; cut the slice again"
            raise Permanent("forged_authority", message)
        if part.currency and (actual := common_currency(map(currency, rows))) != part.currency:
            message = f"the rows of {part.handle!r} are in {actual or 'nothing'}, not {part.currency}; cut it again"
            raise Permanent("forged_authority", message)
        for row in rows:
            yield row

    async def keep(self, name: str, rows: AsyncIterator[Mapping[str, Json]]) -> SliceArgument:
        """Store rows under this step; the first writer wins."""
        return SliceArgument.model_validate(await self._rows.keep(name, rows))

    async def split(self, part: SliceArgument, cases: Mapping[str, str], otherwise: str) -> Mapping[str, SliceArgument]:
        """Partition a slice by CEL cases over its rows' fields; every case gets a slice, empty ones too."""
        slices = await self._rows.split(
            _plain(part),
            cel.classifier(cases),
            fields=cel.case_fields(cases),
            names=list(cases),
            otherwise=otherwise,
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


def _plain(part: SliceArgument) -> ResultSlice:
    return ResultSlice(**part.model_dump())
