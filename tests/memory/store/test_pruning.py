"""Pruning: previewed, then done, then taken back; what is current or pinned stays, and the record says what left."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from memory.errors import Permanent
from memory.evidence.check import check
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs.leases import access_of
from memory.scope import Access, Principal
from memory.store import archive, erasure, pruning, search, write
from memory.store.fingerprints import terms
from memory.store.langgraph_store import MemoryStore
from memory.store.models import Memory, Note, Provenance, Utterance
from memory.store.pruning import PruningCandidate, PruningPolicy, choose
from memory.store.salience import information, rarity

pytestmark = pytest.mark.anyio
Remember = Callable[..., Awaitable[Memory]]
TIGHT = PruningPolicy(facts=2, episodes=2)


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def remember(database: Database, own_access: Access) -> Remember:
    async def keep(body: str, trust: Any = "human", is_pinned: bool = False, **options: Any) -> Memory:
        async with database.transaction(own_access) as connection:
            note = Note(body, trust, options.pop("provenance", Provenance()), is_pinned=is_pinned, **options)
            return await write.add(connection, own_access, note)

    return keep


def row(body: str, **columns: Any) -> PruningCandidate:
    plain: dict[str, Any] = {
        "id": str(uuid4()), "key": None, "trust": "human", "provenance": {}, "uses": 0, "is_pinned": False,
        "is_expired": False, "is_superseded": False,
    }  # fmt: skip
    return PruningCandidate(body=body, terms=terms(body), **{**plain, **columns})


async def live_bodies(database: Database, access: Access) -> set[str]:
    return {memory.body for memory in await search.ls(database, access)}


FACTS = ("I bought the red bicycle in Porto last summer", "My sister Ines started at the harbour in May 2023")
SMALL = ("wow, great!", "sounds good, you?", "thanks!")


async def test_a_preview_changes_nothing_and_says_why(
    database: Database, own_access: Access, remember: Remember
) -> None:
    """R94: dry run first, with a reason for each row."""
    for body in (*FACTS, *SMALL):
        await remember(body)
    await remember("gone soon", ttl=timedelta(0))
    preview = await pruning.preview(database, own_access, TIGHT)
    assert (preview.row_count, preview.reasons) == (6, {"expired": 1, "room": 3})
    assert {leaving.body for leaving in preview.removals} == {*SMALL, "gone soon"}
    assert await live_bodies(database, own_access) == {*FACTS, *SMALL}


async def test_pruning_does_what_was_previewed_and_records_it(
    database: Database, own_access: Access, remember: Remember
) -> None:
    """R94: an audited act: policy, counts, a keyed digest, and no content."""
    for body in (*FACTS, *SMALL):
        await remember(body)
    preview = await pruning.preview(database, own_access, TIGHT)
    report = await pruning.prune(database, own_access, TIGHT, expect=preview.digest)
    assert (report.removal_count, report.archive_count, await live_bodies(database, own_access)) == (3, 3, set(FACTS))
    entry = (await journal.read(database, own_access, f"authority-{own_access.principal.tenant}"))[-1]
    assert (entry.kind, entry.body["policy"], entry.body["reasons"]) == ("pruned", TIGHT.version, {"room": 3})
    assert not any(body in entry.text for body in SMALL)
    async with database.snapshot(own_access) as connection:
        assert (await check(connection)).problems == ()


async def test_a_preview_of_yesterday_is_not_carried_out(
    database: Database, own_access: Access, remember: Remember
) -> None:
    for body in (*FACTS, *SMALL):
        await remember(body)
    preview = await pruning.preview(database, own_access, TIGHT)
    await remember("one more since then")
    with pytest.raises(Permanent, match="changed since the preview"):
        await pruning.prune(database, own_access, TIGHT, expect=preview.digest)


async def test_what_was_pruned_can_be_restored(database: Database, own_access: Access, remember: Remember) -> None:
    """R94: with its id, times and findability, until the retention ends."""
    memories = [await remember(body) for body in (*FACTS, *SMALL)]
    await pruning.prune(database, own_access, TIGHT)
    back = await archive.restore(database, own_access, memories[2].id)
    assert back == memories[2]
    assert (await search.recall(database, own_access, SMALL[0])).hits[0].memory == back
    assert len(await archive.ls(database, own_access)) == 2
    with pytest.raises(Permanent, match="can be restored"):
        await archive.restore(database, own_access, memories[2].id)


async def test_after_its_retention_a_row_is_a_tombstone_unless_it_is_held(
    database: Database, own_access: Access, remember: Remember
) -> None:
    """R94: deleted after retention, legal hold excepted."""
    for body in (*FACTS, *SMALL):
        await remember(body)
    await pruning.prune(database, own_access, PruningPolicy(facts=2, episodes=2, retention_days=0))
    held_row, *_ = await archive.ls(database, own_access)
    await archive.set_legal_hold(database, own_access, held_row.id, on=True)
    while await erasure.sweep(database):
        pass
    rows = await archive.ls(database, own_access)
    assert [row.id for row in rows if row.body] == [held_row.id]
    with pytest.raises(Permanent, match="retention"):
        await archive.restore(database, own_access, next(row.id for row in rows if not row.body))


async def test_housekeeping_prunes_what_is_crowded_and_nothing_else(
    database: Database, own_access: Access, bob: Principal, remember: Remember
) -> None:
    """R94: the quota holds without anybody asking."""
    for body in (*FACTS, *SMALL):
        await remember(body)
    async with database.transaction(Access.of(bob)) as connection:
        await write.add(connection, Access.of(bob), Note(SMALL[0], "human", Provenance()))
    while await pruning.prune_overfull(database, TIGHT, limit=10_000):
        pass
    assert await live_bodies(database, own_access) == set(FACTS)
    assert await live_bodies(database, Access.of(bob)) == {SMALL[0]}


async def test_a_scope_that_cannot_be_pruned_keeps_no_other_from_it(
    database: Database, own_access: Access, bob: Principal, remember: Remember, superuser: Any
) -> None:
    """R94: whatever somebody brought into their rows."""
    for body in (*FACTS, *SMALL):
        await remember(body)
        async with database.transaction(Access.of(bob)) as connection:
            await write.add(connection, Access.of(bob), Note(body, "tool", Provenance()))
    async with superuser() as above:
        await above.execute(
            "update memories set provenance = '5' where tenant = %s and scope = 'user:bob'", [bob.tenant]
        )
    await pruning.prune_overfull(database, TIGHT, limit=10_000)
    assert await live_bodies(database, own_access) == set(FACTS)


async def test_an_answer_stays_one_when_its_question_has_left(
    database: Database, own_access: Access, remember: Remember
) -> None:
    """R94: pruning again later judges it as before."""
    remarks = [
        await remember(body, turn=Utterance("Ann", None, "s", n))
        for n, body in enumerate(("Where was it?", "In Porto"))
    ]
    await erasure.forget(database, own_access, id=remarks[0].id)
    async with database.transaction(own_access) as connection:
        cursor = await connection.execute("select answers from memories")
        assert await cursor.fetchall() == [{"answers": True}]


async def test_cited_use_counts_once_for_each_run_that_was_shown_it(
    database: Database, own_access: Access, alice: Principal, remember: Remember
) -> None:
    """R94: recalling alone does not keep a memory alive."""
    memories = await remember("the ledger closes at noon")
    counts: list[int] = []
    for _ in range(2):
        run = access_of(alice, str(uuid4()), "thread")
        async with database.transaction(run) as connection:
            counts.append(await pruning.cite(connection, run, [memories.id]))
        await search.recall(database, run, "ledger")
        for _ in range(2):
            async with database.transaction(run) as connection:
                counts.append(await pruning.cite(connection, run, [memories.id]))
    assert counts == [0, 1, 0, 0, 1, 0]
    assert (await search.ls(database, own_access))[0].uses == 2


async def test_another_scope_cannot_be_pruned(database: Database, own_access: Access, bob: Principal) -> None:
    """R92: the function compares with what was entered."""
    with pytest.raises(Exception, match="is not the one to write"):
        await database.call(
            own_access, "prune_memories", {"scope": f"user:{bob.id}", "leaving": {}, "retention": "1 day"}
        )
    with pytest.raises(Permanent, match="no scope to prune"):
        await pruning.preview(database, Access(bob, bob.reads))


def test_facts_and_episodes_have_rooms_of_their_own() -> None:
    """R94: many episodes push out no fact."""
    facts = [row(f"owner of service {n} is node-{n}", key=f"service {n}") for n in range(2)]
    talk = [row(f"I met Ann in Rome in March, day {n}") for n in range(9)]
    out = choose([*facts, *talk], TIGHT)
    assert len(out) == 7
    assert not {fact.id for fact in facts} & {leaving.id for leaving in out}


def test_pinned_rows_stay_whatever_they_tell() -> None:
    """R94: they take room, and only their own end removes them."""
    rows = [row("ok", is_pinned=True), *(row(body) for body in FACTS), row("old pin", is_pinned=True, is_expired=True)]
    out = choose(rows, TIGHT)
    assert {(leaving.body, leaving.reason) for leaving in out if leaving.reason == "expired"} == {
        ("old pin", "expired")
    }
    assert rows[0].id not in {leaving.id for leaving in out}
    assert len(out) == 2


def test_one_source_cannot_fill_a_scope_by_writing_long() -> None:
    """R103: a source that is no person has a quota; beyond it, it gets only what room others leave."""
    long = " ".join(f"Zebra{n} Quark{n} because in March 2024" for n in range(9))
    flood = [row(f"{long} {n}", trust="untrusted", provenance={"run": "r1"}) for n in range(8)]
    out = choose([*flood, *(row(body) for body in (*FACTS, *SMALL))], PruningPolicy(episodes=8))
    assert [leaving.body.startswith("Zebra") for leaving in out] == [True] * 5


@pytest.mark.parametrize("key", ["item", None])
def test_no_more_leave_than_there_is_want_of_room(key: str | None) -> None:
    """R94: not even of one source, as all items of a program's store are."""
    rows = [row(f"value {n}", key=key and f"{key}{n}", trust="tool", provenance={"principal": "p"}) for n in range(9)]
    assert len(choose(rows, PruningPolicy(facts=8, episodes=8))) == 1


