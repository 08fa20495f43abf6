"""Sets of rows that earlier reads kept: grouped by rules of the runbook, never by a helpful service."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools import cel
from tools.action import Cost, Json
from tools.tool import Call, Slice, tool

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

Case = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}: .+$")]


class Split(BaseModel):
    """Rows and the rules that sort them."""

    model_config = ConfigDict(extra="forbid")

    of: Slice
    cases: list[Case] = Field(min_length=1, max_length=20)
    """`name: condition` with CEL over a row's fields, in order; the first that holds wins."""
    otherwise: Name = "other"
    """Group of the rows for which no condition holds or none can be decided."""


@tool("sets.split", effect="read", cost=Cost())
async def split(args: Split, call: Call) -> Mapping[str, Json]:
    """Sort rows into groups by conditions over their fields; returns one slice per group, empty ones included."""
    parts = await call.rows.split(args.of, cel.named(args.cases), args.otherwise)
    return {name: part.model_dump() for name, part in parts.items()}
