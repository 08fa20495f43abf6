"""The governed flow from request to end, on the real database and gateway."""

from collections.abc import Mapping
from typing import Any

import pytest

from graphs.execution.capabilities import Invocation
from graphs.flows.governed import build
from graphs.nodes.auditor import make_auditor
from graphs.nodes.executor import make_executor
from graphs.nodes.gate import make_gate
from graphs.nodes.researcher import make_researcher
from graphs.planning.proposal import Proposal
from graphs.state import State
from tests.fakes.shop import Shop
from tests.graphs.stage import HOLD, POLICY, Stages, close, pay, pay_all, plan, read, trace

pytestmark = pytest.mark.anyio


async def test_a_given_plan_enters_past_the_planner_and_is_done(stages: Stages) -> None:
    """R1 R7: every action belongs to a step of the one plan that the run adopted."""
    stage = stages()
    row = await stage.run(plan(read(), pay("a"), read("after", "shop.count", expect="result.paid == 1")))
    assert (row.status, stage.shop.payments) == ("done", {"a": 100})
    assert trace(await stage.entries(row.id)) == [
        "requested",
        "planned",
        "kept",
        "read orders",
        "proposed pay_a",
        "permitted pay_a",
        "outcome pay_a",
        "read after",
        "audited",
        "ended",
    ]


async def test_steps_that_are_not_due_are_skipped_on_record(stages: Stages) -> None:
    stage = stages(shop=Shop(orders=0))
    steps = [read(), pay("a", when="steps.orders.count > 0"), pay_all(), pay("b")]
    row = await stage.run(plan(*steps))
    results = (await stage.ending(row.id))["results"]
    assert (stage.shop.payments, results["pay_a"], results["pay_all"]) == (
        {"b": 100},
        {"skipped": True},
        {"skipped": True},
    )


async def test_batches_are_paid_one_per_super_step_and_add_up(stages: Stages) -> None:
    stage = stages()
    row = await stage.run(plan(read(), pay_all(size=10)))
    result = (await stage.ending(row.id))["results"]["pay_all"]
    assert (result["batches"], result["paid"], len(stage.shop.payments)) == (3, 25, 25)
    progress = [body["progress"] for body in await stage.bodies(row.id, "outcome")]
    assert [
        (entry_body["batch"], entry_body["of"], entry_body["done"], entry_body["total"]) for entry_body in progress
    ] == [
        (1, 3, 10, 25),
        (2, 3, 20, 25),
        (3, 3, 25, 25),
    ]


async def test_one_question_covers_canary_and_batches(stages: Stages) -> None:
    """R38: people are asked once, about everything that shares the gate."""
    stage = stages(policy=POLICY + HOLD)
    canary = {
        **pay_all(gate="money"),
        "id": "canary",
        "batch": None,
        "args": {"orders": {"cut": {"ref": "steps.orders.orders"}, "count": 5}},
    }
    row = await stage.run(plan(read(), canary, pay_all(start=5, gate="money")))
    question = await stage.open_approval(row.id)
    assert (row.status, len(question.items), question.approval.exposure) == ("waiting", 3, sum(range(100, 125)))
    assert (await stage.decide(row.id)).wakes_run
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, len(stage.shop.payments)) == ("done", 25)
    assert len(await stage.bodies(row.id, "held")) == 1


async def test_a_failure_takes_back_what_can_be_and_lists_the_rest(stages: Stages) -> None:
    """R74 R75: compensations in reverse, irreversible effects as a checklist for people."""
    stage = stages(shop=Shop(failures={"bad"}))
    row = await stage.run(plan(close("x"), close("y"), pay("a"), pay("bad"), pay("never")))
    ending = await stage.ending(row.id)
    assert (ending["status"], ending["reason"], ending["compensated"]) == (
        "failed",
        "step_failed",
        ["close_y", "close_x"],
    )
    assert [item["step"] for item in ending["manual"]] == ["pay_a"]
    assert (stage.shop.closures, stage.shop.payments) == ([], {"a": 100})


async def test_a_compensation_that_fails_is_left_to_people_and_the_others_go_on(stages: Stages) -> None:
    """R74."""
    stage = stages(shop=Shop(failures={"bad", "open:y"}))
    row = await stage.run(plan(close("x"), close("y"), pay("bad")))
    ending = await stage.ending(row.id)
    assert (ending["compensated"], [item["step"] for item in ending["manual"]]) == (["close_x"], ["close_y"])


async def test_a_batch_that_fails_for_good_leaves_a_checklist_for_those_before_it(stages: Stages) -> None:
    stage = stages(shop=Shop(failures={"o_00015"}))
    row = await stage.run(plan(close("x"), read(), pay_all()))
    ending = await stage.ending(row.id)
    assert (ending["compensated"], [item["step"] for item in ending["manual"]]) == (["close_x"], ["pay_all"])
    assert (len(stage.shop.payments), row.calls.reserved) == (10, 0)


