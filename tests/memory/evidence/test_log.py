"""The log of a tenant: what is new becomes leaves under a signed head, whatever happens at the same time."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from memory.errors import ControlError, Temporary
from memory.evidence import log, trees
from memory.evidence.signing_key import SigningKey, draw
from memory.governance import journal
from memory.governance.policy_version import installation
from memory.postgres.database import Connection, Database
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.conftest import Connect, VirtualClock
from tests.memory.evidence.tables import untriggered
from tests.tools.support import Desk, act, open_desk

pytestmark = pytest.mark.anyio
KEY = SigningKey.of(draw())


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


@pytest.fixture
async def lease(desk: Desk) -> Lease:
    """Return a run with an effect."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    return lease


async def rows(database: Database, tenant: str, table: str) -> list[dict[str, Any]]:
    """Return a table of the log in order."""
    order = "position" if table == "log_leaves" else "number"
    return await database.rows(installation(tenant), f"select * from {table} order by {order}")


async def verify_log(database: Database, tenant: str, key: SigningKey | None = KEY) -> list[dict[str, Any]]:
    """Return the leaves, once all of the page on the journal holds for leaves, heads and signatures."""
    leaves, previous, size = await rows(database, tenant, "log_leaves"), "", 0
    hashes = [trees.leaf_hash(leaf["text"].encode()) for leaf in leaves]
    for number, head in enumerate(await rows(database, tenant, "log_heads"), 1):
        text = json.loads(head["text"])
        size = text["size"]
        assert (head["number"], text["tenant"], text["previous"]) == (number, tenant, previous)
        assert text["root"] == trees.root(hashes[:size]).hex()
        if key:
            Ed25519PublicKey.from_public_bytes(key.public).verify(head["signature"], head["text"].encode())
        previous = hashlib.sha256(head["text"].encode()).hexdigest()
    assert size == len(leaves)
    for position, leaf in enumerate(leaves):
        text = json.loads(leaf["text"])
        stored = await database.rows(
            installation(tenant), "select hash from journal where run = %s and seq <= %s order by seq",
            text["run"], text["seq"],
        )  # fmt: skip
        entries = [bytes(row["hash"]) for row in stored]
        assert (leaf["position"], len(entries), text["head"]) == (position, text["seq"], entries[-1].hex())
        assert text["root"] == trees.root([trees.leaf_hash(entry) for entry in entries]).hex()
    return leaves


async def ends(database: Database, tenant: str) -> bool:
    """Return whether the last leaf of every chain names its last entry."""
    (row,) = await database.rows(
        installation(tenant),
        "select count(*) as n from runs r where r.seq is distinct from "
        "(select max(l.seq) from log_leaves l where l.run = r.id)",
    )
    return row["n"] == 0


async def note(desk: Desk, lease: Lease, count: int = 1) -> None:
    for n in range(count):
        await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "n": n})


async def test_what_is_new_gets_one_leaf_a_chain_and_one_head(desk: Desk, lease: Lease, tenant: str) -> None:
    assert await log.extend(desk.database, tenant, KEY) == 1
    leaves = await verify_log(desk.database, tenant)
    assert [leaf["run"] for leaf in leaves] == sorted([f"authority-{tenant}", lease.run])
    assert await ends(desk.database, tenant)


async def test_without_news_there_is_no_head(desk: Desk, lease: Lease, tenant: str) -> None:
    await log.extend(desk.database, tenant, KEY)
    assert await log.extend(desk.database, tenant, KEY) == 0
    assert tenant not in await log.tenants_with_news(desk.database)


async def test_a_run_that_grows_is_taken_in_where_the_log_stopped(desk: Desk, lease: Lease, tenant: str) -> None:
    for count in (1, 2, 5, 13):
        await note(desk, lease, count)
        await log.extend(desk.database, tenant, KEY)
    assert len(await verify_log(desk.database, tenant)) == 5
    assert await ends(desk.database, tenant)


