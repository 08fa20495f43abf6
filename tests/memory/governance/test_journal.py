"""The journal: chained, append-only, and honest about every way of changing it afterwards."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import psycopg
import pytest

from memory.errors import LeaseLost, Permanent
from memory.governance import journal
from memory.governance.journal import Verification
from memory.postgres.database import Connection, Database
from memory.runs.records import Lease
from memory.scope import Access, Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import Desk, act, open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


@pytest.fixture
async def lease(desk: Desk) -> Lease:
    """Return a run with five entries."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "text": "é 漢 \U0001f600"})
    return lease


async def verify(desk: Desk, run: str | None = None) -> Verification:
    async with desk.database.transaction(desk.access("bob")) as connection:
        return await journal.verify(connection, run)


async def test_an_untouched_journal_verifies(desk: Desk, lease: Lease) -> None:
    """R113"""
    verification = await verify(desk, lease.run)
    assert (verification.ok, verification.runs, verification.entries) == (True, 1, 5)
    assert (await verify(desk)).runs == 2


async def test_hashes_can_be_computed_from_the_entries_alone(desk: Desk, lease: Lease) -> None:
    """R114"""
    head = journal.genesis(lease.run)
    for entry in await journal.read(desk.database, lease.access, lease.run):
        head = journal.chain_hash(head, entry.run, entry.seq, entry.text)
        assert entry.hash == head


async def test_a_run_that_grows_while_it_is_verified_does_not_look_broken(desk: Desk, lease: Lease) -> None:
    async def grow() -> None:
        for n in range(60):
            await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "n": n})

    growing = asyncio.create_task(grow())
    verifications = await asyncio.gather(*(verify(desk) for _ in range(20)))
    await growing
    assert [verification.breaks for verification in verifications] == [[]] * 20


async def test_what_was_said_is_chained_by_its_digest_alone(desk: Desk, lease: Lease) -> None:
    """R102: facts in clear, words beside them."""
    *_, entry = await journal.read(desk.database, lease.access, lease.run)
    assert (entry.kind, entry.body["text"]) == ("note", "é 漢 \U0001f600")
    assert set(json.loads(entry.text)) == {"kind", "at", "sealed"}
    assert entry.words is not None
    assert entry.salt is not None
    assert journal.seal(entry.words, entry.salt) == json.loads(entry.text)["sealed"]


CHANGES = {
    "edited": (
        "update journal set body = replace(body, 'alice', 'mallo') where run = %(run)s and seq = 2",
        2,
        "content",
    ),
    "deleted in the middle": ("delete from journal where run = %(run)s and seq = 3", 3, "is missing"),
    "deleted at the end": ("delete from journal where run = %(run)s and seq = 5", 5, "head is entry 5"),
    "deleted altogether": ("delete from journal where run = %(run)s", 1, "head is entry 5"),
    "inserted at the end": (
        "insert into journal (tenant, run, seq, prev, hash, body) select tenant, run, 6, hash, "
        "sha256(hash || convert_to(run, 'UTF8') || int4send(6) || convert_to(body, 'UTF8')), body "
        "from journal where run = %(run)s and seq = 5",
        6,
        "head is entry 5",
    ),
    "reordered": (
        "update journal set seq = case seq when 2 then 102 else 103 end where run = %(run)s and seq in (2, 3); "
        "update journal set seq = case seq when 102 then 3 else 2 end where run = %(run)s and seq > 100",
        2,
        "continue",
    ),
    "moved to another tenant": ("update journal set tenant = 'x' where run = %(run)s and seq = 4", 4, "is missing"),
    "words changed": (
        "update journal set words = replace(words, 'é', 'e') where run = %(run)s and seq = 5",
        5,
        "words are",
    ),
    "words taken away": (
        "update journal set words = null, salt = null where run = %(run)s and seq = 5",
        5,
        "words are",
    ),
    "head turned back": ("update runs set seq = 4 where id = %(run)s", 5, "head is entry 4"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_is_changed_is_found_and_its_place_named(
    desk: Desk, lease: Lease, superuser: Connect, change: str
) -> None:
    """R113"""
    statement, seq, words = CHANGES[change]
    async with superuser() as connection, tampering(connection):
        for part in statement.split(";"):
            await connection.execute(part.replace("%(run)s", f"'{lease.run}'").encode())
    verification = await verify(desk)
    assert [(gap.run, gap.seq) for gap in verification.breaks] == [(lease.run, seq)]
    assert (verification.ok, words in verification.breaks[0].problem) == (False, True)


async def test_the_owner_edits_with_triggers_off_and_is_found(desk: Desk, lease: Lease, owner: Connection) -> None:
    """R113"""
    async with owner.transaction(), tampering(owner):
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        await owner.execute('update journal set body = \'{"kind": "note"}\' where run = %s and seq = 5', [lease.run])
    assert [gap.seq for gap in (await verify(desk)).breaks] == [5]


@pytest.mark.parametrize("statement", ["update journal set body = body", "delete from journal", "truncate journal"])
async def test_even_the_owner_cannot_change_entries_while_triggers_are_on(
    lease: Lease, owner: Connection, statement: str
) -> None:
    """R113"""
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            await owner.execute(statement.encode())


async def test_an_entry_with_a_key_is_written_once(desk: Desk, lease: Lease) -> None:
    first = await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "key": "k", "n": 1})
    again = await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "key": "k", "n": 2})
    assert (first.is_new, again.is_new, again.body["n"]) == (True, False, 1)