async def test_a_step_may_fail_without_ending_the_run(stages: Stages) -> None:
    stage = stages(shop=Shop(failures={"o_00015"}))
    row = await stage.run(plan(read(), pay_all(on_failure="continue"), pay("a")))
    result = (await stage.ending(row.id))["results"]["pay_all"]
    assert (row.status, result["failed"], result["paid"], len(stage.shop.payments)) == ("done", 1, 15, 16)


async def test_a_tool_that_says_ok_but_changed_nothing_is_caught(stages: Stages) -> None:
    """R8: what was expected is looked at, not what the tool says; a gate opens, and nothing goes on before it."""
    stage = stages(shop=Shop(mute=True))
    check = read("after", "shop.count", expect="result.paid == steps.pay_a.paid", audit=True)
    row = await stage.run(plan(pay("a"), check, pay("b")))
    assert (row.status, row.reason, stage.shop.calls) == ("waiting", "audit_failed", ["pay:a"])
    await stage.decide(row.id, decision="reject", reason="we look ourselves")
    row = await stage.drive(row.id)
    assert (row.status, row.reason, stage.shop.calls) == ("failed", "audit_failed", ["pay:a"])
    assert [item["step"] for item in (await stage.ending(row.id))["manual"]] == ["pay_a"]


async def test_a_second_run_finds_the_same_effects_done_already(stages: Stages) -> None:
    """R18: the natural key belongs to the business event, not to the run."""
    stage = stages()
    await stage.run(plan(read(), pay_all()))
    row = await stage.run(plan(read(), pay_all()))
    assert (row.status, (await stage.ending(row.id))["results"]["pay_all"]["already_done"]) == ("done", 3)
    assert "(all of it done before, not again)" in row.message
    assert max(stage.shop.payments.values()) <= 125


async def test_a_researcher_asking_for_a_write_is_refused(stages: Stages) -> None:
    """R6."""
    stage = stages()
    lease = await stage.lease(await stage.start(plan=plan(pay("a"))))
    researcher = make_researcher(stage.deps().perform, stage.deps().rows, stage.deps().binder)
    complete_plan = plan(pay("a"))
    state: Any = {
        "plan": complete_plan.model_dump(mode="json"),
        "plan_hash": complete_plan.hash,
        "cursor": 0,
        "results": {},
    }
    update = await researcher(state, Invocation(lease))
    assert (update.get("outcome") or {}).get("code") == "role_scope"
    assert stage.shop.calls == []


async def test_a_plan_of_the_planners_is_recorded_and_run(stages: Stages) -> None:
    """R4: an investigation goes back to the planner, whose repair is then performed."""
    results: list[Mapping[str, Any]] = []

    async def planner(state: State) -> Proposal:
        results.append(state.get("results", {}))
        if state.get("round"):
            return {"plan": plan(pay("a"), source="runbook"), "round": 2}
        look = plan(read(), kind="investigation", source="runbook")
        return {"plan": look, "round": 1, "violations": [{"role": "planner", "field": "x"}]}

    stage = stages(planner=planner)
    run = await stage.start("pay a")
    await stage.driver().drive(run)
    assert (stage.shop.payments, results[1]["orders"]["count"]) == ({"a": 100}, 25)
    kinds = [entry.kind for entry in await stage.entries(run)]
    assert kinds[:6] == ["requested", "contract_violation", "planned", "kept", "read", "planned"]


async def test_nothing_wrong_ends_without_any_effect(stages: Stages) -> None:
    async def planner(state: State) -> Proposal:
        return {"plan": None, "verdict": "nothing_wrong", "note": "all is well", "round": 1}

    stage = stages(planner=planner)
    run = await stage.start("is something wrong?")
    await stage.driver().drive(run)
    row = await stage.row(run)
    assert (row.status, row.message, stage.shop.calls) == ("done", "all is well", [])


async def test_planner_without_end_is_stopped(stages: Stages) -> None:
    """R21."""

    async def planner(state: State) -> Proposal:
        return {"plan": plan(read(), kind="investigation", source="runbook"), "round": 1}

    stage = stages(planner=planner)
    run = await stage.start("loop")
    await stage.driver().drive(run)
    row = await stage.row(run)
    assert (row.status, row.reason) == ("stopped", "no_progress")


async def test_nodes_get_exactly_what_their_role_may_use() -> None:
    """R5 R9: import contracts cannot see objects, so the signatures are held here."""
    signatures = {make.__name__: list(make.__annotations__)[:-1] for make in (make_gate, make_auditor, make_researcher)}
    assert signatures == {
        "make_gate": ["standing", "answers"],
        "make_auditor": ["entries", "record", "ask"],
        "make_researcher": ["perform", "rows", "binder"],
    }
    assert list(make_executor.__annotations__)[:-1] == ["perform", "rows", "binder", "amount"]


async def test_no_way_leads_from_an_effect_to_the_end_around_the_auditor(stages: Stages) -> None:
    """R4."""
    graph = build(stages().deps()).compile().get_graph()
    names = {"planner", "researcher", "gate", "executor", "auditor"}
    assert set(graph.nodes) == {*names, "__start__", "__end__"}
    assert {edge.source for edge in graph.edges if edge.target == "__end__"} == {"auditor"}
