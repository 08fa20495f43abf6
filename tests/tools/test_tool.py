"""Declarations of tools: what would still the worker's other runs is refused where it is declared."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from tests.tools.support import charge
from tools.action import Json
from tools.tool import Call, tool


class NoArguments(BaseModel):
    """No arguments."""


async def act(args: NoArguments, call: Call, more: str = "") -> Mapping[str, Json]:
    """Act."""
    return {"more": more}


def act_synchronously(args: NoArguments, call: Call, more: str = "") -> Any:
    """Act, and keep everybody waiting."""
    return {"more": more}


class Actor:
    """An object that is called as a tool."""

    async def __call__(self, args: NoArguments, call: Call) -> Mapping[str, Json]:
        """Act."""
        return {}


class SynchronousActor:
    """The same, keeping everybody waiting."""

    def __call__(self, args: NoArguments, call: Call) -> Any:
        """Act."""
        return {}


@pytest.mark.parametrize("function", [act, partial(act, more="x"), Actor()], ids=["function", "partial", "object"])
def test_whatever_gives_way_while_it_waits_may_be_a_tool(function: Any) -> None:
    card = tool("toys.act", effect="read")(function)
    assert (card.arguments, card.run, card.summary) == (NoArguments, function, "Act.")


@pytest.mark.parametrize(
    "function",
    [act_synchronously, partial(act_synchronously, more="x"), SynchronousActor()],
    ids=["function", "partial", "object"],
)
def test_whatever_keeps_everybody_waiting_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="make it an `async def`"):
        tool("toys.act", effect="read")(function)
    with pytest.raises(TypeError, match="lookup of tool"):
        tool("toys.act", effect="write", lookup=function, playbook="p")(act)
    with pytest.raises(TypeError, match=r"'shop\.charge'"):
        replace(charge, run=function)
