"""Forgetting one memory or subject: whatever was kept of it goes, in the archive too; and only a digest tells of it."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from memory.errors import Permanent
from memory.evidence.check import check
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs import records
from memory.scope import Access, Principal
from memory.store import archive, erasure, pruning, search, write
from memory.store.models import Memory, Provenance
from memory.store.pruning import PruningPolicy
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
Say = Callable[..., Awaitable[Memory]]
NO_ROOM = PruningPolicy(facts=0, episodes=0)


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def say(database: Database, own_access: Access) -> Say:
    async def keep(body: str, key: str | None = "diagnosis", access: Access = own_access) -> Memory:
        return await write.remember(database, access, body, trust="human", provenance=Provenance(), key=key)

    return keep


async def archived_bodies(database: Database, access: Access) -> set[str | None]:
    return {row.body for row in await archive.ls(database, access)}


def choices(*memories: Memory) -> list[dict[str, Any]]:
    return [*({"id": memory.id} for memory in memories), {"key": "diagnosis"}, {"whole_scope": True}]


async def receipts(database: Database, access: Access) -> list[journal.JournalEntry]:
    entries = await journal.read(database, access, f"authority-{access.principal.tenant}")
    return [entry for entry in entries if entry.kind == "forgotten"]


async def test_archived_versions_go_with_their_subject(database: Database, own_access: Access, say: Say) -> None:
    """R102: what somebody has deleted cannot be restored from the archive."""
    await say("diagnosis is diabetes")
    current = await say("diagnosis is healthy")
    await say("the clinic is in Porto", "clinic")
    await pruning.prune(database, own_access)
    assert await archived_bodies(database, own_access) == {"diagnosis is diabetes"}
    assert await erasure.forget(database, own_access, id=current.id) == 2
    assert await archived_bodies(database, own_access) == set()
    assert [memory.key for memory in await search.ls(database, own_access)] == ["clinic"]


async def test_an_archived_row_is_forgotten_by_its_id(database: Database, own_access: Access, say: Say) -> None:
    """R102: with the live values of its subject."""
    old = await say("diagnosis is diabetes")
    await say("diagnosis is healthy")
    await pruning.prune(database, own_access)
    assert await erasure.forget(database, own_access, id=old.id) == 2
    assert (await archived_bodies(database, own_access), await search.ls(database, own_access)) == (set(), [])
    assert await erasure.forget(database, own_access, id=old.id) == 0


async def test_an_archived_text_without_a_subject_goes_alone(database: Database, own_access: Access, say: Say) -> None:
    """R102"""
    first, second = [await say(f"note {n}", None) for n in range(2)]
    await pruning.prune(database, own_access, NO_ROOM)
    assert await erasure.forget(database, own_access, id=first.id) == 1
    assert [row.id for row in await archive.ls(database, own_access)] == [second.id]


async def test_everything_includes_the_archive(database: Database, own_access: Access, say: Say) -> None:
    """R102"""
    await say("note", None)
    await pruning.prune(database, own_access, NO_ROOM)
    await say("another note", None)
    assert await erasure.forget(database, own_access, whole_scope=True) == 2
    assert await archived_bodies(database, own_access) == set()


async def test_under_a_legal_hold_nothing_of_a_subject_goes(database: Database, own_access: Access, say: Say) -> None:
    """R94, R102: all of it or nothing, and what is held is named."""
    old = await say("diagnosis is diabetes")
    current = await say("diagnosis is healthy")
    await pruning.prune(database, own_access)
    await archive.set_legal_hold(database, own_access, old.id, on=True)
    for choice in choices(current, old):
        with pytest.raises(Permanent, match=f"{old.id}.*legal hold") as refusal:
            await erasure.forget(database, own_access, **choice)
        assert refusal.value.code == "conflict"
    assert [memory.id for memory in await search.ls(database, own_access)] == [current.id]
    assert await receipts(database, own_access) == []


async def test_the_journal_tells_that_it_happened_and_not_what_it_was(
    database: Database, own_access: Access, say: Say
) -> None:
    """R102: who, where, how many and a keyed digest."""
    await say("diagnosis is diabetes")
    current = await say("diagnosis is healthy")
    await pruning.prune(database, own_access)
    await erasure.forget(database, own_access, id=current.id)
    (receipt,) = await receipts(database, own_access)
    assert receipt.body["counts"] == {"memories": 1, "archive": 1}
    assert (receipt.body["by"], receipt.body["scope"], len(receipt.body["digest"])) == ("alice", "user:alice", 64)
    assert "diagnosis" not in f"{receipt.text}{receipt.words}"
    async with database.snapshot(own_access) as connection:
        assert (await check(connection)).problems == ()


async def test_nobody_forgets_what_lies_elsewhere(
    database: Database, own_access: Access, bob: Principal, say: Say, superuser: Connect
) -> None:
    """R92: neither a colleague's rows, live or archived, nor what one may only read."""
    other_access = Access.of(bob)
    old = await say("diagnosis is diabetes", access=other_access)
    new = await say("diagnosis is healthy", access=other_access)
    await pruning.prune(database, other_access)
    for choice in choices(old, new):
        assert await erasure.forget(database, own_access, **choice) == 0
    assert await erasure.forget(database, Access(bob, other_access.reads), id=new.id) == 0
    assert [memory.id for memory in await search.ls(database, other_access)] == [new.id]
    assert await archived_bodies(database, other_access) == {"diagnosis is diabetes"}


async def test_the_application_cannot_delete_from_the_archive_by_itself(database: Database, own_access: Access) -> None:
    """R102: only the act that is recorded can."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.transaction(own_access) as connection:
            await connection.execute("delete from memory_archive")


async def test_all_open_runs_that_are_in_the_way_are_named(database: Database, alice: Principal) -> None:
    """R102: whoever wants a person forgotten learns at once what to end first."""
    names = [str(uuid4()) for _ in range(3)]
    async with database.transaction(Access.of(alice)) as connection:
        for run in names:
            budget: Any = {"tokens": 1, "micros": 1, "calls": 1}
            await records.start(connection, id=run, thread=run, input={}, correlation=run, budget=budget)
    with pytest.raises(Permanent, match=", ".join(names)) as refusal:
        await erasure.forget_person(database, alice, requester="alice")
    assert refusal.value.code == "busy"
