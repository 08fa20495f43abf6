"""Publishers of what a plan rests on, and requests that nobody could decide: both are said, and nothing is lowered."""

from typing import Any

import pytest

from memory.errors import Halt
from memory.knowledge import versions
from memory.runs.leases import Lease
from memory.scope import Access
from tests.conftest import Connection
from tests.memory.knowledge.test_versions import item
from tests.tools.support import Desk
from tests.tools.test_authors import retire, show
from tests.tools.test_hold import refund
from tools.action import Action, Pin

pytestmark = pytest.mark.anyio

RUNBOOK = "db.disk-full"


async def publish(desk: Desk, person: str, **changes: Any) -> int:
    """Publish the next version of the runbook as a person; returns its number."""
    return (await versions.publish(desk.database, Access.of(desk.people[person]), item(RUNBOOK, **changes))).version


def resting(lease: Lease, version: int, **options: Any) -> Action:
    """Return a refund whose plan rests on a version of the runbook."""
    return refund(lease, pins=(Pin(RUNBOOK, version),), **options)


async def test_who_published_what_the_plan_rests_on_does_not_decide_it(desk: Desk) -> None:
    """Until another person approved the version, also in a question that is open meanwhile."""
    version = await publish(desk, "bob")
    lease = await desk.run()
    approval = await desk.ask(lease, resting(lease, version))
    assert (await show(desk, approval)).approval.authors == ("bob",)
    held = next(entry for entry in await desk.story(lease) if entry["kind"] == "held")
    assert held["authors"] == ["bob"]
    assert (await desk.decide(approval, "bob")).code == "author_excluded"
    assert await versions.approve(desk.database, desk.access("carol"), RUNBOOK, version)
    assert (await show(desk, approval)).approval.authors == ()
    assert (await desk.decide(approval, "bob")).status == "approved"
    assert (await desk.gateway.perform(lease, resting(lease, version))).state == "done"


async def test_with_a_quorum_of_two_a_publisher_is_none_of_them_until_somebody_approves_the_version(desk: Desk) -> None:
    """Somebody could, so the question is opened; nothing is lowered meanwhile."""
    version = await publish(desk, "bob")
    lease = await desk.run()
    approval = await desk.ask(lease, resting(lease, version, amount=2_000))
    assert (await desk.decide(approval, "carol")).status == "open"
    refusal = await desk.decide(approval, "bob")
    assert (refusal.code, refusal.votes, refusal.need) == ("author_excluded", 1, 2)
    assert (await desk.gateway.perform(lease, resting(lease, version, amount=2_000))).state == "held"
    await versions.approve(desk.database, desk.access("root"), RUNBOOK, version)
    assert (await desk.decide(approval, "bob")).status == "approved"


async def test_a_new_version_needs_an_approval_of_its_own(desk: Desk) -> None:
    await versions.approve(desk.database, desk.access("carol"), RUNBOOK, await publish(desk, "bob"))
    version = await publish(desk, "bob", body="Drop the table first.")
    lease = await desk.run()
    approval = await desk.ask(lease, resting(lease, version))
    assert (await desk.decide(approval, "bob")).code == "author_excluded"


async def test_an_editor_who_published_as_well_stays_an_author_when_the_version_is_approved(desk: Desk) -> None:
    version = await publish(desk, "bob")
    await versions.approve(desk.database, desk.access("carol"), RUNBOOK, version)
    lease = await desk.run()
    first = await desk.ask(lease, resting(lease, version))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 5})
    second = await desk.ask(lease, resting(lease, version, amount=5))
    await versions.approve(desk.database, desk.access("root"), RUNBOOK, version)
    assert (await desk.decide(second, "bob")).code == "author_excluded"


async def test_a_request_that_nobody_could_decide_is_said_at_once_and_not_after_an_hour(
    desk: Desk, owner: Connection
) -> None:
    """Of a quorum of two only one is left; the run stops, names who could be asked, and goes on once somebody came."""
    await retire(owner, desk, "carol")
    lease = await desk.run()
    with pytest.raises(Halt, match="2 of group 'finance' must agree and 1 can") as halt:
        await desk.gateway.perform(lease, refund(lease, amount=2_000))
    assert halt.value.code == "no_approver_left"
    for part in ("('bob')", "'dave' has too low a limit", "add somebody to group 'finance'", "have a limit raised"):
        assert part in str(halt.value)
    assert (await desk.story(lease))[-1]["code"] == "no_approver_left"
    assert (await desk.count("approvals"), desk.shop.calls) == (0, 0)
    await desk.end(lease, "stopped", "no_approver_left")
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [desk.people["bob"].tenant])
        await owner.execute("update principals set groups = '{finance}' where id = 'carol'")
    again = await desk.resume(lease.run)
    assert (await desk.gateway.perform(again, refund(again, amount=2_000))).state == "held"


async def test_the_only_approver_who_asks_is_told_so(desk: Desk, owner: Connection) -> None:
    await retire(owner, desk, "carol", "dave")
    lease = await desk.run(requester="bob")
    with pytest.raises(Halt, match=r"'bob' asked for it; .* let somebody else ask for it"):
        await desk.gateway.perform(lease, refund(lease))


async def test_a_publisher_whom_nobody_could_countersign_leaves_nobody(desk: Desk, owner: Connection) -> None:
    """Of two one asks and one published and would decide: said at the hold."""
    version = await publish(desk, "bob")
    await retire(owner, desk, "carol", "dave", "root")
    lease = await desk.run()
    with pytest.raises(Halt, match="'bob' wrote it"):
        await desk.gateway.perform(lease, resting(lease, version))


async def test_a_vote_counts_no_more_once_its_voter_is_an_author(desk: Desk, owner: Connection) -> None:
    """As after an upgrade, which makes publishers authors of questions that wait."""
    lease = await desk.run()
    approval = await desk.ask(lease, refund(lease, amount=2_000))
    await desk.decide(approval, "bob")
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [desk.people["bob"].tenant])
        await owner.execute("update approvals set authors = '{bob}' where id = %s", [approval])
    assert (await show(desk, approval)).approval.approvals == 0
    vote = await desk.decide(approval, "carol")
    assert (vote.status, vote.votes) == ("open", 1)
