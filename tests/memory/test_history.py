"""Two axes of time: since when something was so, and since when it was believed."""

from datetime import UTC, datetime, timedelta

import pytest

from memory import history, store
from memory.database import Database
from memory.remembered import Memory, Note, Provenance
from memory.scope import Access, Principal

pytestmark = pytest.mark.anyio
JANUARY, MARCH, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 3, 5))


@pytest.fixture
def mine(alice: Principal) -> Access:
    return Access.of(alice)


async def told(database: Database, access: Access, owner: str, since: datetime) -> Memory:
    async with database.transaction(access) as connection:
        note = Note(f"the owner is {owner}", "human", Provenance(), "owner", valid_from=since)
        return await store.add(connection, access, note)


async def test_what_was_so_is_told_apart_from_what_was_believed(database: Database, mine: Access) -> None:
    """R93, R95: Ben since March, as we learnt later; before that everybody believed Ann."""
    ann = await told(database, mine, "Ann", JANUARY)
    ben = await told(database, mine, "Ben", MARCH)
    believed_before = ben.created - timedelta(microseconds=1)
    assert await history.as_of(database, mine, "owner", valid=MAY) == ben
    assert await history.as_of(database, mine, "owner", valid=JANUARY + timedelta(days=9)) == ann
    assert await history.as_of(database, mine, "owner", valid=MAY, known=believed_before) == ann
    assert await history.as_of(database, mine, "owner", valid=JANUARY - timedelta(days=1)) is None


async def test_a_value_learnt_late_holds_only_until_the_next_one(database: Database, mine: Access) -> None:
    """R95: it fills the gap and replaces nothing."""
    ben = await told(database, mine, "Ben", MAY)
    ann = await told(database, mine, "Ann", JANUARY)
    assert await history.as_of(database, mine, "owner", valid=MARCH) == ann
    assert await history.as_of(database, mine, "owner", valid=MAY) == ben
    assert await history.versions(database, mine, "owner") == [ann, ben]


async def test_the_history_of_another_person_is_closed(database: Database, mine: Access, bob: Principal) -> None:
    """R92: it is memory like any other."""
    await told(database, mine, "Ann", JANUARY)
    assert await history.versions(database, Access.of(bob), "owner") == []
    assert await history.as_of(database, Access.of(bob), "owner", valid=MAY) is None
