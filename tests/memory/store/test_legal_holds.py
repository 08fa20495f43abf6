"""Legal holds: set by whoever it belongs to or an administrator, lifted by administrators alone, on the record."""

from collections.abc import Awaitable, Callable

import psycopg
import pytest

from memory.errors import Permanent
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs import transcripts
from memory.runs.checkpoints import Checkpoints
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from memory.store import archive, pruning, write
from memory.store.archive import ArchivedMemory
from memory.store.models import Provenance
from tests.conftest import Connection
from tests.memory.store.test_erasure import end, lead

pytestmark = pytest.mark.anyio
Lead = Callable[..., Awaitable[Lease]]
REFUSAL = psycopg.errors.InsufficientPrivilege
__all__ = ["lead"]


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
async def admin(owner: Connection, tenant: str, alice: Principal) -> Access:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        await owner.execute("select put_principal('chief', %s, 0, 0)", [["admin"]])
    return Access.of(Principal(tenant, "chief", frozenset({"admin"})))


@pytest.fixture
async def archived_row(database: Database, own_access: Access) -> ArchivedMemory:
    await write.remember(database, own_access, "the safe is behind the map", trust="human", provenance=Provenance())
    await pruning.prune(database, own_access, pruning.PruningPolicy(episodes=0))
    (row,) = await archive.ls(database, own_access)
    return row


async def is_on_hold(database: Database, access: Access) -> bool:
    (row,) = await archive.ls(database, access)
    return row.hold


async def test_an_administrator_holds_and_releases_what_anybody_archived(
    database: Database, own_access: Access, admin: Access, archived_row: ArchivedMemory
) -> None:
    """R94: they see when and why it left, and never what it says."""
    (view,) = await database.rows(admin, "select * from archive_of('alice', 9)")
    assert (view["id"], view["reason"], "body" in view, "content" in view) == (archived_row.id, "room", False, False)
    for on in (True, False):
        await archive.set_legal_hold(database, admin, archived_row.id, on=on)
        assert await is_on_hold(database, own_access) is on
    async with database.transaction(own_access) as connection:
        content = [entry.body async for entry in journal.export(connection) if entry.body["kind"] == "legal_hold"]
    assert [(body["memory"], body["on"], body["by"]) for body in content] == [
        (archived_row.id, True, "chief"),
        (archived_row.id, False, "chief"),
    ]


async def test_a_hold_is_lifted_by_administrators_alone(
    database: Database, own_access: Access, archived_row: ArchivedMemory
) -> None:
    """R102: or whoever wants to be forgotten would lift it first."""
    await archive.set_legal_hold(database, own_access, archived_row.id, on=True)
    with pytest.raises(REFUSAL):
        await archive.set_legal_hold(database, own_access, archived_row.id, on=False)
    assert await is_on_hold(database, own_access)


async def test_what_is_held_is_not_restored_to_be_forgotten(
    database: Database, own_access: Access, archived_row: ArchivedMemory
) -> None:
    await archive.set_legal_hold(database, own_access, archived_row.id, on=True)
    with pytest.raises(Permanent, match="under legal hold"):
        await archive.restore(database, own_access, archived_row.id)
    async with database.transaction(own_access) as connection:
        removal = await (await connection.execute("select unshelve_memory(%s) as gone", [archived_row.id])).fetchone()
    assert (removal, await is_on_hold(database, own_access)) == ({"gone": False}, True)


async def test_colleagues_neither_hold_nor_see_what_of_others_is_archived(
    database: Database, own_access: Access, bob: Principal, archived_row: ArchivedMemory
) -> None:
    """R92"""
    with pytest.raises(Permanent, match="nothing that was pruned"):
        await archive.set_legal_hold(database, Access.of(bob), archived_row.id, on=True)
    with pytest.raises(REFUSAL):
        await database.rows(Access.of(bob), "select * from archive_of('alice', 9)")
    for internal in ("archived_rows('alice', 9)", "hold_archived('x', false, null)"):
        with pytest.raises(REFUSAL):
            await database.rows(Access.of(bob), f"select {internal}")
    assert not await is_on_hold(database, own_access)


async def test_a_transcript_is_held_by_administrators_and_whoever_opened_it(
    database: Database, own_access: Access, admin: Access, *, bob: Principal, lead: Lead
) -> None:
    """R99"""
    lease = await lead("x")
    await end(database, lease)
    await transcripts.transcribe(database, own_access, lease.thread)
    await transcripts.set_legal_hold(database, own_access, lease.thread, on=True)
    for access, on in ((own_access, False), (Access.of(bob), True), (Access.of(bob), False)):
        with pytest.raises(REFUSAL):
            await transcripts.set_legal_hold(database, access, lease.thread, on=on)
    await transcripts.set_legal_hold(database, admin, lease.thread, on=False)
    assert [transcript.legal_hold for transcript in await transcripts.ls(database, own_access)] == [False]


async def test_a_transcript_is_read_without_being_put_back(
    database: Database, own_access: Access, bob: Principal, lead: Lead
) -> None:
    """R99: and taking it back is on the record."""
    lease = await lead("the run looked at batch 17")
    await end(database, lease)
    await transcripts.transcribe(database, own_access, lease.thread)
    content = await transcripts.show(database, own_access, lease.thread, Checkpoints(database).serde)
    assert len(content.moments) == content.rows["checkpoints"] > 0
    assert content.state["lines"][0] == "the run looked at batch 17"
    assert content.moments == tuple(sorted(content.moments, key=lambda moment: moment.at))
    assert await transcripts.owner(database, own_access, lease.thread) == "alice"
    assert [len(await transcripts.ls(database, own_access, of=person)) for person in ("alice", "bob")] == [1, 0]
    (transcript,) = await transcripts.ls(database, own_access)
    assert await transcripts.ls(database, own_access, after=(transcript.archived_at, transcript.thread)) == []
    await transcripts.restore(database, own_access, lease.thread)
    async with database.transaction(own_access) as connection:
        acts = [entry.body async for entry in journal.export(connection) if entry.body["kind"] == "restored"]
    assert [(act["thread"], act["by"]) for act in acts] == [(lease.thread, "alice")]


async def test_what_is_not_archived_is_told(database: Database, own_access: Access) -> None:
    with pytest.raises(Permanent, match="no transcript"):
        await transcripts.show(database, own_access, "nosuch", Checkpoints(database).serde)
    with pytest.raises(Permanent, match="no transcript"):
        await transcripts.owner(database, own_access, "nosuch")