async def test_two_extenders_and_runs_that_grow_make_one_log(desk: Desk, tenant: str) -> None:
    leases = [await desk.run() for _ in range(4)]

    async def extend() -> None:
        for _ in range(8):
            await log.extend(desk.database, tenant, KEY)

    await asyncio.gather(*(note(desk, lease, 12) for lease in leases), extend(), extend())
    await log.extend(desk.database, tenant, KEY)
    await verify_log(desk.database, tenant)
    assert await ends(desk.database, tenant)


async def test_entries_that_commit_after_later_ones_are_not_overlooked(desk: Desk, tenant: str, lease: Lease) -> None:
    late = await desk.run()
    async with desk.database.transaction(late.access) as connection:
        await connection.execute('select append(%s, null, \'{"kind": "note"}\')', [late.run])
        await note(desk, lease)
        await log.extend(desk.database, tenant, KEY)
    assert not await ends(desk.database, tenant)
    await log.extend(desk.database, tenant, KEY)
    assert await ends(desk.database, tenant)
    await verify_log(desk.database, tenant)


async def test_a_chain_with_a_gap_is_taken_in_up_to_it_and_keeps_no_other_out(
    desk: Desk, tenant: str, lease: Lease, superuser: Connect
) -> None:
    other = await desk.run()
    async with untriggered(superuser, "journal") as connection:
        await connection.execute("delete from journal where run = %s and seq = 3", [lease.run])
    for _ in range(2):
        await log.extend(desk.database, tenant, KEY)
    leaves = await verify_log(desk.database, tenant)
    assert {leaf["run"]: leaf["seq"] for leaf in leaves if leaf["run"] in (lease.run, other.run)} == {
        lease.run: 2,
        other.run: 1,
    }


async def test_bounds_split_the_work_and_lose_nothing(desk: Desk, tenant: str, lease: Lease) -> None:
    for other in [await desk.run() for _ in range(3)]:
        await note(desk, other, 5)
    assert await log.extend(desk.database, tenant, KEY, most_chains=2, most_entries=4) > 3
    await verify_log(desk.database, tenant)
    assert await ends(desk.database, tenant)


async def test_an_extender_that_dies_before_it_signs_leaves_nothing(
    desk: Desk, tenant: str, lease: Lease, superuser: Connect
) -> None:
    async def die() -> None:
        async with superuser() as above, desk.database.transaction(installation(tenant)) as connection:
            await connection.execute("select * from extend_log(%s, 9, 99)", [KEY.public])
            await above.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
            await connection.execute("select sign_head(1, repeat('x', 64)::bytea)")

    with pytest.raises(Temporary):
        await die()
    assert await rows(desk.database, tenant, "log_leaves") == []
    assert await log.extend(desk.database, tenant, KEY) == 1
    await verify_log(desk.database, tenant)


async def test_without_a_key_heads_say_so(desk: Desk, tenant: str, lease: Lease) -> None:
    await log.extend(desk.database, tenant, None)
    await verify_log(desk.database, tenant, None)
    standing = await log.standing(desk.database, installation(tenant))
    assert standing == log.LogStanding(size=2, key="", unsigned_heads=1)


async def test_a_change_of_the_key_is_on_record_and_old_keys_stay(desk: Desk, tenant: str, lease: Lease) -> None:
    other = SigningKey.of(draw())
    for key in (None, KEY, KEY, other, None, other):
        await note(desk, lease)
        await log.extend(desk.database, tenant, key)
    entries = await journal.read(desk.database, installation(tenant), f"authority-{tenant}")
    changes = [entry for entry in entries if entry.kind == "signing_key"]
    keys = await desk.database.rows(installation(tenant), "select id, public from signing_keys order by since")
    assert [entry.body["id"] for entry in changes] == [KEY.id, other.id, "", other.id]
    assert changes[0].body["public"] == KEY.public.hex()
    assert [(row["id"], bytes(row["public"])) for row in keys] == [(key.id, key.public) for key in (KEY, other)]
    heads = [json.loads(head["text"])["key"] for head in await rows(desk.database, tenant, "log_heads")]
    assert heads == ["", KEY.id, KEY.id, other.id, "", other.id]


