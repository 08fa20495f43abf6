"""The auditor's comparison: whatever the results claim, the journal must say the same."""

import json
from typing import Any

import pytest

from graphs.execution.audit import compare
from graphs.state import State
from memory.governance.journal import JournalEntry
from tests.graphs.stage import HOLD, POLICY, Stages, close, pay, pay_all, plan, read

pytestmark = pytest.mark.anyio
PAYMENT = plan(read(), pay_all())


def entry(**body: Any) -> JournalEntry:
    return JournalEntry("run", 1, b"", b"", json.dumps(body))


def outcome_entry(step: str, amount: int = 10) -> JournalEntry:
    return entry(kind="outcome", step=step, state="done", outcome={"result": {"paid": amount}})


def after(**result: Any) -> State:
    return {"results": {"orders": {}, "pay_all": result}}


def test_equal_counts_and_sums_pass() -> None:
    assert compare(PAYMENT, after(paid=20, batches=2), [outcome_entry("pay_all#1"), outcome_entry("pay_all#2")]).ok


def test_an_effect_that_is_not_on_record_is_found() -> None:
    """R8."""
    findings = compare(PAYMENT, after(paid=20, batches=2), [outcome_entry("pay_all#1")])
    assert findings.problems == ("step 'pay_all' reports 2 actions done, the journal has 1",)


def test_a_sum_that_differs_is_found() -> None:
    """R8."""
    findings = compare(
        PAYMENT, after(paid=20, batches=2), [outcome_entry("pay_all#1"), outcome_entry("pay_all#2", amount=9)]
    )
    assert findings.problems == ("step 'pay_all' reports paid 20, its recorded outcomes add up to 19",)


def test_what_was_done_before_counts_as_done() -> None:
    skip = entry(kind="skipped", step="pay_all#2")
    findings = compare(PAYMENT, after(paid=20, batches=2), [outcome_entry("pay_all#1"), skip])
    assert (findings.ok, findings.effects, findings.skipped) == (True, 1, 1)


def test_what_a_person_found_done_counts_as_done() -> None:
    resolution = entry(kind="resolved", step="pay_all#2", state="done")
    assert compare(PAYMENT, after(batches=2), [outcome_entry("pay_all#1"), resolution]).ok


def test_an_effect_that_was_held_needs_an_approval_on_its_permit() -> None:
    """R9 R38."""
    hold, permit = entry(kind="held", step="pay_a"), entry(kind="permitted", step="pay_a", approval=None)
    findings = compare(plan(pay("a")), {"results": {"pay_a": {"paid": 10}}}, [hold, permit, outcome_entry("pay_a")])
    assert findings.problems == ("step 'pay_a' was held for people, but its permit names no approval",)


async def test_the_finding_cites_the_approvals(stages: Stages) -> None:
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(close("x"), pay("a")))
    approval = (await stage.open_approval(row.id)).approval.id
    await stage.decide(row.id)
    await stage.driver().drive(row.id)
    (verdict,) = await stage.bodies(row.id, "audited")
    assert (verdict["ok"], verdict["role"], verdict["effects"], verdict["approvals"]) == (
        True,
        "auditor",
        2,
        [approval],
    )
