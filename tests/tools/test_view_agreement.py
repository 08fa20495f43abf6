"""Journal and tables agree on all that can happen to effects, rounds and runs, and on what an older release wrote."""

from collections.abc import Mapping
from typing import Any

import pytest

from memory.governance import approvals, authors, rounds
from memory.knowledge import versions
from memory.postgres.database import Database
from memory.runs import records, run_story
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tampering import forge, rewrite
from tests.tools import stories
from tests.tools.observed import Hall, open_hall
from tests.tools.support import Desk, act
from tests.tools.test_doubts import fall_into_doubt
from tests.tools.test_publishers import RUNBOOK, publish, resting
from tools import audits, effect_account, effects, explanations

pytestmark = pytest.mark.anyio
LESS = {"id": "a", "amount": 5}


@pytest.fixture
async def hall(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> tuple[Desk, Hall]:
    return await open_hall(database, people, clock)


async def take_over(desk: Desk, approval: str) -> None:
    view = (await rounds.show(desk.database, desk.access("alice"), approval)).record.approval
    nonce = str((view.proposal or {"nonce": view.nonce})["nonce"])
    async with desk.database.transaction(desk.access("alice")) as connection:
        assert (await authors.take_over(connection, approval=approval, nonce=nonce, channel="test")).code == "ok"


async def test_edits_and_who_took_them_over_are_told_by_the_journal(desk: Desk) -> None:
    """Of two edits the first is taken and the second refused and kept; both become the requester's own."""
    lease = await desk.run()
    first = await desk.ask(lease, act(lease, tool="shop.refund"))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments=LESS)
    second = await desk.ask(lease, act(lease, tool="shop.refund", amount=5))
    assert (await desk.decide(second, "carol", "edit", reason="x", new_arguments=LESS)).code == "no_approver_left"
    account = await rounds.show(desk.database, desk.access("alice"), second)
    row = await approvals.show(desk.database, desk.access("alice"), second)
    assert (account.record.approval.proposal, account.differs) == (row.approval.proposal, ())
    await take_over(desk, second)
    third = await desk.ask(lease, act(lease, tool="shop.refund", amount=5))
    record = (await rounds.show(desk.database, desk.access("alice"), third)).record
    assert [edit.taken_over_by for edit in record.edits] == ["alice", "alice"]
    assert await stories.differences(desk) == []


async def test_who_took_an_edit_over_cannot_be_hidden(desk: Desk, superuser: Connect) -> None:
    lease = await desk.run()
    first = await desk.ask(lease, act(lease, tool="shop.refund"))
    await desk.decide(first, "bob", "edit", reason="less", new_arguments=LESS)
    second = await desk.ask(lease, act(lease, tool="shop.refund", amount=5))
    await take_over(desk, second)
    await forge(superuser, "approvals", "taken_over_by", f"id = '{first}'", value="null")
    await forge(superuser, "approvals", "authors", f"id = '{second}'", value="array['bob']")
    account = await rounds.show(desk.database, desk.access("alice"), second)
    assert account.record.approval.authors == ()
    assert account.differs == ("authors", f"rounds.{first}.taken_over_by")


async def test_who_published_and_was_countersigned_is_told_by_the_journal(desk: Desk, superuser: Connect) -> None:
    version = await publish(desk, "bob")
    lease = await desk.run()
    approval = await desk.ask(lease, resting(lease, version))
    await versions.approve(desk.database, desk.access("carol"), RUNBOOK, version)
    assert await stories.differences(desk) == []
    await forge(superuser, "approvals", "authors", f"id = '{approval}'", value="array['bob']")
    account = await rounds.show(desk.database, desk.access("alice"), approval)
    assert (account.record.approval.authors, account.differs) == ((), ("authors",))


async def test_doubt_and_what_a_person_said_of_it_are_told_by_the_journal(desk: Desk) -> None:
    effect = await fall_into_doubt(desk, await desk.run())
    assert await stories.differences(desk) == []
    async with desk.database.transaction(desk.access("bob")) as connection:
        await effects.resolve(connection, effect.id, "done", "seen at the shop")
    account = await effect_account.show(desk.database, desk.access("alice"), effect.id)
    assert (account.effect.state, (account.effect.outcome or {})["resolved_by"]) == ("done", "bob")
    assert await stories.differences(desk) == []


