"""Legal holds: set by whoever it belongs to or an administrator, lifted by administrators alone, on the record."""

from collections.abc import Awaitable, Callable

import psycopg
import pytest

from memory.errors import Permanent
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs import transcripts
from memory.runs.checkpoints import Checkpoints
from memory.runs.records import Lease
from memory.scope import Access, Principal
from memory.store import archive, pruning, write
from memory.store.archive import ArchivedMemory
from memory.store.models import Provenance
from tests.conftest import Connection
from tests.memory.store.test_erasure import end, lead

pytestmark = pytest.mark.anyio
Lead = Callable[..., Awaitable[Lease]]
REFUSED = psycopg.errors.InsufficientPrivilege
__all__ = ["lead"]


@pytest.fixture
def mine(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
async def admin(owner: Connection, tenant: str, alice: Principal) -> Access:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        await owner.execute("select put_principal('chief', %s, 0, 0)", [["admin"]])
    return Access.of(Principal(tenant, "chief", frozenset({"admin"})))


@pytest.fixture
async def shelved(database: Database, mine: Access) -> ArchivedMemory:
    await write.remember(database, mine, "the safe is behind the map", trust="human", provenance=Provenance())
    await pruning.prune(database, mine, pruning.PruningPolicy(episodes=0))
    (row,) = await archive.ls(database, mine)
    return row


async def held(database: Database, access: Access) -> bool:
    (row,) = await archive.ls(database, access)
    return row.hold


async def test_an_administrator_holds_and_releases_what_anybody_archived(
    database: Database, mine: Access, admin: Access, shelved: ArchivedMemory
) -> None:
    """R94: they see when and why it left, and never what it says."""
    (seen,) = await database.rows(admin, "select * from archive_of('alice', 9)")
    assert (seen["id"], seen["reason"], "body" in seen, "content" in seen) == (shelved.id, "room", False, False)
    for on in (True, False):
        await archive.set_legal_hold(database, admin, shelved.id, on=on)
        assert await held(database, mine) is on
    async with database.transaction(mine) as connection:
        told = [entry.body async for entry in journal.export(connection) if entry.body["kind"] == "legal_hold"]
    assert [(body["memory"], body["on"], body["by"]) for body in told] == [
        (shelved.id, True, "chief"),
        (shelved.id, False, "chief"),
    ]


async def test_a_hold_is_lifted_by_administrators_alone(
    database: Database, mine: Access, shelved: ArchivedMemory
) -> None:
    """R102: or whoever wants to be forgotten would lift it first."""
    await archive.set_legal_hold(database, mine, shelved.id, on=True)
    with pytest.raises(REFUSED):
        await archive.set_legal_hold(database, mine, shelved.id, on=False)
    assert await held(database, mine)


async def test_what_is_held_is_not_restored_to_be_forgotten(
    database: Database, mine: Access, shelved: ArchivedMemory
) -> None:
    await archive.set_legal_hold(database, mine, shelved.id, on=True)
    with pytest.raises(Permanent, match="under legal hold"):
        await archive.restore(database, mine, shelved.id)
    async with database.transaction(mine) as connection:
        gone = await (await connection.execute("select unshelve_memory(%s) as gone", [shelved.id])).fetchone()
    assert (gone, await held(database, mine)) == ({"gone": False}, True)


async def test_colleagues_neither_hold_nor_see_what_of_others_is_archived(
    database: Database, mine: Access, bob: Principal, shelved: ArchivedMemory
) -> None:
    """R92"""
    with pytest.raises(Permanent, match="nothing that was pruned"):
        await archive.set_legal_hold(database, Access.of(bob), shelved.id, on=True)
    with pytest.raises(REFUSED):
        await database.rows(Access.of(bob), "select * from archive_of('alice', 9)")
    for internal in ("archived_rows('alice', 9)", "hold_archived('x', false, null)"):
        with pytest.raises(REFUSED):
            await database.rows(Access.of(bob), f"select {internal}")
    assert not await held(database, mine)


async def test_a_transcript_is_held_by_administrators_and_whoever_opened_it(
    database: Database, mine: Access, admin: Access, *, bob: Principal, lead: Lead
) -> None:
    """R99"""
    lease = await lead("x")
    await end(database, lease)
    await transcripts.transcribe(database, mine, lease.thread)
    await transcripts.set_legal_hold(database, mine, lease.thread, on=True)
    for access, on in ((mine, False), (Access.of(bob), True), (Access.of(bob), False)):
        with pytest.raises(REFUSED):
            await transcripts.set_legal_hold(database, access, lease.thread, on=on)
    await transcripts.set_legal_hold(database, admin, lease.thread, on=False)
    assert [kept.legal_hold for kept in await transcripts.ls(database, mine)] == [False]


async def test_a_transcript_is_read_without_being_put_back(
    database: Database, mine: Access, bob: Principal, lead: Lead
) -> None:
    """R99: and taking it back is on the record."""
    lease = await lead("the run looked at batch 17")
    await end(database, lease)
    await transcripts.transcribe(database, mine, lease.thread)
    told = await transcripts.show(database, mine, lease.thread, Checkpoints(database).serde)
    assert len(told.moments) == told.rows["checkpoints"] > 0
    assert told.state["lines"][0] == "the run looked at batch 17"
    assert told.moments == tuple(sorted(told.moments, key=lambda moment: moment.at))
    assert await transcripts.owner(database, mine, lease.thread) == "alice"
    assert [len(await transcripts.ls(database, mine, of=person)) for person in ("alice", "bob")] == [1, 0]
    (kept,) = await transcripts.ls(database, mine)
    assert await transcripts.ls(database, mine, after=(kept.archived_at, kept.thread)) == []
    await transcripts.restore(database, mine, lease.thread)
    async with database.transaction(mine) as connection:
        acts = [entry.body async for entry in journal.export(connection) if entry.body["kind"] == "restored"]
    assert [(act["thread"], act["by"]) for act in acts] == [(lease.thread, "alice")]


async def test_what_is_not_archived_is_told(database: Database, mine: Access) -> None:
    with pytest.raises(Permanent, match="no transcript"):
        await transcripts.show(database, mine, "nosuch", Checkpoints(database).serde)
    with pytest.raises(Permanent, match="no transcript"):
        await transcripts.owner(database, mine, "nosuch")
