"""Forgetting a person: everything in one act, nothing left to find, and no way back in through extraction."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from memory.errors import Permanent
from memory.evidence.check import check
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs import records, transcripts
from memory.runs.checkpoints import Checkpoints, leading
from memory.runs.leases import Lease
from memory.runs.results import RunRows
from memory.scope import Access, Principal, Scope
from memory.store import archive, erasure, pruning, search, transfer, write
from memory.store.models import Memory, Provenance
from memory.store.pruning import PruningPolicy
from tests.conftest import Connect
from tests.memory.runs.test_checkpoints import story

pytestmark = pytest.mark.anyio
BUDGET = {"tokens": 10, "micros": 10, "calls": 10}
Lead = Callable[..., Awaitable[Lease]]


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def lead(database: Database, alice: Principal) -> Lead:
    async def make(text: str = "") -> Lease:
        run = str(uuid4())
        async with database.transaction(Access.of(alice)) as connection:
            await records.start(connection, id=run, thread=run, input={"request": ""}, correlation=run, budget=BUDGET)
        lease = await records.lease(database, run, 1)
        assert lease is not None
        if text:
            graph = story(Checkpoints(database))
            await graph.ainvoke({"lines": [text]}, leading(lease, fresh=True), context=lease)
        return lease

    return make


async def end(database: Database, lease: Lease, message: str = "") -> None:
    async with database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message=message, body={})


async def note(database: Database, access: Access, body: str, trust: Any = "tool", **options: Any) -> Memory:
    return await write.remember(database, access, body, trust=trust, provenance=Provenance(), **options)


async def dump_lines(connect: Connect) -> AsyncIterator[tuple[str, str]]:
    """Yield each row of each table of the whole database as text, with its table."""
    async with connect() as above:
        cursor = await above.execute(
            "select table_schema as s, table_name as t from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
        )
        for table in await cursor.fetchall():
            name = sql.Identifier(table["s"], table["t"])
            rows = await above.execute(sql.SQL("select to_jsonb(x)::text as row from {} x").format(name))
            for row in await rows.fetchall():
                yield table["t"], row["row"]


async def found_in(connect: Connect, canaries: list[str]) -> set[str]:
    """Return the tables that hold a canary, also as the bytes of a binary column."""
    signs = [*canaries, *(canary.encode().hex() for canary in canaries)]
    return {table async for table, row in dump_lines(connect) if any(sign in row for sign in signs)}


async def spread(database: Database, access: Access, lease: Lease, canaries: list[str]) -> None:
    """Put canaries wherever memory of a person may get to."""
    person = access.principal
    session = Scope("session", f"{person.id}/{lease.thread}")
    for canary, scope in zip(
        canaries, [Scope("user", person.id), session, Scope("agent", "shared")] * 20, strict=False
    ):
        await note(database, Access(person, (scope,), scope), f"{canary} keeps a red bicycle in Porto")
    for owner in ("Ann", "Ben"):
        await note(database, access, f"{canaries[0]} is owned by {owner}", "human", key="owner")
    await note(database, access, f"Again: {canaries[0]} keeps a red bicycle in Porto")
    await pruning.prune(database, access, PruningPolicy(episodes=3))
    await RunRows(database, lease.access, lease.run, "s1").keep("kept", _texts(canaries))
    async with database.transaction(access) as connection:
        await connection.execute(
            "insert into requests (key, route, hash, answer) values ('k', '/api/memory', %s, %s)",
            ["0" * 64, Jsonb({"body": canaries[2]})],
        )


async def _texts(canaries: list[str]) -> AsyncIterator[dict[str, str]]:
    for canary in canaries:
        yield {"text": canary}


async def test_fifty_canaries_are_nowhere_after_a_person_is_forgotten(
    database: Database, own_access: Access, lead: Lead, superuser: Connect
) -> None:
    """R102: rows, vectors, words, archives, results, checkpoints and prompts; the journal still verifies."""
    canaries = [f"canary{uuid4().hex}" for _ in range(50)]
    lease = await lead(" ".join(canaries))
    await spread(database, own_access, lease, canaries)
    await end(database, lease, canaries[1])
    places = await found_in(superuser, canaries)
    assert {"memories", "memory_archive", "result_rows", "checkpoint_blobs", "runs", "requests"} <= places
    receipt = await erasure.forget_person(database, own_access.principal, requester="alice")
    assert await found_in(superuser, canaries) == set()
    assert receipt.counts["memories"] > 0
    async with database.snapshot(own_access) as connection:
        assert (await check(connection)).problems == ()


async def test_the_receipt_holds_counts_and_no_content(database: Database, own_access: Access) -> None:
    """R102: only that it happened."""
    await note(database, own_access, "keeps a red bicycle in Porto")
    receipt = await erasure.forget_person(database, own_access.principal, requester="alice")
    entry = (await journal.read(database, own_access, f"authority-{own_access.principal.tenant}"))[-1]
    assert (entry.kind, entry.body["counts"], entry.body["person"]) == ("forgotten", receipt.counts, receipt.person)
    assert "bicycle" not in entry.text


@pytest.mark.parametrize("again", ["keeps a red bicycle in Porto", "Keeps: a RED bicycle, in Porto."])
async def test_what_was_forgotten_is_not_extracted_again(
    database: Database, own_access: Access, alice: Principal, again: str
) -> None:
    """R102: neither into the person's scope, nor by a run of theirs into another."""
    await note(database, own_access, "keeps a red bicycle in Porto")
    await erasure.forget_person(database, alice, requester="alice")
    for scope in (Scope("user", "alice"), Scope("agent", "shared")):
        with pytest.raises(Permanent, match="forgotten on request") as refusal:
            await note(database, Access(alice, (scope,), scope), again)
        assert refusal.value.code == "tainted"
    assert await note(database, own_access, again, "human")


