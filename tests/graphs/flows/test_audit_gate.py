"""The gate of a failed audit: people accept what was found, have it taken back, or leave it to themselves."""

from typing import Any

import pytest

from memory.governance import approvals
from memory.runs.models import Run
from tests.fakes.shop import Shop
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, close, pay, plan, read
from tools import effects
from tools.action import Json

pytestmark = pytest.mark.anyio
CHECK = read("after", "shop.count", expect="result.paid == 1", audit=True)
WRONG = read("after", "shop.count", expect="result.paid == 7")


async def contested(stages: Stages, *steps: Any, **options: Any) -> tuple[Stage, Run]:
    """Run steps of which a read shows something else than the plan expects."""
    stage = stages(**options)
    row = await stage.run(plan(close("x"), *steps))
    assert (row.status, row.reason) == ("waiting", "audit_failed")
    return stage, row


async def test_people_see_what_is_wrong_and_what_each_answer_leads_to(stages: Stages) -> None:
    stage, row = await contested(stages, pay("a"), WRONG)
    approval = (await stage.open_approval(row.id)).approval
    assert (approval.kind, approval.groups, approval.need, row.waits_for) == (
        "audit",
        ("ops", "finance", "admin"),
        1,
        approval.id,
    )
    assert approval.question["problems"] == ["step 'after': expected 'result.paid == 7', which does not hold"]
    assert (approval.question["take_back"], [item["step"] for item in approval.question["leave"]]) == (
        ["close_x"],
        ["pay_a", "close_x"],
    )


async def test_accepted_it_goes_on_and_the_end_says_who_accepted_what(stages: Stages) -> None:
    stage, row = await contested(stages, pay("a"), WRONG, pay("b"))
    await stage.decide(row.id)
    row = await stage.drive(row.id)
    assert (row.status, row.reason, stage.shop.calls) == ("done", None, ["close:x", "pay:a", "pay:b"])
    assert "a test: done, accepted by people: step 'after': expected" in (row.message or "")


async def test_taken_back_what_a_tool_can_undo_is_undone_and_the_rest_is_listed(stages: Stages) -> None:
    stage, row = await contested(stages, pay("a"), WRONG)
    assert (await stage.decide(row.id, decision="take_back")).status == "taken_back"
    row = await stage.drive(row.id)
    ending = await stage.ending(row.id)
    assert (row.status, row.reason, stage.shop.closures) == ("failed", "audit_failed", [])
    assert (ending["compensated"], [item["step"] for item in ending["manual"]]) == (["close_x"], ["pay_a"])


async def test_left_to_people_nothing_more_is_done(stages: Stages) -> None:
    stage, row = await contested(stages, pay("a"), WRONG, pay("b"))
    await stage.decide(row.id, decision="reject", reason="we look ourselves")
    row = await stage.drive(row.id)
    ending = await stage.ending(row.id)
    assert (row.status, row.reason, stage.shop.closures) == ("failed", "audit_failed", ["x"])
    assert ([item["step"] for item in ending["manual"]], stage.shop.calls) == (
        ["pay_a", "close_x"],
        ["close:x", "pay:a"],
    )
    assert "we look ourselves" in (row.message or "")


async def test_the_contested_write_itself_is_taken_back_as_well(stages: Stages) -> None:
    stage = stages()
    row = await stage.run(plan(close("x", expect="result.closed == 2")))
    await stage.decide(row.id, decision="take_back")
    row = await stage.drive(row.id)
    assert (row.reason, stage.shop.closures) == ("audit_failed", [])
    assert [effect.state for effect in await effects.ls(stage.database, stage.access, run=row.id)] == [
        "done",
        "compensated",
    ]


async def test_an_accepted_write_counts_as_done_by_a_persons_word(stages: Stages) -> None:
    """The step is not performed again, and the audit at the end is content."""
    stage = stages()
    row = await stage.run(plan(pay("a", expect="result.paid == 2"), pay("b")))
    await stage.decide(row.id)
    row = await stage.drive(row.id)
    assert (row.status, stage.shop.calls) == ("done", ["pay:a", "pay:b"])


@pytest.mark.parametrize(("person", "decision", "code"), [
    ("alice", "approve", "requester_excluded"), ("dave", "approve", "over_limit"),
    ("bob", "edit", "wrong_decision"),
])  # fmt: skip
async def test_who_may_not_decide_about_actions_may_not_decide_about_audits(
    stages: Stages, person: str, decision: Any, code: str
) -> None:
    stage, row = await contested(stages, pay("a"), WRONG)
    assert (await stage.decide(row.id, person, decision)).code == code
    assert (await stage.row(row.id)).status == "waiting"


async def test_an_action_cannot_be_taken_back_before_it_is_done(stages: Stages) -> None:
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    assert (await stage.decide(row.id, decision="take_back")).code == "wrong_decision"


async def test_a_question_is_put_once_however_often_the_audit_is_repeated(stages: Stages) -> None:
    stage = stages()
    lease = await stage.lease(await stage.start(plan=plan(pay("a"))))
    question: dict[str, Json] = {"step": "pay_a", "effect": "", "problems": ["nothing adds up"]}
    ask = stage.deps().ask_about_audit
    first = await ask(lease, question)
    assert await ask(lease, question) == first
    assert await ask(lease, {**question, "problems": ["another"]}) != first
    rounds = await approvals.ls(stage.database, stage.access, run=lease.run)
    assert [round.status for round in rounds] == ["open", "void"], "another finding replaces the question"


async def test_a_run_cancelled_at_its_audit_does_no_more(stages: Stages) -> None:
    stage, row = await contested(stages, pay("a"), WRONG)
    await stage.cancel(row.id)
    row = await stage.row(row.id)
    assert (row.status, stage.shop.calls) == ("cancelled", ["close:x", "pay:a"])
    assert [round.status for round in await approvals.ls(stage.database, stage.access, run=row.id)] == ["void"]


async def test_what_no_look_confirms_is_said_to_be_unchecked(stages: Stages) -> None:
    row = await stages().run(plan(pay("a"), pay("b"), read()))
    assert (row.message or "").startswith("a test: done, not checked: 2.")


async def test_a_check_step_that_passed_confirms_what_it_names(stages: Stages) -> None:
    check = read("after", "shop.count", expect="result.paid == 2", checks=["pay_a", "pay_b"])
    row = await stages().run(plan(pay("a"), pay("b"), check))
    assert (row.message or "").startswith("a test: done and checked.")


async def test_a_skip_on_record_alone_is_not_called_checked(stages: Stages) -> None:
    stage = stages()
    await stage.run(plan(pay("a")))
    row = await stage.run(plan(pay("a")))
    assert ("not checked: 1" in (row.message or ""), stage.shop.calls) == (True, ["pay:a"])


@pytest.mark.parametrize("checks", [["pay_b"], ["after"], ["nobody"]])
def test_a_check_names_steps_before_it(checks: list[str]) -> None:
    with pytest.raises(ValueError, match="which no step before it is"):
        plan(pay("a"), read("after", "shop.count", checks=checks), pay("b"))


def test_only_a_read_checks() -> None:
    with pytest.raises(ValueError, match="only a read can"):
        plan(pay("a"), pay("b", checks=["pay_a"]))


async def test_a_lying_payment_opens_the_gate_before_anything_else_happens(stages: Stages) -> None:
    """R8"""
    stage = stages(shop=Shop(mute=True))
    row = await stage.run(plan(pay("a"), CHECK, pay("b")))
    assert (row.status, row.reason, stage.shop.calls) == ("waiting", "audit_failed", ["pay:a"])
