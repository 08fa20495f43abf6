"""Reads: no claim, one entry with result and cost, and a replay instead of a second call."""

import pytest

from memory.errors import Halt
from memory.runs import records
from tests.tools.support import Desk, act
from tools import kills
from tools.action import NO_ANSWER

pytestmark = pytest.mark.anyio


async def test_a_read_is_recorded_with_its_result_and_cost(desk: Desk) -> None:
    """R83 R108"""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, tool="shop.peek", role="researcher"))
    entry = (await desk.story(lease))[-1]
    assert (outcome.state, outcome.result) == ("done", {"seen": "a", "calls": 1})
    assert (entry["kind"], entry["outcome"]["result"], entry["cost"]["calls"]) == ("read", outcome.result, 1)


async def test_a_read_of_a_step_that_runs_again_is_answered_from_the_journal(desk: Desk) -> None:
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease, tool="shop.peek"))
    again = await desk.gateway.perform(await desk.retake(lease), act(lease, tool="shop.peek"))
    run = await records.get(desk.database, lease.access, lease.run)
    assert (again.result, desk.shop.calls, run.calls.spent) == (first.result, 1, 1)


async def test_a_failed_read_is_tried_again_when_the_step_runs_again(desk: Desk) -> None:
    lease = await desk.run()
    desk.shop.lose = 1
    first = await desk.gateway.perform(lease, act(lease, tool="shop.peek"))
    again = await desk.gateway.perform(lease, act(lease, tool="shop.peek"))
    assert (first.state, first.code, again.state) == ("failed", "tool_failed", "done")
    assert first.message.startswith(f"{NO_ANSWER} (1 tried)")


async def test_the_same_read_under_ever_new_plans_gets_nowhere(desk: Desk) -> None:
    """R21"""
    lease = await desk.run()
    for n in range(5):
        await desk.gateway.perform(lease, act(lease, tool="shop.peek", plan_hash=f"plan-{n}"))
    with pytest.raises(Halt, match="no_progress"):
        await desk.gateway.perform(lease, act(lease, tool="shop.peek", plan_hash="plan-x"))
    assert desk.shop.calls == 5


async def test_a_read_beyond_the_budget_is_not_made(desk: Desk) -> None:
    """R81"""
    lease = await desk.run(calls=1)
    await desk.gateway.perform(lease, act(lease, tool="shop.peek"))
    with pytest.raises(Halt, match="budget_exceeded"):
        await desk.gateway.perform(lease, act(lease, "b", tool="shop.peek"))
    assert desk.shop.calls == 1


async def test_the_stop_switch_stops_reads(desk: Desk) -> None:
    """R125"""
    lease = await desk.run()
    await kills.kill(desk.database, desk.access("bob"), "all")
    with pytest.raises(Halt, match="killed"):
        await desk.gateway.perform(lease, act(lease, tool="shop.peek"))
    assert desk.shop.calls == 0


@pytest.mark.parametrize(
    ("role", "tool", "code"),
    [
        ("planner", "shop.peek", "agent_scope"),
        ("auditor", "shop.peek", "agent_scope"),
        ("researcher", "shop.charge", "no_capability"),
        ("executor", "shop.nothing", "unknown_tool"),
    ],
)
async def test_a_role_reaches_only_its_own_tools(desk: Desk, role: str, tool: str, code: str) -> None:
    """R23 R24 R61 R63"""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, role=role, tool=tool))
    assert (outcome.state, outcome.code, desk.shop.calls) == ("denied", code, 0)
    assert (await desk.story(lease))[-1]["code"] == code
