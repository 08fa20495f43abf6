"""Authors: whoever wrote what is asked does not decide it, and is told so before nobody else is left."""

from dataclasses import replace
from typing import Any

import pytest

from memory.governance import approvals, authors
from memory.governance.approvals import ApprovalRecord
from memory.governance.authors import TakeOver
from memory.runs.leases import Lease
from tests.conftest import Connection
from tests.tools.support import Desk
from tests.tools.test_hold import refund
from tools.approval_request import foresee

pytestmark = pytest.mark.anyio


async def retire(owner: Connection, desk: Desk, *names: str) -> None:
    """Take people's groups away, so that the team gets smaller."""
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [desk.people["bob"].tenant])
        await owner.execute("update principals set groups = '{support}' where id = any (%s)", [list(names)])


async def show(desk: Desk, approval: str) -> ApprovalRecord:
    return await approvals.show(desk.database, desk.access("alice"), approval)


async def take_over(desk: Desk, approval: str, person: str = "alice", nonce: str | None = None) -> TakeOver:
    """Take over the edit that a round shows: the refused one if there is one."""
    round = (await show(desk, approval)).approval
    current = str((round.proposal or {"nonce": round.nonce})["nonce"])
    async with desk.database.transaction(desk.access(person)) as connection:
        return await authors.take_over(connection, approval=approval, nonce=nonce or current, channel="test")


async def test_who_edited_does_not_vote_on_what_they_wrote(desk: Desk) -> None:
    """Nobody approves their own words; they may still ask, and the next round names them."""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    again = await desk.ask(lease, refund(lease, amount=5))
    record = await show(desk, again)
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


async def test_a_team_of_two_goes_on_when_the_requester_takes_the_edit_over(desk: Desk, owner: Connection) -> None:
    """The edit is refused and kept; asked for by the requester, its writer decides it, and the requester still not."""
    await retire(owner, desk, "carol", "dave")
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease))
    edit = await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    assert edit.code == "no_approver_left"
    taken = await take_over(desk, first)
    assert (taken.code, taken.status, taken.editors) == ("ok", "edited", ("bob",))
    assert (await approvals.view(desk.database, lease.access, first)).new_arguments == {"id": "a", "amount": 5}
    second = await desk.ask(lease, refund(lease, amount=5))
    record = await show(desk, second)
    assert (record.approval.authors, record.edits[0].taken_over_by) == ((), "alice")
    assert (await desk.decide(second, "alice")).code == "requester_excluded"
    assert (await desk.decide(second, "bob")).status == "approved"
    assert (await desk.gateway.perform(lease, refund(lease, amount=5))).state == "done"


async def test_with_a_quorum_of_two_an_edit_that_the_requester_took_over_needs_both_again(desk: Desk) -> None:
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease, amount=2_000))
    await desk.decide(first, "carol")
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1_500})
    assert (await take_over(desk, first)).code == "ok"
    second = await desk.ask(lease, refund(lease, amount=1_500))
    assert [(await desk.decide(second, name)).status for name in ("bob", "carol")] == ["open", "approved"]


async def test_an_edit_that_was_taken_is_taken_over_in_the_round_after_it(desk: Desk) -> None:
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    second = await desk.ask(lease, refund(lease, amount=5))
    taken = await take_over(desk, second)
    assert (taken.code, taken.status, taken.editors, taken.wakes_run) == ("ok", "open", ("bob",), False)
    entry = (await desk.story(lease))[-1]
    assert (entry["kind"], entry["by"], entry["authors"]) == ("taken_over", "alice", ["bob"])
    assert (await desk.decide(second, "bob")).status == "approved"


@pytest.mark.parametrize(
    ("person", "nonce", "code"),
    [("bob", None, "forbidden"), ("carol", None, "forbidden"), ("alice", "another", "wrong_nonce")],
)
async def test_only_the_requester_takes_over_and_only_what_they_read(
    desk: Desk, person: str, nonce: str | None, code: str
) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease, amount=2_000))
    await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1_500})
    assert (await take_over(desk, approval, person, nonce)).code == code
    assert (await approvals.view(desk.database, lease.access, approval)).status == "open"


async def test_there_is_nothing_to_take_over_without_an_edit(desk: Desk) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    assert (await take_over(desk, approval)).code == "conflict"
    await desk.decide(approval, "bob")
    assert (await take_over(desk, approval)).code == "approval_decided"
    async with desk.database.transaction(desk.access("alice")) as connection:
        assert (await authors.take_over(connection, approval="x", nonce="x", channel="test")).code == "not_found"