async def test_what_was_taken_back_or_set_anew_is_told_by_the_journal(
    hall: tuple[Desk, Hall], superuser: Connect
) -> None:
    """Also in another run than that of the effect, and whatever its row says."""
    desk, world = hall
    outcomes: list[str] = []
    for tool in ("hall.on", "hall.on"):
        lease = await desk.run()
        outcome = await desk.gateway.perform(lease, act(lease, tool=tool))
        outcomes.append(str(outcome.effect))
        world.lamps.clear()
    assert await stories.differences(desk) == []
    first, second = outcomes
    await forge(superuser, "effects", "superseded_by", f"id = '{first}'", value="'forged'")
    account = await effect_account.show(desk.database, desk.access("alice"), first)
    assert (account.effect.superseded_by, account.differs) == (second, ("superseded_by",))


async def test_who_accepted_what_failed_its_audit_is_explained(hall: tuple[Desk, Hall]) -> None:
    """With who, when and why, beside the response."""
    desk, world = hall
    world.lies = True
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, tool="hall.book"))
    question: dict[str, Any] = {
        "title": "The audit failed",
        "step": "s-a",
        "effect": outcome.effect,
        "problems": ["not booked"],
    }
    approval = await audits.ask(desk.database, lease, question)
    chain = await explanations.explain(desk.database, lease.access, str(outcome.effect))
    assert [(audit.approval, audit.status) for audit in chain.audits] == [(approval, "open")]
    await desk.decide(approval, "bob", reason="they called me")
    chain = await explanations.explain(desk.database, lease.access, str(outcome.effect))
    (audit,) = chain.audits
    assert (audit.status, audit.decider, audit.problems) == ("approved", "bob", ("not booked",))
    assert [(vote.by, vote.reason) for vote in audit.votes] == [("bob", "they called me")]
    assert (audit.until is not None, chain.effect.state) == (True, "done")
    assert [entry.kind for entry in chain.entries][-4:] == ["held", "vote", "resolved", "approval"]
    assert await stories.differences(desk) == []


async def test_runs_that_stop_go_on_and_are_cancelled_are_told_by_the_journal(desk: Desk) -> None:
    lease = await desk.run()
    await stories.adopt_plan(desk, lease)
    await desk.end(lease, "stopped", "killed")
    lease = await desk.resume(lease.run)
    await desk.end(lease, "stopped", "in_doubt")
    async with desk.database.transaction(lease.access) as connection:
        await records.cancel(connection, lease.run, "no more")
    account = await run_story.show(desk.database, lease.access, lease.run)
    run = account.run
    assert (run.status, run.reason, run.attempt, run.cancel) == ("cancelled", "cancelled", 2, "no more")
    assert await stories.differences(desk) == []


_LATER = {
    "held": {"round", "requester", "requester_excluded", "shown", "items", "checkpoint"},
    "approval": {"edited", "valid_until"},
    "requested": {"limits", "flow"},
    "planned": {"document", "limits"},
    "ended": {"message"},
    "permitted": {"digest", "natural_key", "generation", "event"},
}
"""Fields that entries of the release before do not have."""


def strip(facts: dict[str, Any], words: dict[str, Any]) -> None:
    for part in (facts, words):
        for name in {*_LATER.get(facts["kind"], ()), "rows", "spent"}:
            part.pop(name, None)


async def test_what_entries_of_the_release_before_do_not_hold_comes_from_the_rows_and_is_named(
    desk: Desk, superuser: Connect
) -> None:
    story = await stories.refund(desk)
    access = story.lease.access
    before = await rounds.show(desk.database, access, story.approval)
    run = await run_story.show(desk.database, access, story.lease.run)
    await rewrite(superuser, story.lease.run, strip)
    assert await stories.differences(desk) == []
    after = await rounds.show(desk.database, access, story.approval)
    assert (after.record.approval, after.record.votes) == (before.record.approval, before.record.votes)
    names = {"round", "requester", "requester_excluded", "authors", "valid_until", "shown", "approvals", "items"}
    assert set(after.row_only) == names
    account = await run_story.show(desk.database, access, story.lease.run)
    assert account.run == run.run
    assert {"plan", "message", "limit_calls", "spent_calls", "flow"} <= set(account.row_only)
    chain = await explanations.explain(desk.database, access, story.effect)
    names = {"attempts", "sent", "key", "generation", "send_key"}
    assert {f"effect.{name}" for name in names} <= set(chain.row_only)
