"""The journal: chained, append-only, and honest about every way of changing it afterwards."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from memory.errors import LeaseLost, Permanent
from memory.evidence.check import Check, check
from memory.governance import journal
from memory.postgres.database import Connection, Database
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.conftest import VirtualClock
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


async def verify(desk: Desk, run: str | None = None) -> Check:
    async with desk.database.snapshot(desk.access("bob")) as connection:
        return await check(connection, run)


async def test_an_untouched_journal_verifies(desk: Desk, lease: Lease) -> None:
    """R113"""
    verification = await verify(desk)
    assert (verification.problems, verification.counts["runs"]) == ((), 2)
    assert (await verify(desk, lease.run)).problems == ()


async def test_a_run_that_grows_while_it_is_verified_does_not_look_broken(desk: Desk, lease: Lease) -> None:
    async def grow() -> None:
        for n in range(60):
            await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "n": n})

    growing = asyncio.create_task(grow())
    verifications = await asyncio.gather(*(verify(desk) for _ in range(20)))
    await growing
    assert [verification.problems for verification in verifications] == [()] * 20


async def test_what_was_said_is_chained_by_its_digest_alone(desk: Desk, lease: Lease) -> None:
    """R102: facts in clear, words beside them."""
    *_, entry = await journal.read(desk.database, lease.access, lease.run)
    assert (entry.kind, entry.body["text"]) == ("note", "é 漢 \U0001f600")
    assert set(json.loads(entry.text)) == {"kind", "at", "sealed"}
    assert (entry.words, entry.salt is not None) == ('{"text": "é 漢 \U0001f600"}', True)


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
    assert (verification.problems, (await journal.read(desk.database, lease.access, lease.run))[-1].seq) == ((), 35)


@pytest.mark.parametrize("kind", ["permitted", "outcome", "approval", "vote", "kill", "ended", None])
async def test_what_only_the_gateway_tells_cannot_be_appended(desk: Desk, lease: Lease, kind: str | None) -> None:
    """R9 R113"""
    with pytest.raises(Permanent) as error:
        await journal.append(desk.database, lease.access, lease.run, {"kind": kind, "effect": "e"})
    assert error.value.code == "forbidden"


def _nest(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    "body",
    [
        *({"kind": kind} for kind in ("", "Note", "a note", "note\n", "a" * 41, "é", 7, ["note"], {"a": 1}, True)),
        *({"kind": "note", "key": key} for key in ("requested", "ended:1", "resumed:q1", "permitted:q1:a")),
        {"kind": "note", "x": _nest(100)},
        *({"kind": "note", "x": number} for number in (10**31, -(10**31), [{"y": 10**400}])),
    ],
    ids=lambda body: str(body)[:30],
)
async def test_what_strangers_could_not_read_or_would_mistake_is_not_taken(
    desk: Desk, lease: Lease, body: Mapping[str, Any]
) -> None:
    with pytest.raises(Permanent) as error:
        await journal.append(desk.database, lease.access, lease.run, body)
    assert error.value.code == "forbidden"


async def test_what_is_just_within_the_bounds_is_taken_and_checked(desk: Desk, lease: Lease) -> None:
    for body in ({"x": _nest(99)}, {"x": 10**30, "y": -(10**30)}, {"key": "requested by phone"}, {"key": "ended"}):
        await journal.append(desk.database, lease.access, lease.run, {"kind": "a" * 40, **body})
    assert (await verify(desk)).problems == ()


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
    async with desk.database.snapshot(stranger) as connection:
        with pytest.raises(Permanent, match="there is no run"):
            await check(connection, lease.run)