async def test_an_edit_replaced_by_another_is_not_taken_over_unread(desk: Desk) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease, amount=2_000))
    await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1_500})
    proposal = (await show(desk, approval)).approval.proposal or {}
    await desk.decide(approval, "carol", "edit", reason="more", new_arguments={"id": "b", "amount": 90_000})
    assert (await take_over(desk, approval, nonce=proposal["nonce"])).code == "wrong_nonce"


async def test_of_three_voters_the_editor_is_none_of_the_two(desk: Desk, owner: Connection) -> None:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [desk.people["bob"].tenant])
        await owner.execute("update principals set limit_joint = 9000 where id = 'dave'")
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease, amount=2_000))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1_500})
    second = await desk.ask(lease, refund(lease, amount=1_500))
    assert [(await desk.decide(second, name)).code for name in ("bob", "carol")] == ["author_excluded", "ok"]
    assert (await desk.gateway.perform(lease, refund(lease, amount=1_500))).state == "held"
    assert (await desk.decide(second, "dave")).status == "approved"


def demand(desk: Desk, lease: Lease, amount: int) -> dict[str, Any]:
    """Return whom policy would ask about another amount."""
    return dict(foresee(refund(lease, amount=amount), desk.catalog, desk.policy))


async def test_an_edit_is_judged_by_whom_policy_would_ask_about_it(desk: Desk) -> None:
    """From one voter to two, of whom one would have written it; and from two to one."""
    lease = await desk.run()
    small = await desk.ask(lease, refund(lease))
    edit = {"id": "a", "amount": 2_000}
    more = demand(desk, lease, 2_000)
    assert more == {"need": 2, "groups": ["finance"], "exposure": 2_000, "currency": "EUR"}
    refusal = await desk.decide(small, "bob", "edit", reason="more", new_arguments=edit, demand=more)
    assert (refusal.code, refusal.status) == ("no_approver_left", "open")
    large = await desk.ask(lease, refund(lease, "b", amount=2_000))
    edit, less = {"id": "b", "amount": 5}, demand(desk, lease, 5)
    assert (await desk.decide(large, "bob", "edit", reason="less", new_arguments=edit, demand=less)).status == "edited"


async def test_what_nobody_could_approve_is_not_taken_over_either(desk: Desk) -> None:
    """Two would have to agree to more than any of them may."""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease))
    edit, more = {"id": "a", "amount": 2 * 10**9}, demand(desk, lease, 2 * 10**9)
    await desk.decide(approval, "bob", "edit", reason="more", new_arguments=edit, demand=more)
    assert (await take_over(desk, approval)).code == "no_approver_left"
    assert (await approvals.view(desk.database, lease.access, approval)).status == "open"


async def test_an_edit_that_policy_asks_nobody_about_needs_nobody(desk: Desk) -> None:
    lease = await desk.run()
    action = replace(refund(lease), tool="shop.charge")
    assert foresee(action, desk.catalog, desk.policy)["need"] == 0


async def test_an_editor_is_an_author_also_where_the_step_is_asked_about_with_others(desk: Desk) -> None:
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    outcome = await desk.gateway.perform(lease, refund(lease, "b"), [refund(lease, amount=5)])
    assert (await show(desk, str(outcome.approval))).approval.authors == ("bob",)
    assert (await desk.decide(str(outcome.approval), "bob")).code == "author_excluded"


async def test_the_journal_holds_what_was_edited(desk: Desk) -> None:
    """Of an edit that was taken, and of one that was refused."""
    lease = await desk.run()
    first = await desk.ask(lease, refund(lease, amount=2_000))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1_500})
    refusal = (await desk.story(lease))[-1]
    assert (refusal["kind"], refusal["edited"], refusal["reason"]) == (
        "vote_refused", {"id": "a", "amount": 1_500}, "less"
    )  # fmt: skip
    second = await desk.ask(lease, refund(lease, "b"))
    await desk.decide(second, "carol", "edit", reason="more", new_arguments={"id": "b", "amount": 20})
    vote = next(entry for entry in await desk.story(lease) if entry["kind"] == "vote")
    assert (vote["by"], vote["edited"], vote["reason"]) == ("carol", {"id": "b", "amount": 20}, "more")
