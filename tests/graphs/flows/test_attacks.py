"""Tricks with plans, answers and cancellations: each ends without the effect it is after, and each ends."""

import asyncio
from dataclasses import replace

import pytest

from app.worker import Driver
from memory.governance.approvals import ApprovalView
from memory.runs import records
from memory.runs.leases import Lease
from tests.graphs.stage import HOLD, POLICY, Stages, pay, pay_all, plan, read

pytestmark = pytest.mark.anyio


async def test_an_edit_cannot_say_that_a_batch_is_worth_less(stages: Stages) -> None:
    """R45: limits are compared with the total of a slice, which is therefore not the editor's to say."""
    stage = stages(policy=POLICY + HOLD)
    stage.shop.orders = 3
    row = await stage.run(plan(read(), pay_all()))
    question = await stage.open_approval(row.id)
    part = {**question.approval.question["args"]["orders"], "total": 1}
    await stage.decide(row.id, "carol", "edit", new_arguments={"orders": part})
    await stage.driver().drive(row.id)
    assert (await stage.open_approval(row.id)).approval.exposure == 1
    await stage.decide(row.id, "bob")
    await stage.driver().drive(row.id)
    ending = await stage.row(row.id)
    assert (ending.status, "come to 303, not 1" in ending.message, stage.shop.payments) == ("failed", True, {})


async def test_a_run_that_is_cancelled_on_its_way_to_a_gate_ends(stages: Stages) -> None:
    """Between question and parking nobody may wait for an answer any more, nor ask for it over and over."""
    stage = stages(policy=POLICY + HOLD)
    run, deps = await stage.start(plan=plan(pay("a"))), stage.deps()

    async def standing(lease: Lease, approval: str) -> ApprovalView:
        if not await stage.bodies(run, "cancel"):
            async with stage.database.transaction(stage.access) as connection:
                assert await records.cancel(connection, run, "enough") == "running"
        return await deps.standing(lease, approval)

    async with asyncio.timeout(20):
        await Driver(stage.database, replace(deps, standing=standing), stage.clock, 1).drive(run)
    assert ((await stage.row(run)).status, stage.shop.payments) == ("cancelled", {})
