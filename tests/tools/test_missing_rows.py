"""What people are shown where rows are gone, the chain is broken, or somebody was forgotten."""

from typing import Any

import pytest

from memory.errors import Permanent
from memory.governance import rounds
from memory.runs import run_story
from memory.store import erasure
from tests.conftest import Connect
from tests.tampering import delete, forge, rewrite
from tests.tools.stories import Refund, refund
from tests.tools.support import Desk
from tools import effect_account, explanations

pytestmark = pytest.mark.anyio


async def explain(story: Refund) -> explanations.Explanation:
    return await explanations.explain(story.database, story.lease.access, story.effect)


def voters(explanation: explanations.Explanation) -> list[str]:
    assert explanation.approval
    return [vote.by for vote in explanation.approval.votes or ()]


async def test_an_effect_without_its_row_is_still_explained_by_its_id(desk: Desk, superuser: Connect) -> None:
    story = await refund(desk)
    await delete(superuser, "effects", f"id = '{story.effect}'")
    explanation = await explain(story)
    row = explanation.effect
    assert (row.tool, row.amount, row.user_id, row.state) == ("shop.refund", 2_000, "alice", "done")
    assert (voters(explanation), explanation.differs) == (["bob", "carol"], ("effect.row",))
    account = await effect_account.show(story.database, story.lease.access, story.effect)
    assert (account.effect, account.differs) == (row, ("row",))
    with pytest.raises(Permanent, match="there is no effect"):
        await effect_account.show(story.database, story.lease.access, "shop:a")


async def test_an_effect_under_another_id_is_one_that_the_journal_does_not_know(desk: Desk, superuser: Connect) -> None:
    story = await refund(desk)
    await forge(superuser, "effects", "id", f"id = '{story.effect}'")
    account = await effect_account.show(story.database, story.lease.access, "forged")
    assert (account.differs, "amount" in account.row_only) == (("row",), True)


async def test_an_approval_without_its_row_still_names_who_voted(desk: Desk, superuser: Connect) -> None:
    """R48: each vote is told with person, time, channel, decision, comment and key, whatever table is left."""
    story = await refund(desk)
    before = await rounds.show(story.database, story.lease.access, story.approval)
    await delete(superuser, "votes", f"approval = '{story.approval}'")
    await delete(superuser, "approvals", f"id = '{story.approval}'")
    explanation = await explain(story)
    assert voters(explanation) == ["bob", "carol"]
    assert explanation.differs == ("approval.row", "approval.votes.bob", "approval.votes.carol")
    after = await rounds.show(story.database, story.lease.access, story.approval)
    assert after.record == before.record
    assert after.differs == ("row", "votes.bob", "votes.carol")
    vote = after.record.votes[0]
    assert (vote.approver, vote.decision, vote.reason, vote.channel) == (
        "bob",
        "approve",
        "checked the invoice",
        "test",
    )
    assert (vote.key is not None, vote.at.tzinfo is not None) == (True, True)


@pytest.mark.parametrize(
    ("change", "name"), [("approver = 'dave'", ["votes.dave", "votes.bob"]), ("tenant = 'another'", ["votes.bob"])]
)
async def test_a_vote_of_somebody_else_is_named_and_not_shown(
    desk: Desk, superuser: Connect, change: str, name: list[str]
) -> None:
    story = await refund(desk)
    column, value = change.split(" = ")
    await forge(superuser, "votes", column, f"approval = '{story.approval}' and approver = 'bob'", value=value)
    account = await rounds.show(story.database, story.lease.access, story.approval)
    assert [vote.approver for vote in account.record.votes] == ["bob", "carol"]
    assert [other for other in account.differs if other != "approvals"] == name


async def test_a_run_without_its_row_is_told_by_its_entries(desk: Desk, superuser: Connect) -> None:
    story = await refund(desk)
    before = await run_story.show(story.database, story.lease.access, story.lease.run)
    await delete(superuser, "runs", f"id = '{story.lease.run}'")
    after = await run_story.show(story.database, story.lease.access, story.lease.run)
    assert after.differs == ("run",)
    for name in ("requester", "status", "message", "plan", "plan_hash", "tokens", "created_at"):
        assert getattr(after.run, name) == getattr(before.run, name)
    explanation = await explain(story)
    assert (explanation.request.requester, "run" in explanation.differs) == ("alice", True)


async def test_what_is_no_run_is_not_found(desk: Desk) -> None:
    for name in ("none", f"authority-{desk.access('bob').principal.tenant}"):
        with pytest.raises(Permanent, match="there is no run"):
            await run_story.show(desk.database, desk.access("bob"), name)
        with pytest.raises(Permanent, match="there is no approval"):
            await rounds.show(desk.database, desk.access("bob"), name)


