"""Tricks against the gateway that once worked or could have: each ends without the effect it is after."""

import pytest

from tests.tools.support import Desk, act
from tools import effects

pytestmark = pytest.mark.anyio


async def test_a_tool_that_undoes_nothing_cannot_free_a_natural_key(desk: Desk) -> None:
    """R70 R74: else a harmless step named as compensation would let the same charge happen a second time."""
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease))
    tell = act(lease, tool="shop.plain", step="u", compensates=first.effect)
    outcome = await desk.gateway.perform(lease, tell)
    assert (outcome.state, outcome.code) == ("denied", "invalid_arguments")
    again = await desk.gateway.perform(lease, act(lease, step="again"))
    assert again.state == "skipped"
    assert len(desk.shop.effects) == 1


async def test_taking_back_something_else_does_not_free_a_natural_key(desk: Desk) -> None:
    """R74"""
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease))
    other = act(lease, "b", tool="shop.undo", step="u", compensates=first.effect)
    outcome = await desk.gateway.perform(lease, other)
    assert outcome.state == "denied"
    assert (await effects.show(desk.database, lease.access, str(first.effect)))["state"] == "done"