@pytest.mark.parametrize("again", ["keeps a red bicycle in Lisbon", "owns a bicycle, a red one, in Porto"])
async def test_a_paraphrase_of_what_was_forgotten_is_not_recognised(
    database: Database, own_access: Access, again: str
) -> None:
    """R102: what is covered are other order, case, marks and small words; other words make another text."""
    await note(database, own_access, "keeps a red bicycle in Porto")
    await erasure.forget_person(database, own_access.principal, requester="alice")
    assert await note(database, own_access, again)


async def test_what_was_forgotten_does_not_come_back_from_an_old_export(
    database: Database, own_access: Access, alice: Principal
) -> None:
    """R101, R102: a file is no person."""
    await note(database, own_access, "keeps a red bicycle in Porto", "human")
    lines = [line async for line in transfer.export(database, own_access)]
    await erasure.forget_person(database, alice, requester="alice")
    with pytest.raises(Permanent, match="line 2"):
        await transfer.import_lines(database, own_access, lines)


async def test_a_tombstone_says_nothing_without_the_tenants_key(
    database: Database, own_access: Access, bob: Principal, superuser: Connect
) -> None:
    """R102: others may say the same, and equal texts of two tenants leave unequal marks."""
    other = Principal(f"{bob.tenant}-b", "alice")
    for access in (own_access, Access.of(other)):
        await note(database, access, "keeps a red bicycle in Porto")
        await erasure.forget_person(database, access.principal, requester="alice")
    assert await note(database, Access.of(bob), "keeps a red bicycle in Porto")
    async with superuser() as above:
        cursor = await above.execute(
            "select count(*) as n, count(distinct mark) as different from memory_tombstones where tenant = any(%s)",
            [[bob.tenant, other.tenant]],
        )
        assert await cursor.fetchone() == {"n": 4, "different": 4}


async def test_nobody_elses_memories_go(database: Database, own_access: Access, bob: Principal, lead: Lead) -> None:
    """R92, R102: not those of a colleague, nor what a colleague left in a shared scope."""
    shared_access = Access(bob, bob.reads, Scope("agent", "shared"))
    original = [
        await note(database, Access.of(bob), "Bob's own"),
        await note(database, shared_access, "left by Bob's run"),
    ]
    await end(database, await lead("x"))
    await erasure.forget_person(database, own_access.principal, requester="alice")
    assert {memory.id for memory in await search.ls(database, Access.of(bob))} == {memory.id for memory in original}


