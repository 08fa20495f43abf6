"""Texts by hash: kept once and for good, for whoever wants to know what an entry names."""

import hashlib

import psycopg
import pytest

from memory.evidence import texts
from memory.postgres.database import Database
from memory.scope import Access, Principal
from tests.conftest import Connect, Connection

pytestmark = pytest.mark.anyio


async def test_a_text_is_found_by_its_hash(database: Database, alice: Principal) -> None:
    hash = await texts.keep(database, Access.of(alice), "policy", "permit é;")
    assert hash == hashlib.sha256("permit é;".encode()).hexdigest()
    assert await texts.keep(database, Access.of(alice), "policy", "permit é;") == hash
    assert await texts.read(database, Access.of(alice), "policy", hash) == "permit é;"
    assert await texts.read(database, Access.of(alice), "cards", hash) is None


async def test_another_tenant_neither_reads_a_text_nor_stands_in_its_way(database: Database, alice: Principal) -> None:
    other = Access.of(Principal("elsewhere", "alice"))
    hash = await texts.keep(database, Access.of(alice), "policy", "text")
    assert await texts.read(database, other, "policy", hash) is None


@pytest.mark.parametrize(
    "statement", ["update texts set text = 'x'", "delete from texts", "truncate texts", "insert into texts values (1)"]
)
async def test_the_application_neither_changes_nor_inserts_by_itself(
    database: Database, alice: Principal, statement: str
) -> None:
    await texts.keep(database, Access.of(alice), "policy", "text")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.transaction(Access.of(alice)) as connection:
            await connection.execute(statement.encode())


@pytest.mark.parametrize("statement", ["update texts set kind = 'cards'", "delete from texts", "truncate texts"])
async def test_even_the_owner_neither_changes_nor_deletes_while_triggers_are_on(
    database: Database, owner: Connection, alice: Principal, statement: str
) -> None:
    await texts.keep(database, Access.of(alice), "policy", "text")
    await owner.execute("begin")
    await owner.execute("select enter(%s, 'tests', '{}', '{}')", [alice.tenant])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="kept for good"):
        await owner.execute(statement.encode())
    await owner.execute("rollback")


async def test_the_table_itself_refuses_a_text_under_another_hash(superuser: Connect, tenant: str) -> None:
    async with superuser() as above:
        with pytest.raises(psycopg.errors.CheckViolation):
            await above.execute(
                "insert into texts (tenant, kind, hash, text) values (%s, 'policy', %s, 'another')", [tenant, "0" * 64]
            )
