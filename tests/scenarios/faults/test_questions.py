"""Faults of questions: what people did not agree to has no effect, whatever the tables say."""

from typing import Any

import psycopg
import pytest

from memory.governance import approvals
from memory.governance.approvals import VoteKind
from memory.runs import records
from memory.scope import Access
from tests.conftest import Connection
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, pay, plan
from tests.scenarios.faults.table import AFTER_THE_VOTES, BEFORE_THE_VOTES, Fault
from tests.scenarios.faults.test_database import broken, ending

TWO = HOLD.replace('"1"', '"2"').replace(">= 1", ">= 2")
ATTENDED = HOLD.replace('@ttl("600")', '@ttl("600") @groups("finance")')


@pytest.fixture
def stage(stages: Stages) -> Stage:
    return stages(policy=POLICY + ATTENDED)


async def asked(stage: Stage) -> str:
    """Return a run that waits for people."""
    row = await stage.run(plan(pay("a")))
    assert row.status == "waiting"
    return row.id


@pytest.mark.parametrize("fault", AFTER_THE_VOTES, ids=str)
async def test_an_agreement_that_no_longer_holds_permits_nothing(stage: Stage, above: Connection, fault: Fault) -> None:
    """People are asked anew, or the run ends with a code that says why."""
    run = await asked(stage)
    if "expired" not in fault.name:
        await stage.decide(run)
    async with broken(above, fault, stage, run):
        if "expired" in fault.name:
            async with stage.database.worker() as connection:
                assert run in await records.expire(connection)
        status = await ending(stage, run)
    assert (status, stage.shop.payments) == ((fault.status, fault.reason), {})


@pytest.mark.parametrize("fault", BEFORE_THE_VOTES, ids=str)
async def test_a_round_without_its_votes_permits_nothing(stage: Stage, above: Connection, fault: Fault) -> None:
    run = await asked(stage)
    async with broken(above, fault, stage, run):
        await above.execute("update runs set status = 'queued', waits_for = null where id = %s", [run])
        status = await ending(stage, run)
    assert (status, stage.shop.payments) == ((fault.status, fault.reason), {})


@pytest.mark.parametrize("table", ["votes", "journal"])
async def test_a_vote_that_cannot_be_recorded_counts_for_nothing(stage: Stage, above: Connection, table: str) -> None:
    run = await asked(stage)
    await above.execute(f"alter table {table} add constraint broken check (false) not valid".encode())
    try:
        with pytest.raises(psycopg.errors.CheckViolation):
            await stage.decide(run)
    finally:
        await above.execute(f"alter table {table} drop constraint broken".encode())
    assert ((await stage.row(run)).status, stage.shop.payments) == ("waiting", {})


@pytest.mark.parametrize(
    ("decisions", "codes"),
    [
        ([("bob", "reject"), ("carol", "approve")], ["ok", "approval_decided"]),
        ([("alice", "approve")], ["requester_excluded"]),
        ([("dave", "approve")], ["over_limit"]),
    ],
    ids=["rejected, then approved by another", "the requester agrees", "somebody without a limit agrees"],
)
async def test_a_vote_that_does_not_count_permits_nothing(stage: Stage, decisions: Any, codes: list[str]) -> None:
    run = await asked(stage)
    question = await stage.open_approval(run)
    results = [await vote(stage, person, question, decision) for person, decision in decisions]
    await stage.driver().drive(run)
    assert (results, stage.shop.payments) == (codes, {})


async def vote(stage: Stage, person: str, question: Any, decision: VoteKind) -> str:
    """Let a person answer a question that may be closed; returns the code."""
    async with stage.database.transaction(Access.of(stage.people[person])) as connection:
        result = await approvals.decide(
            connection,
            approval=question.approval.id,
            nonce=question.approval.nonce,
            decision=decision,
            reason="because",
            channel="test",
        )
    return result.code


@pytest.mark.parametrize("tampering", ["", "update approvals set need = 1 where run = %s"], ids=["", "need lowered"])
async def test_one_vote_of_two_permits_nothing(stages: Stages, above: Connection, tampering: str) -> None:
    stage = stages(policy=POLICY + TWO)
    run = await asked(stage)
    if tampering:
        await above.execute(tampering.encode(), [run])
    await stage.decide(run, "bob")
    await above.execute("update runs set status = 'queued', waits_for = null where id = %s", [run])
    assert (await ending(stage, run), stage.shop.payments) == (("waiting", None), {})


async def test_a_run_cancelled_before_the_vote_permits_nothing(stage: Stage) -> None:
    run = await asked(stage)
    question = await stage.open_approval(run)
    async with stage.database.transaction(stage.access) as connection:
        await records.cancel(connection, run, "enough")
    assert await vote(stage, "bob", question, "approve") == "approval_void"
    await stage.driver().drive(run)
    assert ((await stage.row(run)).status, stage.shop.payments) == ("cancelled", {})


async def test_a_requester_changed_in_the_table_to_the_approver_permits_nothing(
    stage: Stage, above: Connection
) -> None:
    run = await asked(stage)
    await above.execute("update runs set requester = 'bob' where id = %s", [run])
    await stage.decide(run, "bob")
    assert (await ending(stage, run), stage.shop.payments) == (("waiting", None), {})
