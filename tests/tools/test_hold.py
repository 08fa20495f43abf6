"""Holds: one approval round about exactly the actions that will happen, and good for one effect."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from memory.errors import Halt
from memory.governance import approvals
from memory.runs import records
from memory.runs.leases import Lease
from tests.tools.support import Desk, act
from tools import effects, kills
from tools.action import Action, Pin
from tools.approval_request import ApprovalRequest, compose
from tools.money import Money

pytestmark = pytest.mark.anyio


def refund(lease: Lease, item: str = "a", **options: Any) -> Action:
    return act(lease, item, tool="shop.refund", **options)


async def test_a_held_action_has_no_effect_until_it_is_approved(desk: Desk) -> None:
    """R37"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    assert (desk.shop.calls, await desk.kinds(lease)) == (0, ["requested", "proposed", "held"])
    assert (await desk.decide(approval, "bob")).code == "ok"
    outcome = await desk.gateway.perform(lease, refund(lease))
    assert (outcome.state, desk.shop.effects) == ("done", ["shop:a"])
    assert (await desk.story(lease))[-2]["approval"] == approval


async def test_a_node_that_runs_twice_asks_once(desk: Desk) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    assert await desk.ask(await desk.retake(lease), refund(lease)) == approval
    assert (await desk.kinds(lease)).count("held") == 1


async def test_rejected_is_an_answer_and_not_a_reason_to_ask_again(desk: Desk) -> None:
    """R45"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob", "reject", reason="not ours")
    outcome = await desk.gateway.perform(lease, refund(lease))
    assert (outcome.state, outcome.code, outcome.approval) == ("denied", "approval_rejected", approval)
    assert (await approvals.view(desk.database, lease.access, approval)).reason == "not ours"
    assert await desk.count("approvals") == 1


async def test_nobody_answering_in_time_is_a_denial(desk: Desk, owner: Any) -> None:
    """R43"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await _let_expire(owner, lease, approval)
    outcome = await desk.gateway.perform(lease, refund(lease))
    assert (outcome.code, outcome.approval, desk.shop.calls) == ("approval_timeout", approval, 0)
    assert (await approvals.show(desk.database, lease.access, approval)).approval.status == "expired"


async def test_an_approval_that_went_stale_is_not_used(desk: Desk, owner: Any) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob")
    await _as_owner(owner, lease, "update approvals set valid_until = clock_timestamp() where id = %s", approval)
    assert await desk.ask(lease, refund(lease)) != approval
    assert desk.shop.calls == 0


@pytest.mark.parametrize(
    "change",
    [{"amount": 11}, {"plan_hash": "plan-2"}, {"step": "other"}, {"exposure": Money(12, "EUR")}],
    ids=["arguments", "plan", "step", "exposure"],
)
async def test_an_approval_covers_only_what_was_shown(desk: Desk, change: dict[str, Any]) -> None:
    """R39"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob")
    assert await desk.ask(lease, refund(lease, **change)) != approval
    assert desk.shop.calls == 0


async def test_an_open_question_is_void_once_the_run_wants_something_else(desk: Desk) -> None:
    """R39"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.ask(lease, refund(lease, amount=11))
    vote = await desk.decide(approval, "bob")
    row = await approvals.show(desk.database, lease.access, approval)
    assert (vote.code, row.approval.status, row.approval.reason) == ("approval_void", "void", "approval_stale")


async def test_adopting_another_plan_voids_the_open_question(desk: Desk) -> None:
    """R39"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    budget = {"tokens": 1, "micros": 1, "calls": 9}
    await records.adopt(desk.database, lease, plan={}, plan_hash="plan-2", budget=budget, facts={})
    assert (await approvals.view(desk.database, lease.access, approval)).status == "void"


async def test_eight_consumers_of_one_approval_make_one_effect(desk: Desk) -> None:
    """R18 R38"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob")
    outcomes = await asyncio.gather(*(desk.gateway.perform(lease, refund(lease)) for _ in range(8)))
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert (desk.shop.effects, await desk.count("effects"), await desk.count("approvals")) == (["shop:a"], 1, 1)


