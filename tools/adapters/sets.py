"""Set tools: rows of earlier reads, grouped by rules of the runbook; discovered by the catalogue."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools import cel
from tools.action import Cost, Json
from tools.tool import Call, SliceArgument, tool

GroupName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

CaseRule = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}: .+$")]


class SplitArguments(BaseModel):
    """Rows and the rules that sort them."""

    model_config = ConfigDict(extra="forbid")

    of: SliceArgument
    cases: list[CaseRule] = Field(min_length=1, max_length=20)
    """`name: condition` with CEL over a row's fields, in order; the first that holds wins."""
    otherwise: GroupName = "other"
    """Group of the rows for which no condition holds or none can be decided."""


@tool("sets.split", effect="read", cost=Cost())
async def split(args: SplitArguments, call: Call) -> Mapping[str, Json]:
    """Sort rows into groups by conditions over their fields; returns one slice per group, empty ones included."""
    slices = await call.rows.split(args.of, cel.parse_cases(args.cases), args.otherwise)
    return {name: part.model_dump() for name, part in slices.items()}