async def seq_of(story: Refund, kind: str) -> int:
    entries = (await run_story.show(story.database, story.lease.access, story.lease.run)).entries
    return next(entry.seq for entry in entries if entry.kind == kind)


def edit_vote(facts: dict[str, Any], words: dict[str, Any]) -> None:
    if facts["kind"] == "vote" and facts["by"] == "bob":
        facts["by"] = "dave"


def edit_reason(facts: dict[str, Any], words: dict[str, Any]) -> None:
    if facts["kind"] == "vote" and facts["by"] == "bob":
        words["reason"] = "I never read it"


@pytest.mark.parametrize("change", [edit_vote, edit_reason])
async def test_an_edit_of_an_entry_is_named_by_its_number(desk: Desk, superuser: Connect, change: Any) -> None:
    """Every view of the run says so, and tells nothing by it."""
    story = await refund(desk)
    name = f"journal, entry {await seq_of(story, 'vote')}"
    await rewrite(superuser, story.lease.run, change, rehash=False)
    access = story.lease.access
    accounts = [
        await explain(story),
        await effect_account.show(story.database, access, story.effect),
        await rounds.show(story.database, access, story.approval),
        await run_story.show(story.database, access, story.lease.run),
    ]
    # Who looks at the effect alone does not read the votes, whose words are not chained.
    assert [name in account.differs for account in accounts] == [True, change is edit_vote, True, True]
    # Nothing is told by what somebody edited.
    assert "dave" not in str(accounts)
    assert "never read" not in str(accounts)


@pytest.mark.parametrize("kind", ["vote", "ended", "requested"])
async def test_an_entry_that_is_gone_is_named(desk: Desk, superuser: Connect, kind: str) -> None:
    story = await refund(desk)
    seq = await seq_of(story, kind)
    await delete(superuser, "journal", f"run = '{story.lease.run}' and seq = {seq}")
    account = await effect_account.show(story.database, story.lease.access, story.effect)
    place = seq if kind == "ended" else seq + 1
    assert account.differs == (f"journal, entry {place}",)


async def test_words_that_nobody_forgot_are_missing(desk: Desk, superuser: Connect) -> None:
    story = await refund(desk)
    seq = await seq_of(story, "vote")
    await forge(superuser, "journal", "words", f"run = '{story.lease.run}' and seq = {seq}", value="null, salt = null")
    account = await rounds.show(story.database, story.lease.access, story.approval)
    assert f"journal, entry {seq}" in account.differs


async def test_who_was_forgotten_is_shown_without_words_and_nothing_differs(desk: Desk) -> None:
    """What stays is that it happened."""
    story = await refund(desk)
    await erasure.forget_person(desk.database, desk.people["alice"], requester="alice")
    explanation, access = await explain(story), story.lease.access
    assert (explanation.request.requester, explanation.request.input, explanation.effect.args) == ("alice", {}, {})
    assert explanation.approval
    assert [(vote.by, vote.reason) for vote in explanation.approval.votes or ()] == [("bob", ""), ("carol", "")]
    account = await rounds.show(story.database, access, story.approval)
    run = await run_story.show(story.database, access, story.lease.run)
    assert (account.record.approval.question, run.run.message, run.run.plan) == ({}, "", None)
    assert [explanation.differs, account.differs, run.differs] == [(), (), ()]
    # What the business answered, keys and codes stay in the rows alone.
    assert {"effect.outcome", "effect.key", "effect.send_key"} <= set(explanation.row_only)
    assert (account.row_only, run.row_only) == (("items",), ("reason",))


async def test_a_voter_who_was_forgotten_is_shown_without_words_and_nothing_differs(desk: Desk) -> None:
    story = await refund(desk)
    await erasure.forget_person(desk.database, desk.people["bob"], requester="bob")
    explanation = await explain(story)
    assert explanation.approval
    assert [(vote.by, vote.reason) for vote in explanation.approval.votes or ()] == [("bob", ""), ("carol", "fine")]
    assert explanation.differs == ()


@pytest.mark.parametrize("leavers", [("bob", "alice"), ("carol", "bob", "alice"), ("alice", "alice")])
async def test_a_forgetting_whose_own_words_were_forgotten_still_tells_what_went(
    desk: Desk, leavers: tuple[str, ...]
) -> None:
    story = await refund(desk)
    for person in leavers:
        await erasure.forget_person(desk.database, desk.people[person], requester=person)
    explanation, access = await explain(story), story.lease.access
    account = await rounds.show(story.database, access, story.approval)
    run = await run_story.show(story.database, access, story.lease.run)
    assert [explanation.differs, account.differs, run.differs] == [(), (), ()]
