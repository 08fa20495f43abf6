"""The auditor's comparison: whatever the results claim, the journal must say the same."""

import json
from typing import Any

import pytest

from graphs.execution.audit import compare
from graphs.state import State
from memory.governance.journal import JournalEntry
from tests.graphs.stage import HOLD, POLICY, Stages, close, pay, pay_all, plan, read

pytestmark = pytest.mark.anyio
PAID = plan(read(), pay_all())


def entry(**body: Any) -> JournalEntry:
    return JournalEntry("run", 1, b"", b"", json.dumps(body))


def done(step: str, paid: int = 10) -> JournalEntry:
    return entry(kind="outcome", step=step, state="done", outcome={"result": {"paid": paid}})


def after(**result: Any) -> State:
    return {"results": {"orders": {}, "pay_all": result}}


def test_equal_counts_and_sums_pass() -> None:
    assert compare(PAID, after(paid=20, batches=2), [done("pay_all#1"), done("pay_all#2")]).ok


def test_an_effect_that_is_not_on_record_is_found() -> None:
    """R8."""
    found = compare(PAID, after(paid=20, batches=2), [done("pay_all#1")])
    assert found.problems == ("step 'pay_all' reports 2 actions done, the journal has 1",)


def test_a_sum_that_differs_is_found() -> None:
    """R8."""
    found = compare(PAID, after(paid=20, batches=2), [done("pay_all#1"), done("pay_all#2", paid=9)])
    assert found.problems == ("step 'pay_all' reports paid 20, its recorded outcomes add up to 19",)


def test_what_was_done_before_counts_as_done() -> None:
    skipped = entry(kind="skipped", step="pay_all#2")
    found = compare(PAID, after(paid=20, batches=2), [done("pay_all#1"), skipped])
    assert (found.ok, found.effects, found.skipped) == (True, 1, 1)


def test_what_a_person_found_done_counts_as_done() -> None:
    resolved = entry(kind="resolved", step="pay_all#2", state="done")
    assert compare(PAID, after(batches=2), [done("pay_all#1"), resolved]).ok


def test_an_effect_that_was_held_needs_an_approval_on_its_permit() -> None:
    """R9 R38."""
    held, permitted = entry(kind="held", step="pay_a"), entry(kind="permitted", step="pay_a", approval=None)
    found = compare(plan(pay("a")), {"results": {"pay_a": {"paid": 10}}}, [held, permitted, done("pay_a")])
    assert found.problems == ("step 'pay_a' was held for people, but its permit names no approval",)


async def test_the_finding_cites_the_approvals(stages: Stages) -> None:
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(close("x"), pay("a")))
    approval = (await stage.open_approval(row.id)).approval.id
    await stage.decide(row.id)
    await stage.driver().drive(row.id)
    (audited,) = await stage.bodies(row.id, "audited")
    assert (audited["ok"], audited["role"], audited["effects"], audited["approvals"]) == (
        True,
        "auditor",
        2,
        [approval],
    )