async def test_no_person_makes_heads(desk: Desk, tenant: str, lease: Lease) -> None:
    await log.extend(desk.database, tenant, None)
    for statement in ("select * from extend_log(null, 9, 9)", "select sign_head(1, repeat('x', 64)::bytea)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only the installation"):
            await desk.database.rows(lease.access, statement)


async def test_a_head_that_was_committed_unsigned_stays_so(desk: Desk, tenant: str, lease: Lease) -> None:
    await log.extend(desk.database, tenant, None)
    row = await desk.database.call(installation(tenant), "sign_head", 1, KEY.sign("anything"))
    assert row == {"sign_head": False}


@pytest.mark.parametrize("table", ["log_leaves", "log_heads", "signing_keys"])
async def test_even_the_owner_cannot_change_the_log_while_triggers_are_on(
    desk: Desk, lease: Lease, owner: Connection, table: str
) -> None:
    tenant = lease.access.principal.tenant
    await log.extend(desk.database, tenant, KEY)
    for statement in ("update {} set tenant = tenant", "delete from {}", "truncate {}"):
        async with owner.transaction(force_rollback=True):
            await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                await owner.execute(statement.format(table).encode())


async def test_the_application_writes_none_of_it(desk: Desk, tenant: str, lease: Lease) -> None:
    await log.extend(desk.database, tenant, KEY)
    async with desk.database.transaction(installation(tenant)) as connection:
        for table in ("log_leaves", "log_heads", "signing_keys", "journal_news"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with connection.transaction():
                    await connection.execute(f"delete from {table}".encode())


async def test_a_run_removed_whole_is_missing_where_a_leaf_names_it(
    desk: Desk, tenant: str, lease: Lease, superuser: Connect
) -> None:
    await log.extend(desk.database, tenant, KEY)
    async with untriggered(superuser, "journal") as connection:
        for table, column in (("effects", "run"), ("journal", "run"), ("runs", "id")):
            await connection.execute(f"delete from {table} where {column} = %s".encode(), [lease.run])
    leaves = await rows(desk.database, tenant, "log_leaves")
    runs = await desk.database.rows(installation(tenant), "select distinct run from journal")
    assert {leaf["run"] for leaf in leaves} - {row["run"] for row in runs} == {lease.run}


async def test_a_log_that_cannot_be_written_stops_no_run(desk: Desk, tenant: str, owner: Connection) -> None:
    constraint = f"alter table log_leaves add constraint full_disk check (tenant <> '{tenant}')"
    await owner.execute(constraint.encode())
    try:
        lease = await desk.run()
        outcome = await desk.gateway.perform(lease, act(lease))
        with pytest.raises((psycopg.Error, ControlError)):
            await log.extend(desk.database, tenant, KEY)
    finally:
        await owner.execute("alter table log_leaves drop constraint full_disk")
    assert outcome.state == "done"
    await log.extend(desk.database, tenant, KEY)
    assert await ends(desk.database, tenant)


async def test_news_that_somebody_deleted_is_noticed(desk: Desk, tenant: str, lease: Lease, superuser: Connect) -> None:
    async with superuser() as connection:
        await connection.execute("delete from journal_news where tenant = %s", [tenant])
    assert await log.extend(desk.database, tenant, KEY) == 0
    assert await log.note_missed_news(desk.database) >= 2
    await log.extend(desk.database, tenant, KEY)
    assert await ends(desk.database, tenant)


async def test_heads_are_read_from_a_number_on(desk: Desk, tenant: str, lease: Lease) -> None:
    for _ in range(3):
        await note(desk, lease)
        await log.extend(desk.database, tenant, KEY)
    async with desk.database.transaction(lease.access) as connection:
        numbers = [head.number async for head in log.heads(connection, 1)]
    assert numbers == [2, 3]


async def test_another_tenant_sees_nothing_of_it(desk: Desk, tenant: str, lease: Lease) -> None:
    await log.extend(desk.database, tenant, KEY)
    stranger = Access.of(Principal("elsewhere", "alice"))
    async with desk.database.transaction(stranger) as connection:
        assert [head async for head in log.heads(connection)] == []
    assert await log.standing(desk.database, stranger) is None