def test_what_was_just_written_leaves_last() -> None:
    """R94: whoever stores an item finds it again, however full the scope is."""
    rows = [row(FACTS[0]), row(FACTS[1]), row(SMALL[0], is_recent=True)]
    assert rows[2].id not in {leaving.id for leaving in choose(rows, PruningPolicy(episodes=1))}


async def test_one_item_too_many_lets_one_leave_and_not_the_newest(database: Database, own_access: Access) -> None:
    """R94: all that a program keeps in its store comes from one source, and may still fill the room."""
    items = MemoryStore(database, own_access)
    for number in range(9):
        await items.aput(("user", "alice"), f"item {number}", {"value": f"the value of {number}"})
    report = await pruning.prune(database, own_access, PruningPolicy(facts=8))
    assert (report.removal_count, report.preview.reasons) == (1, {"room": 1})
    assert await items.aget(("user", "alice"), "item 8")
    assert len(await items.asearch(("user", "alice"), limit=20)) == 8


def test_of_doubles_the_most_trusted_stays() -> None:
    duplicates = [row("ledger closes at noon", trust="tool"), row("The ledger closes at NOON.")]
    assert [leaving.id for leaving in choose(duplicates)] == [duplicates[0].id]


def test_use_and_telling_outrank_cheering() -> None:
    """R94: what was cited is worth more."""
    rare = rarity([terms(FACTS[0]), terms(SMALL[0])])
    assert information(FACTS[0], terms(FACTS[0]), rare) > information(SMALL[0], terms(SMALL[0]), rare)
    cited_row, plain_row = row("one plain remark", uses=3), row("other plain remark")
    answer, remark = row("in Porto", is_answer=True), row("in Lisbon")
    assert [leaving.id for leaving in choose([answer, remark], PruningPolicy(episodes=1))] == [remark.id]
    assert [leaving.id for leaving in choose([plain_row, cited_row], PruningPolicy(episodes=1))] == [plain_row.id]
