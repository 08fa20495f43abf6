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
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def say(database: Database, own_access: Access) -> Say:
    async def keep(body: str, ttl: timedelta | None = None) -> Memory:
        return await write.remember(
            database, own_access, body, trust="human", provenance=Provenance(), key="owner", ttl=ttl
        )

    return keep


async def live_bodies(database: Database, access: Access) -> list[str]:
    bodies = [hit.memory.body for hit in (await search.recall(database, access, "owner", relevance="any")).hits]
    assert bodies == [memory.body for memory in await search.ls(database, access)]
    return bodies


async def test_a_superseded_value_comes_back_as_history(database: Database, own_access: Access, say: Say) -> None:
    """R93, R94: it says so, never competes with its successor, and is there for who looks back."""
    old = await say("owner is Ann")
    new = await say("owner is Ben")
    await pruning.prune(database, own_access)
    assert await versions.as_of(database, own_access, "owner", valid_at=old.created) is None
    back = await archive.restore(database, own_access, old.id)
    assert (back, back.is_history) == (old, True)
    assert await live_bodies(database, own_access) == [new.body]
    assert await versions.as_of(database, own_access, "owner", valid_at=old.created) == old


async def test_a_crowded_value_whose_subject_moved_on_comes_back_as_history(
    database: Database, own_access: Access, say: Say
) -> None:
    """R93"""
    old = await say("owner is Ann")
    await pruning.prune(database, own_access, PruningPolicy(facts=0))
    new = await say("owner is Ben")
    assert (await archive.restore(database, own_access, old.id)).is_history
    assert await live_bodies(database, own_access) == [new.body]
    assert (await versions.versions(database, own_access, "owner"))[-1].superseded_by == new.id
    assert await versions.as_of(database, own_access, "owner", valid_at=new.created) == new


async def test_a_value_whose_successor_is_gone_holds_again(database: Database, own_access: Access, say: Say) -> None:
    """R94: what was restored is never invisible for ever."""
    old = await say("owner is Ann")
    await say("owner is Ben")
    await pruning.prune(database, own_access)
    await pruning.prune(database, own_access, PruningPolicy(facts=0))
    back = await archive.restore(database, own_access, old.id)
    assert (back.is_history, await live_bodies(database, own_access)) == (False, ["owner is Ann"])
    (version,) = await versions.versions(database, own_access, "owner")
    assert (version.superseded_by, version.valid_to, version.known_to) == (None, None, None)


async def test_a_value_that_lasts_longer_than_the_present_one_waits_for_it(
    database: Database, own_access: Access, say: Say
) -> None:
    """R94: it is history for now, and holds when the other's time is up."""
    old = await say("owner is Ann")
    await pruning.prune(database, own_access, PruningPolicy(facts=0))
    standin = await say("owner is Ben", timedelta(hours=1))
    assert (await archive.restore(database, own_access, old.id)).is_history
    assert await live_bodies(database, own_access) == [standin.body]
    async with database.transaction(own_access) as connection:
        bodies = await connection.execute("select covered_until from memories where id = %s", [old.id])
        assert await bodies.fetchone() == {"covered_until": standin.expires}


async def test_what_was_forgotten_meanwhile_is_not_restored(database: Database, own_access: Access, say: Say) -> None:
    """R102"""
    old = await say("owner is Ann")
    new = await say("owner is Ben")
    await pruning.prune(database, own_access)
    await erasure.forget(database, own_access, id=new.id)
    with pytest.raises(Permanent, match="can be restored"):
        await archive.restore(database, own_access, old.id)