async def test_an_approval_that_was_used_is_used_up(desk: Desk) -> None:
    """R38"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob")
    first = await desk.gateway.perform(lease, refund(lease))
    await desk.gateway.perform(lease, act(lease, tool="shop.undo", compensates=first.effect))
    assert (await desk.gateway.perform(lease, refund(lease))).state == "unverified", "the same step is not repeated"
    assert await desk.ask(lease, replace(refund(lease), step="again")) != approval
    assert desk.shop.effects == ["shop:a", "undo:a"]


async def test_several_actions_are_asked_for_in_one_question(desk: Desk) -> None:
    """R40"""
    lease = await desk.run()
    actions = [refund(lease, str(n), exposure=Money(30, "EUR")) for n in range(3)]
    outcome = await desk.gateway.perform(lease, actions[0], bundle=[*actions, actions[1]])
    await desk.decide(str(outcome.approval), "bob")
    approval = await approvals.show(desk.database, lease.access, str(outcome.approval))
    assert (len(approval.items), approval.approval.exposure, approval.approval.question["amount"]) == (3, 30, 30)
    assert [(await desk.gateway.perform(lease, action)).state for action in actions] == ["done"] * 3
    assert await desk.count("approvals") == 1


async def test_a_question_asks_for_as_much_as_its_strictest_action(desk: Desk) -> None:
    """R41"""
    lease = await desk.run()
    actions = [refund(lease, "a"), refund(lease, "b", amount=2_000)]
    outcome = await desk.gateway.perform(lease, actions[0], bundle=actions)
    assert (await desk.decide(str(outcome.approval), "bob")).status == "open"
    assert (await desk.decide(str(outcome.approval), "carol")).status == "approved"
    assert (await desk.gateway.perform(lease, actions[1])).state == "done"


@pytest.mark.parametrize("other", [{"amount": 13}, {"tool": "shop.nothing"}], ids=["forbidden", "unknown"])
async def test_a_bundle_with_something_forbidden_asks_nobody(desk: Desk, other: dict[str, Any]) -> None:
    """R50"""
    lease = await desk.run()
    bundle: Sequence[Action] = [act(lease, "b", **{"tool": "shop.refund", **other})]
    outcome = await desk.gateway.perform(lease, refund(lease), bundle=bundle)
    assert (outcome.state, await desk.count("approvals")) == ("denied", 0)


async def test_what_anybody_may_decide_is_asked_of_the_same_people(desk: Desk) -> None:
    """R25"""
    lease = await desk.run()
    bundle = [refund(lease), act(lease, "b", tool="shop.tell")]
    outcome = await desk.gateway.perform(lease, refund(lease), bundle=bundle)
    approval = await approvals.show(desk.database, lease.access, str(outcome.approval))
    assert ([item.tool for item in approval.items], approval.approval.groups) == (
        ["shop.refund", "shop.tell"],
        ("finance",),
    )


async def test_agreement_between_claim_and_question_opens_no_second_round(desk: Desk) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    admission, decision = desk.judge(refund(lease))
    body = compose(lease, [ApprovalRequest(admission, decision)], {}, desk.clock)
    await desk.decide(approval, "bob")
    assert await effects.hold(desk.database, lease, body) == ("approved", approval)
    assert await desk.count("approvals") == 1


async def test_edited_arguments_are_decided_anew(desk: Desk) -> None:
    """R45"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    standing = await approvals.view(desk.database, lease.access, approval)
    assert (standing.status, standing.new_arguments) == ("edited", {"id": "a", "amount": 5})
    again = await desk.ask(lease, refund(lease, amount=5))
    await desk.decide(again, "carol")
    assert (await desk.gateway.perform(lease, refund(lease, amount=5))).state == "done"
    assert (again != approval, desk.shop.effects) == (True, ["shop:a"])


async def test_activating_another_policy_voids_questions_and_wakes_their_runs(desk: Desk) -> None:
    """R39 R52"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    assert await records.park(desk.database, lease, approval) == "waiting"
    assert await desk.activate("f" * 64) == [lease.run]
    standing = await approvals.view(desk.database, lease.access, approval)
    run = await records.get(desk.database, lease.access, lease.run)
    assert (standing.status, standing.reason, run.status) == ("void", "stale_policy", "queued")


async def test_an_approval_is_used_only_under_the_policy_it_was_given_under(desk: Desk) -> None:
    """R39"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob")
    await desk.activate("f" * 64)
    await desk.activate(desk.policy.version)
    admission, decision = desk.judge(refund(lease))
    body = effects.request(lease, admission, decision)
    assert (await effects.claim(desk.database, lease, {**body, "policy": "f" * 64})).code == "stale_policy"
    assert (await desk.gateway.perform(lease, refund(lease))).state == "done"


async def test_publishing_knowledge_voids_the_questions_that_rest_on_it(desk: Desk) -> None:
    """R77"""
    lease = await desk.run()
    await _publish(desk, "rb", 1)
    action = refund(lease, pins=(Pin("rb", 1),))
    approval = await desk.ask(lease, action)
    await records.park(desk.database, lease, approval)
    assert await _publish(desk, "rb", 2) == [lease.run]
    assert (await desk.decide(approval, "bob")).code == "approval_void"
    outcome = await desk.gateway.perform(await desk.lease(lease.run), action)
    assert (outcome.code, desk.shop.calls) == ("stale_knowledge", 0)


async def test_a_stopped_approval_is_not_lost(desk: Desk) -> None:
    """R125"""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob")
    await kills.kill(desk.database, desk.access("bob"), "run", lease.run)
    with pytest.raises(Halt, match="killed"):
        await desk.gateway.perform(lease, refund(lease))
    await kills.unkill(desk.database, desk.access("bob"), "run", lease.run)
    assert (await desk.gateway.perform(lease, refund(lease))).state == "done"


async def _publish(desk: Desk, name: str, version: int) -> list[str]:
    text = f"text {version}"
    row = await desk.database.call(
        desk.access("bob"),
        "publish_knowledge",
        {
            "id": name,
            "kind": "fact",
            "title": name,
            "body": text,
            "digest": _sha(text),
            "owner": "ops",
            "review_by": "2030-01-01",
            "embedder": "none",
            "trust": "human",
        },
        [],
        None,
    )
    assert (row["code"], row["version"]) == ("ok", version)
    return row["woken"]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def _let_expire(owner: Any, lease: Lease, approval: str) -> None:
    await _as_owner(owner, lease, "update approvals set expires = clock_timestamp() where id = %s", approval)


async def _as_owner(owner: Any, lease: Lease, statement: str, *values: object) -> None:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        await owner.execute(statement, values)
