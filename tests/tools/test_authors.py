"""Authors: whoever wrote what is asked does not decide it, and is told so before nobody else is left."""

import pytest

from memory.governance import approvals
from tests.tools.support import Desk
from tests.tools.test_hold import refund

pytestmark = pytest.mark.anyio


async def test_who_edited_does_not_vote_on_what_they_wrote(desk: Desk) -> None:
    """Nobody approves their own words; they may still ask, and the next round names them."""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    again = await desk.ask(lease, refund(lease, amount=5))
    record = await approvals.show(desk.database, lease.access, again)
    assert record.predecessor is not None
    assert (record.approval.authors, record.predecessor.decider, record.predecessor.reason) == (("bob",), "bob", "less")
    assert (await desk.decide(again, "bob")).code == "author_excluded"
    assert (await desk.decide(again, "bob", "reject")).code == "author_excluded"
    assert (await desk.decide(again, "bob", "ask", reason="seen?")).code == "ok"
    assert (await desk.gateway.perform(lease, refund(lease, amount=5))).state == "held"
    assert (await desk.decide(again, "carol")).status == "approved"
    assert (await desk.gateway.perform(lease, refund(lease, amount=5))).state == "done"


async def test_an_edit_that_leaves_nobody_to_approve_it_is_refused_before_it_is_taken(desk: Desk) -> None:
    """Two must agree, and of the two who may one would have written it; nothing is lowered for that."""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease, amount=2_000))
    edit = await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1_500})
    standing = await approvals.view(desk.database, lease.access, approval)
    assert (edit.code, edit.status, standing.status) == ("no_approver_left", "open", "open")
    assert (await desk.decide(approval, "bob")).code == "ok"
    assert (await desk.decide(approval, "carol")).status == "approved"


async def test_whoever_edits_later_is_an_author_beside_the_first(desk: Desk) -> None:
    """Of a team of three, two wrote; the third alone decides, and can not write as well."""
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    second = await desk.ask(lease, refund(lease, amount=5))
    edit = await desk.decide(second, "carol", "edit", reason="more", new_arguments={"id": "a", "amount": 6})
    assert edit.code == "no_approver_left"
    assert (await desk.decide(second, "carol")).status == "approved"