async def test_a_person_with_an_open_run_or_a_legal_hold_is_not_forgotten_yet(
    database: Database, own_access: Access, lead: Lead
) -> None:
    """R102: all of it or nothing."""
    await note(database, own_access, "keeps a red bicycle in Porto")
    lease = await lead()
    with pytest.raises(Permanent, match="cancel them or wait"):
        await erasure.forget_person(database, own_access.principal, requester="alice")
    await end(database, lease)
    await pruning.prune(database, own_access, PruningPolicy(episodes=0))
    (archived_row,) = await archive.ls(database, own_access)
    await archive.set_legal_hold(database, own_access, archived_row.id, on=True)
    with pytest.raises(Permanent, match="legal hold"):
        await erasure.forget_person(database, own_access.principal, requester="alice")


async def test_a_transcript_is_archived_small_and_restored_whole(
    database: Database, own_access: Access, lead: Lead
) -> None:
    """R99: out of the hot tables, at least five times smaller, and back again exactly."""
    lease = await lead("the run looked at batch 17 and found nothing to refund; " * 40)
    await end(database, lease)
    before = await rows_of(database, own_access, lease.thread)
    assert await transcripts.transcribe(database, own_access, lease.thread)
    assert await rows_of(database, own_access, lease.thread) == []
    (original,) = await transcripts.ls(database, own_access)
    assert original.packed_size is not None
    assert original.size >= 5 * original.packed_size
    await transcripts.restore(database, own_access, lease.thread)
    assert await rows_of(database, own_access, lease.thread) == before


async def test_two_keepers_archive_a_thread_once(database: Database, own_access: Access, lead: Lead) -> None:
    """R99: the second finds nothing, and does not put nothing over what the first kept."""
    lease = await lead("x")
    await end(database, lease)
    results = await asyncio.gather(*(transcripts.transcribe(database, own_access, lease.thread) for _ in range(2)))
    assert sorted(results) == [False, True]
    await transcripts.restore(database, own_access, lease.thread)
    assert await rows_of(database, own_access, lease.thread)


async def rows_of(database: Database, access: Access, thread: str) -> list[str]:
    rows: list[str] = []
    async with database.transaction(access) as connection:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            query = sql.SQL("select to_jsonb(x)::text as row from {} x where thread_id = %s order by 1")
            cursor = await connection.execute(query.format(sql.Identifier(table)), [thread])
            rows += [row["row"] for row in await cursor.fetchall()]
    return rows


async def test_a_transcript_of_an_open_run_stays_hot(database: Database, own_access: Access, lead: Lead) -> None:
    lease = await lead("x")
    assert not await transcripts.transcribe(database, own_access, lease.thread)
    assert await rows_of(database, own_access, lease.thread)


async def test_after_its_retention_a_transcript_is_a_tombstone_unless_it_is_held(
    database: Database, own_access: Access, lead: Lead, superuser: Connect
) -> None:
    """R99: deleted after retention; a legal hold keeps it."""
    threads: list[str] = []
    for _ in range(2):
        lease = await lead("x")
        await end(database, lease)
        await transcripts.transcribe(database, own_access, lease.thread)
        threads.append(lease.thread)
    await transcripts.set_legal_hold(database, own_access, threads[0], on=True)
    async with superuser() as above:
        await above.execute("update transcripts set retained_until = now() where thread = any(%s)", [threads])
    await transcripts.sweep(database)
    await transcripts.restore(database, own_access, threads[0])
    with pytest.raises(Permanent, match="retention may be over"):
        await transcripts.restore(database, own_access, threads[1])


async def test_housekeeping_archives_what_has_been_at_rest(
    database: Database, own_access: Access, lead: Lead, superuser: Connect
) -> None:
    """R99: by age, and not again what a person has just restored."""
    lease = await lead("x")
    await end(database, lease)
    async with superuser() as above:
        await above.execute("update runs set ended = now() - interval '8 days' where id = %s", [lease.run])
    assert lease.thread in await transcripts.sweep(database, limit=1000)
    await transcripts.restore(database, own_access, lease.thread)
    assert lease.thread not in await transcripts.sweep(database, limit=1000)


async def test_a_forged_transcript_is_not_restored(database: Database, own_access: Access, lead: Lead) -> None:
    """R99: only the text that was archived goes back."""
    lease = await lead("x")
    await end(database, lease)
    await transcripts.transcribe(database, own_access, lease.thread)
    content = json.dumps({"checkpoints": [], "blobs": [], "writes": [], "calls": []})
    row = await database.call(own_access, "restore_transcript", lease.thread, content)
    assert row == {"restore_transcript": False}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await database.call(own_access, "erase_memories", "bob", [])
