"""Two axes of time: since when something was so, and since when it was believed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memory.errors import Permanent
from memory.governance import journal
from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store import pruning, search, versions, write
from memory.store.models import Memory, Note, Provenance
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
JANUARY, MARCH, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 3, 5))


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


async def tell_owner(database: Database, access: Access, owner: str, since: datetime) -> Memory:
    async with database.transaction(access) as connection:
        note = Note(f"the owner is {owner}", "human", Provenance(), "owner", valid_from=since)
        return await write.add(connection, access, note)


async def test_what_was_so_is_told_apart_from_what_was_believed(database: Database, own_access: Access) -> None:
    """R93, R95: Ben since March, as we learnt later; before that everybody believed Ann."""
    ann = await tell_owner(database, own_access, "Ann", JANUARY)
    ben = await tell_owner(database, own_access, "Ben", MARCH)
    believed_before = ben.created - timedelta(microseconds=1)
    assert await versions.as_of(database, own_access, "owner", valid_at=MAY) == ben
    assert await versions.as_of(database, own_access, "owner", valid_at=JANUARY + timedelta(days=9)) == ann
    assert await versions.as_of(database, own_access, "owner", valid_at=MAY, known_at=believed_before) == ann
    assert await versions.as_of(database, own_access, "owner", valid_at=JANUARY - timedelta(days=1)) is None


async def test_a_value_learnt_late_holds_only_until_the_next_one(database: Database, own_access: Access) -> None:
    """R95: it fills the gap and replaces nothing."""
    ben = await tell_owner(database, own_access, "Ben", MAY)
    ann = await tell_owner(database, own_access, "Ann", JANUARY)
    assert await versions.as_of(database, own_access, "owner", valid_at=MARCH) == ann
    assert await versions.as_of(database, own_access, "owner", valid_at=MAY) == ben
    assert [version.memory for version in await versions.versions(database, own_access, "owner")] == [ann, ben]


async def test_the_history_of_another_person_is_closed(database: Database, own_access: Access, bob: Principal) -> None:
    """R92: it is memory like any other."""
    await tell_owner(database, own_access, "Ann", JANUARY)
    assert await versions.versions(database, Access.of(bob), "owner") == []
    assert await versions.as_of(database, Access.of(bob), "owner", valid_at=MAY) is None


async def test_what_has_expired_is_over_in_history_too(
    database: Database, own_access: Access, superuser: Connect
) -> None:
    """R91: neither as a value that once held nor as a version, before any sweep has been there."""
    memory_row = await note(database, own_access, "the office is in Bonn", ttl=timedelta(hours=1))
    later = memory_row.created + timedelta(days=1)
    assert await versions.as_of(database, own_access, "office", valid_at=later) is None
    async with superuser() as above:
        await above.execute("update memories set expires = clock_timestamp() where id = %s", [memory_row.id])
    assert await versions.as_of(database, own_access, "office", valid_at=memory_row.created) is None
    assert await versions.versions(database, own_access, "office") == []
    with pytest.raises(Permanent, match=memory_row.id):
        await versions.show(database, own_access, memory_row.id)


async def test_one_memory_is_shown_with_its_times_and_who_told_it_again(database: Database, own_access: Access) -> None:
    """R93: provenance on each row, and the same told again is linked to it."""
    memory_row = await note(database, own_access, "the office is in Kiel")
    await note(database, own_access, "the office is in Kiel")
    version_view = await versions.show(database, own_access, memory_row.id)
    assert (version_view.memory.provenance.principal, version_view.told, version_view.pinned) == ("alice", 2, False)
    assert [tell_owner.principal for tell_owner in await versions.tellings(database, own_access, memory_row.id)] == [
        "alice"
    ]
    new = await note(database, own_access, "the office is in Bonn")
    assert (await versions.show(database, own_access, memory_row.id)).superseded_by == new.id


async def test_what_a_passing_value_covers_waits_and_can_be_pinned(
    database: Database, own_access: Access, superuser: Connect
) -> None:
    """R93: and is told as what holds again, before any sweep has been there."""
    lasting = await note(database, own_access, "the office is in Kiel")
    passing = await note(database, own_access, "the office is in Bonn", ttl=timedelta(hours=1))
    version_view = await versions.show(database, own_access, lasting.id)
    assert (version_view.superseded_by, version_view.covered_until) == (passing.id, passing.expires)
    await versions.pin(database, own_access, lasting.id, on=True)
    async with superuser() as above:
        await above.execute("update memories set expires = now() where id = %s", [passing.id])
        await above.execute("update memories set covered_until = now() where id = %s", [lasting.id])
    version_view = await versions.show(database, own_access, lasting.id)
    assert (version_view.superseded_by, version_view.covered_until, version_view.pinned) == (None, None, True)


async def test_a_pinned_memory_stays_and_the_journal_knows_who_pinned_it(
    database: Database, own_access: Access
) -> None:
    """R94: pinned never pruned."""
    memory_row = await write.remember(database, own_access, "Tuesday", trust="human", provenance=Provenance())
    for _ in range(2):
        await versions.pin(database, own_access, memory_row.id, on=True)
    await pruning.prune(database, own_access, pruning.PruningPolicy(episodes=0))
    assert [memory.id for memory in await search.ls(database, own_access)] == [memory_row.id]
    await versions.pin(database, own_access, memory_row.id, on=False)
    await pruning.prune(database, own_access, pruning.PruningPolicy(episodes=0))
    assert await search.ls(database, own_access) == []
    assert [(body["memory"], body["on"], body["by"]) for body in await acts(database, own_access, "pinned")] == [
        (memory_row.id, True, "alice"),
        (memory_row.id, False, "alice"),
    ]


async def test_pins_are_few_and_ones_own(database: Database, own_access: Access, bob: Principal) -> None:
    """R92 R94"""
    first, second = [await note(database, own_access, f"it is {n}", key=str(n)) for n in range(2)]
    for _ in range(2):
        await versions.pin(database, own_access, first.id, on=True, limit=1)
    with pytest.raises(Permanent, match="unpin one"):
        await versions.pin(database, own_access, second.id, on=True, limit=1)
    with pytest.raises(Permanent, match="you have no memory"):
        await versions.pin(database, Access.of(bob), first.id, on=False)


async def note(
    database: Database, access: Access, body: str, *, key: str = "office", ttl: timedelta | None = None
) -> Memory:
    return await write.remember(database, access, body, trust="human", provenance=Provenance(), key=key, ttl=ttl)


async def acts(database: Database, access: Access, kind: str) -> list[Mapping[str, Any]]:
    """Return what the tenant's authority recorded of one kind."""
    async with database.transaction(access) as connection:
        return [entry.body async for entry in journal.export(connection) if entry.body["kind"] == kind]
