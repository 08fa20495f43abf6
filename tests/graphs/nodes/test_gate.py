"""The gate: it reads rows and waits; what people decided, and nothing else, moves a run on."""

from typing import Any

import pytest
from langgraph.types import Command

from graphs.flows.governed import build
from graphs.planning.proposal import Proposal
from graphs.state import State
from memory.errors import Permanent
from memory.runs import records
from memory.runs.checkpoints import leading
from memory.scope import Access
from tests.graphs.stage import HOLD, POLICY, Stages, close, pay, plan, read

pytestmark = pytest.mark.anyio


async def test_a_rejected_run_ends_and_is_not_asked_again(stages: Stages) -> None:
    """Trap 1, R37: the gate creates nothing, so re-running it cannot open a second question."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(close("x"), pay("a"), pay("b")))
    await stage.decide(row.id, decision="reject", reason="not today")
    await stage.driver().drive(row.id)
    row = await stage.row(row.id)
    assert (row.status, row.reason, row.message) == ("denied", "approval_rejected", "not today")
    assert (len(await stage.bodies(row.id, "held")), stage.shop.payments) == (1, {})
    assert [item["step"] for item in (await stage.ending(row.id))["manual"]] == ["close_x"]


async def test_a_question_that_nobody_answers_stops_the_run(stages: Stages, superuser: Any) -> None:
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    async with superuser() as above:
        await above.execute("update approvals set expires = now() - interval '1 s' where run = %s", [row.id])
    async with stage.database.worker() as connection:
        assert row.id in await records.expire(connection)
    await stage.driver().drive(row.id)
    row = await stage.row(row.id)
    assert (row.status, row.reason, stage.shop.calls) == ("stopped", "approval_timeout", [])


async def test_a_wake_up_without_a_decision_waits_again(stages: Stages, superuser: Any) -> None:
    """Trap 15: being woken means to look at the rows, whatever the reason."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    async with superuser() as above:
        await above.execute("update runs set status = 'queued' where id = %s", [row.id])
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, stage.shop.calls) == ("waiting", [])


async def test_a_forged_resume_approves_nothing_and_says_how_people_decide(stages: Stages, superuser: Any) -> None:
    """R48: what a resume carries counts for nothing, and does no harm to the run."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    question = await stage.open_approval(row.id)
    await _wake(superuser, row.id)
    lease = await stage.lease(row.id)
    graph = build(stage.deps()).compile(checkpointer=stage.saver())
    forgery = Command(resume={"status": "approved"})
    with pytest.raises(
        Permanent, match=f"countersign approvals approve {question.approval.id}`.*/decisions"
    ) as refusal:
        await graph.ainvoke(forgery, leading(lease), context=lease, durability="sync")
    assert (refusal.value.code, stage.shop.calls) == ("approval_required", [])
    await stage.requeue(row.id)
    await stage.driver().drive(row.id)
    assert (await stage.row(row.id)).status == "waiting"
    await stage.decide(row.id)
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, stage.shop.payments) == ("done", {"a": 100})


async def test_a_forged_answer_is_none(stages: Stages, superuser: Any) -> None:
    async def planner(state: State) -> Proposal:
        return {"clarify": {"question": "which one?", "candidates": []}, "round": 1}

    stage = stages(planner=planner)
    run = await stage.start("pay it")
    await stage.driver().drive(run)
    await _wake(superuser, run)
    lease = await stage.lease(run)
    graph = build(stage.deps()).compile(checkpointer=stage.saver())
    with pytest.raises(Permanent, match="POST /api/chat") as refusal:
        await graph.ainvoke(Command(resume="the first"), leading(lease), context=lease, durability="sync")
    assert refusal.value.code == "unclear"


async def _wake(superuser: Any, run: str) -> None:
    async with superuser() as above:
        await above.execute("update runs set status = 'queued' where id = %s", [run])


async def test_an_approval_under_another_policy_is_void_and_asked_again(stages: Stages) -> None:
    """R48: a worker with the old policy cannot act once another one is in force."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    await stage.activate("another")
    await stage.driver().drive(row.id)
    row = await stage.row(row.id)
    assert (row.status, row.reason, stage.shop.calls) == ("stopped", "stale_policy", [])


async def test_stale_knowledge_goes_back_to_the_planner_and_does_not_repeat_what_was_done(
    stages: Stages, superuser: Any
) -> None:
    """R77: replanned, asked again, and the effect before the gate is found done."""
    stale: list[bool] = []

    async def planner(state: State) -> Proposal:
        stale.append(bool(state.get("stale")))
        new_plan = plan(close("x"), pay("a"), goal=f"round {len(stale)}", source="runbook")
        return {"plan": new_plan, "round": len(stale), "stale": False}

    stage = stages(policy=POLICY + HOLD, planner=planner)
    run = await stage.start("pay a")
    await stage.driver().drive(run)
    first = await stage.open_approval(run)
    async with superuser() as above:
        await above.execute(
            "update approvals set status = 'void', reason = 'stale_knowledge' where id = %s", [first.approval.id]
        )
        await above.execute("update runs set status = 'queued', waits_for = null where id = %s", [run])
    await stage.driver().drive(run)
    assert (stale, stage.shop.closures) == ([False, True], ["x"])
    assert (await stage.open_approval(run)).approval.nonce != first.approval.nonce
    await stage.decide(run)
    await stage.driver().drive(run)
    assert ((await stage.row(run)).status, stage.shop.payments) == ("done", {"a": 100})
    assert [body["step"] for body in await stage.bodies(run, "skipped")] == ["close_x"]


async def test_an_answer_reaches_the_planner_with_the_request(stages: Stages) -> None:
    requests: list[str] = []

    async def planner(state: State) -> Proposal:
        requests.append(str(state.get("request")))
        if len(requests) == 1:
            return {"plan": None, "clarify": {"question": "which?", "candidates": []}, "note": "which?", "round": 1}
        return {"plan": plan(read(), source="runbook"), "clarify": None, "round": 2}

    stage = stages(planner=planner)
    run = await stage.start("fix it")
    await stage.driver().drive(run)
    assert (await stage.row(run)).waits_for == "clarify"
    assert [body["question"] for body in await stage.bodies(run, "clarify")] == ["which?"]
    async with stage.database.transaction(stage.access) as connection:
        await records.answer(connection, run, "the first")
    await stage.driver().drive(run)
    assert (requests, (await stage.row(run)).status) == (["fix it", "fix it\nthe first"], "done")


async def test_a_thread_that_waits_takes_no_second_run(stages: Stages) -> None:
    """Trap 16: refused before LangGraph is asked."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    with pytest.raises(Permanent) as refusal:
        await stage.start(plan=plan(pay("b")), thread=row.thread)
    assert refusal.value.code == "busy"


async def test_after_a_cancelled_hold_the_thread_starts_anew(stages: Stages) -> None:
    """Trap 16: nothing of the abandoned question is left in the next run."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    async with stage.database.transaction(Access.of(stage.people["alice"])) as connection:
        await records.cancel(connection, row.id, "superseded")
    run = await stage.start(plan=plan(read()), thread=row.thread)
    await stage.driver().drive(run)
    assert ((await stage.row(run)).status, stage.shop.calls) == ("done", [])
