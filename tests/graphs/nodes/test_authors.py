"""Whole runs of small teams: an edit that its writer alone could approve, and a question that nobody could decide."""

import pytest

from memory.governance import authors
from memory.runs import records
from memory.scope import Access
from tests.conftest import Connection
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, pay, plan

pytestmark = pytest.mark.anyio


async def remain(owner: Connection, stage: Stage, *names: str) -> None:
    """Take the limits of everybody else, so that they decide nothing that costs."""
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [stage.access.principal.tenant])
        await owner.execute("update principals set limit_alone = 0 where not id = any (%s)", [list(names)])


async def test_a_run_of_two_people_goes_on_after_an_edit(stages: Stages, owner: Connection) -> None:
    """Bob edits what alice asked; alice takes it over, bob approves, and what was edited is what is paid."""
    stage = stages(policy=POLICY + HOLD)
    await remain(owner, stage, "alice", "bob")
    row = await stage.run(plan(pay("a")))
    edit = await stage.decide(row.id, "bob", "edit", new_arguments={"order": "a", "amount": 70})
    assert edit.code == "no_approver_left"
    question = (await stage.open_approval(row.id)).approval
    async with stage.database.transaction(stage.access) as connection:
        nonce = (question.proposal or {})["nonce"]
        taken = await authors.take_over(connection, approval=question.id, nonce=nonce, channel="test")
    assert (taken.code, taken.wakes_run) == ("ok", True)
    await stage.driver().drive(row.id)
    assert (await stage.decide(row.id, "alice")).code == "requester_excluded"
    assert (await stage.decide(row.id, "bob")).status == "approved"
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, stage.shop.payments) == ("done", {"a": 70})


async def test_a_run_that_nobody_could_decide_stops_and_goes_on_when_somebody_can(
    stages: Stages, owner: Connection
) -> None:
    stage = stages(policy=POLICY + HOLD)
    await remain(owner, stage, "alice")
    row = await stage.run(plan(pay("a")))
    assert (row.status, row.reason, stage.shop.calls) == ("stopped", "no_approver_left", [])
    assert "1 of all people must agree and 0 can (nobody): 'alice' asked for it" in row.message
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [stage.access.principal.tenant])
        await owner.execute("update principals set limit_alone = 100 where id = 'carol'")
    async with stage.database.transaction(Access.of(stage.people["alice"])) as connection:
        await records.resume(connection, row.id)
    await stage.driver().drive(row.id)
    assert (await stage.decide(row.id, "carol")).status == "approved"
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, stage.shop.payments) == ("done", {"a": 100})
