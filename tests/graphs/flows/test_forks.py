"""Forks: a run that goes on from another run's checkpoint is no licence to do again what that run did."""

from typing import Any
from uuid import uuid4

import pytest

from graphs.catalog import FlowCatalog
from memory.errors import Halt
from memory.governance import approvals
from memory.runs import records
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.models import Run
from tests.graphs.stage import BUDGET, HOLD, POLICY, Stage, Stages, close, pay, plan, read

pytestmark = pytest.mark.anyio
OPEN = {**close("x"), "id": "open_x", "tool": "shop.open", "expect": "result.opened == 1", "compensate": None}
STEPS = (close("x"), read(), OPEN, pay("a"))
"""A keyed write, an unkeyed one, and one that people may be asked about."""


async def fork(stage: Stage, row: Run, checkpoint: str) -> Run:
    """Go on from a checkpoint of a run in a run of its own, as anybody can with LangGraph's own call."""
    name = str(uuid4())
    async with stage.database.transaction(stage.access) as connection:
        await records.start(connection, id=name, thread=row.thread, input=row.input, correlation=name, budget=BUDGET)
    lease = await stage.lease(name)
    flow = FlowCatalog.discover().get("governed").compile(stage.deps(), Checkpoints(stage.database))
    state: dict[str, Any]
    try:
        state = await flow.ainvoke(None, leading(lease, checkpoint=checkpoint), context=lease, durability="sync")
    except Halt as error:
        state = {"end": {"status": "stopped", "reason": error.code, "message": str(error), "body": {}}}
    ending: dict[str, Any] = state.get("end") or {"status": "stopped", "reason": "waits", "message": "", "body": {}}
    async with stage.database.transaction(stage.access) as connection:
        await records.finish(connection, lease, **ending)
    return await stage.row(name)


async def checkpoints(stage: Stage, row: Run) -> list[str]:
    """Return the checkpoints of a thread, oldest first."""
    saver = stage.saver()
    history = [tuple async for tuple in saver.alist(reading(stage.access, row.thread), filter={"run": row.id})]
    return [tuple.checkpoint["id"] for tuple in reversed(history)]


@pytest.mark.parametrize("policy", [POLICY, POLICY + HOLD], ids=["unattended", "attended"])
async def test_a_fork_from_any_checkpoint_repeats_no_effect(stages: Stages, policy: str) -> None:
    stage = stages(policy=policy)
    row = await stage.run(plan(*STEPS))
    while row.status == "waiting":
        await stage.decide(row.id)
        row = await stage.drive(row.id)
    effects, payments = len(stage.shop.calls), dict(stage.shop.payments)
    assert (row.status, effects) == ("done", 3)
    places = await checkpoints(stage, row)
    forks = [await fork(stage, row, place) for place in places]
    assert (len(stage.shop.calls), stage.shop.payments, stage.shop.closures) == (effects, payments, [])
    # What was closed and opened again since is put before people: closing it once more takes their word.
    assert {(fork.status, fork.reason) for fork in forks} == {("done", None), ("stopped", "waits")}


async def test_a_fork_of_a_fork_carries_out_the_request_of_the_first_run(stages: Stages) -> None:
    stage = stages()
    row = await stage.run(plan(*STEPS))
    first = await fork(stage, row, (await checkpoints(stage, row))[1])
    second = await fork(stage, first, (await checkpoints(stage, first))[0])
    assert (first.reason, second.reason, len(stage.shop.calls)) == ("waits", "waits", 3)


async def test_a_fork_from_before_a_refusal_asks_people_anew(stages: Stages) -> None:
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(close("x"), OPEN, pay("a")))
    await stage.decide(row.id, decision="reject")
    row = await stage.drive(row.id)
    assert (row.status, stage.shop.payments) == ("denied", {})
    forked = await fork(stage, row, (await checkpoints(stage, row))[-4])
    assert (forked.reason, stage.shop.payments) == ("waits", {})
    rounds = await approvals.ls(stage.database, stage.access, run=forked.id)
    assert [(round.kind, round.status) for round in rounds] == [("action", "void")]


async def test_a_new_request_on_the_thread_is_no_fork(stages: Stages) -> None:
    stage = stages()
    row = await stage.run(plan(*STEPS))
    other = await stage.start(plan=plan(close("x"), OPEN), thread=row.thread)
    assert (await stage.drive(other)).status == "done"
    assert len(stage.shop.calls) == 5
