"""What comes back from the archive: visible again, or as history that says so, and never both at once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store import archive, erasure, pruning, search, versions, write
from memory.store.models import Memory, Provenance
from memory.store.pruning import PruningPolicy

pytestmark = pytest.mark.anyio
Say = Callable[..., Awaitable[Memory]]


@pytest.fixture
def mine(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def say(database: Database, mine: Access) -> Say:
    async def keep(body: str, ttl: timedelta | None = None) -> Memory:
        return await write.remember(database, mine, body, trust="human", provenance=Provenance(), key="owner", ttl=ttl)

    return keep


async def held(database: Database, access: Access) -> list[str]:
    found = [hit.memory.body for hit in (await search.recall(database, access, "owner", relevance="any")).hits]
    assert found == [memory.body for memory in await search.ls(database, access)]
    return found


async def test_a_superseded_value_comes_back_as_history(database: Database, mine: Access, say: Say) -> None:
    """R93, R94: it says so, never competes with its successor, and is there for who looks back."""
    old = await say("owner is Ann")
    new = await say("owner is Ben")
    await pruning.prune(database, mine)
    assert await versions.as_of(database, mine, "owner", valid_at=old.created) is None
    back = await archive.restore(database, mine, old.id)
    assert (back, back.is_history) == (old, True)
    assert await held(database, mine) == [new.body]
    assert await versions.as_of(database, mine, "owner", valid_at=old.created) == old


async def test_a_crowded_value_whose_subject_moved_on_comes_back_as_history(
    database: Database, mine: Access, say: Say
) -> None:
    """R93"""
    old = await say("owner is Ann")
    await pruning.prune(database, mine, PruningPolicy(facts=0))
    new = await say("owner is Ben")
    assert (await archive.restore(database, mine, old.id)).is_history
    assert await held(database, mine) == [new.body]
    assert (await versions.versions(database, mine, "owner"))[-1].superseded_by == new.id
    assert await versions.as_of(database, mine, "owner", valid_at=new.created) == new


async def test_a_value_whose_successor_is_gone_holds_again(database: Database, mine: Access, say: Say) -> None:
    """R94: what was restored is never invisible for ever."""
    old = await say("owner is Ann")
    await say("owner is Ben")
    await pruning.prune(database, mine)
    await pruning.prune(database, mine, PruningPolicy(facts=0))
    back = await archive.restore(database, mine, old.id)
    assert (back.is_history, await held(database, mine)) == (False, ["owner is Ann"])
    (version,) = await versions.versions(database, mine, "owner")
    assert (version.superseded_by, version.valid_to, version.known_to) == (None, None, None)


async def test_a_value_that_lasts_longer_than_the_present_one_waits_for_it(
    database: Database, mine: Access, say: Say
) -> None:
    """R94: it is history for now, and holds when the other's time is up."""
    old = await say("owner is Ann")
    await pruning.prune(database, mine, PruningPolicy(facts=0))
    standin = await say("owner is Ben", timedelta(hours=1))
    assert (await archive.restore(database, mine, old.id)).is_history
    assert await held(database, mine) == [standin.body]
    async with database.transaction(mine) as connection:
        found = await connection.execute("select covered_until from memories where id = %s", [old.id])
        assert await found.fetchone() == {"covered_until": standin.expires}


async def test_what_was_forgotten_meanwhile_is_not_restored(database: Database, mine: Access, say: Say) -> None:
    """R102"""
    old = await say("owner is Ann")
    new = await say("owner is Ben")
    await pruning.prune(database, mine)
    await erasure.forget(database, mine, id=new.id)
    with pytest.raises(Permanent, match="can be restored"):
        await archive.restore(database, mine, old.id)
