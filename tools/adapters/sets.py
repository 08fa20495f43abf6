"""Sets of rows that earlier reads kept: grouped by rules of the runbook, never by a helpful service."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools.action import Cost, Json
from tools.tool import Call, Slice, tool

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

Case = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}: .+$")]


class Split(BaseModel):
    """Rows and the rules that sort them."""

    model_config = ConfigDict(extra="forbid")

    of: Slice
    cases: dict[Name, str] | list[Case] = Field(min_length=1, max_length=20)
    """CEL condition over a row's fields by group name, or a list of `name: condition`; the first that holds wins.

    A list keeps its order wherever it is stored: JSON objects may come back in another one.
    """
    otherwise: Name = "other"
    """Group of the rows for which no condition holds or none can be decided."""


@tool("sets.split", effect="read", cost=Cost())
async def split(args: Split, call: Call) -> Mapping[str, Json]:
    """Sort rows into groups by conditions over their fields; returns one slice per group, empty ones included."""
    cases = args.cases if isinstance(args.cases, dict) else dict(_pair(case) for case in args.cases)
    parts = await call.rows.split(args.of, cases, args.otherwise)
    return {name: part.model_dump() for name, part in parts.items()}


def _pair(case: str) -> tuple[str, str]:
    name, _, condition = case.partition(": ")
    return name, condition
