"""Votes on approvals: who may vote, when and how often; deciding and parking never miss each other."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from memory.errors import Permanent
from memory.governance import approvals, principals
from memory.postgres.database import Connection, Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.conftest import VirtualClock
from tests.tools.support import Desk, act, open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database: Database, owner: Connection, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    crowd = dict(people)
    desk = await open_desk(database, crowd, clock)
    tenant = people["bob"].tenant
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        for name, groups in [("erin", ["finance"]), ("frank", ["support"])]:
            await owner.execute("select put_principal(%s, %s, 50000, 1000000)", [name, groups])
            crowd[name] = Principal(tenant, name, frozenset(groups))
    return desk


async def ask(desk: Desk, amount: int = 10) -> tuple[Lease, str]:
    lease = await desk.run()
    return lease, await desk.ask(lease, act(lease, tool="shop.refund", amount=amount))


async def test_of_three_deciders_at_once_one_wins_and_the_others_learn_who(desk: Desk) -> None:
    """R38 R41"""
    _, approval = await ask(desk)
    answers = await asyncio.gather(*(desk.decide(approval, person) for person in ("bob", "carol", "erin")))
    winner = next(answer for answer in answers if answer.code == "ok")
    losers = [answer for answer in answers if answer.code != "ok"]
    assert [(answer.code, answer.decider) for answer in losers] == [("approval_decided", winner.decider)] * 2
    assert (winner.status, await desk.count("votes")) == ("approved", 1)


async def test_of_three_deciders_at_once_two_make_a_quorum_of_two(desk: Desk) -> None:
    """R41"""
    _, approval = await ask(desk, 2_000)
    answers = await asyncio.gather(*(desk.decide(approval, person) for person in ("bob", "carol", "erin")))
    assert sorted(answer.code for answer in answers) == ["approval_decided", "ok", "ok"]
    assert sorted(str(answer.status) for answer in answers if answer.code == "ok") == ["approved", "open"]


@pytest.mark.parametrize(
    ("person", "amount", "code"),
    [
        ("alice", 10, "requester_excluded"),
        ("frank", 10, "needs_another_group"),
        ("dave", 10, "over_limit"),
        ("erin", 1_000_001, "over_limit"),
    ],
)
async def test_a_person_without_the_authority_leaves_the_question_open(
    desk: Desk, person: str, amount: int, code: str
) -> None:
    """R25 R41"""
    lease, approval = await ask(desk, amount)
    answer = await desk.decide(approval, person)
    assert (answer.code, answer.status, answer.votes) == (code, "open", 0)
    entry = (await desk.story(lease))[-1]
    assert (entry["kind"], entry["by"], entry["code"]) == ("vote_refused", person, code)


async def test_nobody_votes_twice(desk: Desk) -> None:
    """R41"""
    _, approval = await ask(desk, 2_000)
    await desk.decide(approval, "bob")
    again = await desk.decide(approval, "bob")
    assert (again.code, again.status, again.votes) == ("duplicate_vote", "open", 1)


async def test_twice_the_same_person_at_once_is_one_vote(desk: Desk) -> None:
    """R41"""
    _, approval = await ask(desk, 2_000)
    answers = await asyncio.gather(*(desk.decide(approval, "bob") for _ in range(4)))
    assert sorted(answer.code for answer in answers) == ["duplicate_vote"] * 3 + ["ok"]


async def test_the_nonce_of_another_round_is_refused(desk: Desk) -> None:
    """R38"""
    _, first = await ask(desk)
    _, second = await ask(desk)
    nonce = (await approvals.show(desk.database, desk.access("bob"), first)).approval.nonce
    answer = await desk.decide(second, "bob", nonce=nonce)
    assert (answer.code, answer.status) == ("wrong_nonce", "open")


async def test_a_replayed_answer_changes_nothing(desk: Desk) -> None:
    """R38"""
    _, approval = await ask(desk)
    nonce = (await approvals.show(desk.database, desk.access("bob"), approval)).approval.nonce
    await desk.decide(approval, "bob", nonce=nonce)
    again = await desk.decide(approval, "bob", nonce=nonce)
    assert (again.code, again.decider, await desk.count("votes")) == ("approval_decided", "bob", 1)


async def test_a_late_vote_is_refused_and_closes_the_question(desk: Desk, owner: Connection) -> None:
    """R43"""
    lease, approval = await ask(desk)
    assert await records.park(desk.database, lease, approval) == "waiting"
    await late(owner, lease, approval)
    answer = await desk.decide(approval, "bob")
    assert (answer.code, answer.status, answer.wakes_run) == ("approval_expired", "expired", True)


async def test_the_sweep_closes_what_nobody_answered_and_wakes_the_run(desk: Desk, owner: Connection) -> None:
    """R43"""
    lease, approval = await ask(desk)
    await records.park(desk.database, lease, approval)
    await late(owner, lease, approval)
    assert (await approvals.view(desk.database, lease.access, approval)).status == "expired"
    async with desk.database.worker() as connection, connection.transaction():
        assert lease.run in await records.expire(connection)
        assert await (await connection.execute("select current_tenant() as t")).fetchone() == {"t": None}
    standing = await approvals.view(desk.database, lease.access, approval)
    run = await records.get(desk.database, lease.access, lease.run)
    assert (standing.reason, run.status) == ("approval_timeout", "queued")


async def test_an_unknown_approval_is_not_found(desk: Desk) -> None:
    assert (await desk.decide("no-such", "bob", nonce="n")).code == "not_found"
    for read in (approvals.show, approvals.view):
        with pytest.raises(Permanent, match="there is no approval 'no-such'"):
            await read(desk.database, desk.access("bob"), "no-such")


async def test_another_tenants_people_see_and_decide_nothing(desk: Desk) -> None:
    """R92"""
    _, approval = await ask(desk)
    stranger = Access.of(Principal("elsewhere", "bob", frozenset({"finance"}), 10**9, 10**9))
    async with desk.database.transaction(stranger) as connection:
        values: dict[str, Any] = {"nonce": "", "decision": "approve", "reason": "", "channel": "test"}
        answer = await approvals.decide(connection, approval=approval, **values)
    assert (answer.code, await approvals.ls(desk.database, stranger)) == ("not_found", [])


async def test_a_rejection_by_one_ends_the_question(desk: Desk) -> None:
    """R45"""
    _, approval = await ask(desk, 2_000)
    await desk.decide(approval, "bob")
    answer = await desk.decide(approval, "carol", "reject", reason="twice the sum")
    assert (answer.status, answer.decider) == ("rejected", "carol")
    assert (await approvals.view(desk.database, desk.access("bob"), approval)).reason == "twice the sum"


async def test_a_question_to_the_requester_leaves_the_gate_open(desk: Desk) -> None:
    """R45"""
    lease, approval = await ask(desk)
    answer = await desk.decide(approval, "bob", "ask", reason="which invoice?")
    entry = (await desk.story(lease))[-1]
    assert (answer.code, answer.status, await desk.count("votes")) == ("ok", "open", 0)
    assert (entry["kind"], entry["to"], entry["question"]) == ("question", "alice", "which invoice?")
    assert (await desk.decide(approval, "bob")).status == "approved"


async def test_the_requester_answers_at_the_gate_but_does_not_vote_there(desk: Desk) -> None:
    """R41 R45"""
    lease, approval = await ask(desk)
    await desk.decide(approval, "bob", "ask", reason="which invoice?")
    remark = await desk.decide(approval, "alice", "ask", reason="the one of May")
    assert (remark.code, remark.status, (await desk.story(lease))[-1]["question"]) == ("ok", "open", "the one of May")
    assert (await desk.decide(approval, "alice")).code == "requester_excluded"


async def test_each_vote_is_recorded_with_person_channel_comment_and_nonce(desk: Desk) -> None:
    """R38 R48"""
    lease, approval = await ask(desk)
    await desk.decide(approval, "bob", reason="fine", channel="cli")
    vote = next(entry for entry in await desk.story(lease) if entry["kind"] == "vote")
    record = await approvals.show(desk.database, lease.access, approval)
    assert (vote["by"], vote["channel"], vote["reason"], vote["decision"]) == ("bob", "cli", "fine", "approve")
    assert (vote["nonce"], bool(vote["at"])) == (record.approval.nonce, True)
    assert [(row.approver, row.channel) for row in record.votes] == [("bob", "cli")]


async def test_a_vote_names_the_key_by_which_it_came_and_nobody_elses(desk: Desk) -> None:
    """R48: the key is told by its hash; that of another, of nobody, or one that was revoked makes no vote."""
    _, approval = await ask(desk, 2_000)
    root = desk.access("root")
    keys = {
        name: await principals.claim(desk.database, (await principals.issue(desk.database, root, name)).secret)
        for name in ("bob", "carol")
    }
    hashes = {name: principals.key_hash(key.secret).hex() for name, key in keys.items()}
    for wrong in (hashes["bob"], "00" * 32):
        answer = await desk.decide(approval, "carol", credential=wrong)
        assert (answer.code, answer.votes) == ("forbidden", 0)
    assert (await desk.decide(approval, "bob", credential=hashes["bob"])).code == "ok"
    await principals.revoke(desk.database, root, keys["carol"].id)
    assert (await desk.decide(approval, "carol", credential=hashes["carol"])).code == "forbidden"
    record = await approvals.show(desk.database, desk.access("bob"), approval)
    assert [(vote.approver, vote.key) for vote in record.votes] == [("bob", keys["bob"].id)]


async def test_a_new_round_shows_the_one_before(desk: Desk) -> None:
    """R39"""
    lease, first = await ask(desk)
    second = await desk.ask(lease, act(lease, tool="shop.refund", amount=11))
    record = await approvals.show(desk.database, lease.access, second)
    assert record.predecessor is not None
    assert (record.approval.round, record.predecessor.id, record.predecessor.status) == (2, first, "void")


async def test_lists_are_narrowed_and_paged(desk: Desk) -> None:
    lease, first = await ask(desk)
    _, second = await ask(desk)
    await desk.decide(first, "bob")
    access = desk.access("bob")
    newest = (await approvals.ls(desk.database, access, limit=1))[0]
    older = await approvals.ls(desk.database, access, before=(newest.opened_at, newest.id))
    assert (newest.id, [row.id for row in older]) == (second, [first])
    assert [row.id for row in await approvals.ls(desk.database, access, status="open")] == [second]
    assert [row.approvals for row in await approvals.ls(desk.database, access, run=lease.run)] == [1]


async def test_parking_and_deciding_at_the_same_moment_lose_no_wake_up(desk: Desk) -> None:
    """R47"""
    sleepers: list[str] = []
    for _ in range(60):
        lease, approval = await ask(desk)
        await desk.decide(approval, "bob", "ask")
        nonce = (await approvals.show(desk.database, lease.access, approval)).approval.nonce
        racers = [records.park(desk.database, lease, approval), desk.decide(approval, "bob", nonce=nonce)]
        random.shuffle(racers)
        await asyncio.gather(*racers)
        run = await records.get(desk.database, lease.access, lease.run)
        sleepers += [lease.run] if run.status != "queued" else []
    assert sleepers == []


async def test_cancelling_voids_what_is_asked(desk: Desk) -> None:
    lease, approval = await ask(desk)
    await records.park(desk.database, lease, approval)
    async with desk.database.transaction(desk.access("alice")) as connection:
        assert await records.cancel(connection, lease.run, "changed my mind") == "cancelled"
    answer = await desk.decide(approval, "bob")
    assert (answer.code, answer.status) == ("approval_void", "void")


async def late(owner: Connection, lease: Lease, approval: str) -> None:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        await owner.execute("update approvals set expires = clock_timestamp() where id = %s", [approval])