async def test_many_appends_at_once_make_one_chain(desk: Desk, lease: Lease) -> None:
    entries = [{"kind": "note", "n": n} for n in range(30)]
    await asyncio.gather(*(journal.append(desk.database, lease.access, lease.run, entry) for entry in entries))
    verification = await verify(desk, lease.run)
    assert (verification.ok, verification.entries) == (True, 35)


@pytest.mark.parametrize("kind", ["permitted", "outcome", "approval", "vote", "kill", "ended", None])
async def test_what_only_the_gateway_tells_cannot_be_appended(desk: Desk, lease: Lease, kind: str | None) -> None:
    """R9 R113"""
    with pytest.raises(Permanent) as error:
        await journal.append(desk.database, lease.access, lease.run, {"kind": kind, "effect": "e"})
    assert error.value.code == "forbidden"


async def test_an_old_fence_appends_nothing(desk: Desk, lease: Lease) -> None:
    with pytest.raises(LeaseLost):
        await journal.append(desk.database, lease.access, lease.run, {"kind": "note"}, fence=lease.fence - 1)


async def test_reading_goes_on_from_where_it_stopped(desk: Desk, lease: Lease) -> None:
    """R120"""
    head = await journal.read(desk.database, lease.access, lease.run, limit=2)
    tail = await journal.read(desk.database, lease.access, lease.run, after=head[-1].seq)
    assert [entry.seq for entry in (*head, *tail)] == [1, 2, 3, 4, 5]


async def test_another_tenant_reads_and_extends_nothing(desk: Desk, lease: Lease) -> None:
    """R92"""
    stranger = Access.of(Principal("elsewhere", "alice"))
    assert await journal.read(desk.database, stranger, lease.run) == []
    with pytest.raises(Permanent, match="there is no run"):
        await journal.append(desk.database, stranger, lease.run, {"kind": "note"})
    async with desk.database.transaction(stranger) as connection:
        with pytest.raises(Permanent, match="to verify"):
            await journal.verify(connection, lease.run)


@asynccontextmanager
async def tampering(connection: Connection, table: str = "journal") -> AsyncGenerator[Connection]:
    """Lend a connection that no trigger of the table stops."""
    await connection.execute(f"alter table {table} disable trigger user".encode())
    try:
        yield connection
    finally:
        await connection.execute(f"alter table {table} enable always trigger journal_no_change".encode())
        await connection.execute(f"alter table {table} enable always trigger journal_no_truncate".encode())
        await connection.execute(f"alter table {table} enable trigger journal_announce".encode())
