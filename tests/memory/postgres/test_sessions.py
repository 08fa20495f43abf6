"""Two people by turns on one connection: whatever one does to the session, the other finds it like a new one."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from memory.errors import Temporary
from memory.postgres.database import Connection, Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal, Scope
from memory.store import search, write
from memory.store.models import Provenance

pytestmark = pytest.mark.anyio

_READ = "select current_tenant() as tenant, current_principal() as id, current_setting('search_path') as path"
_STATE = """
select array(select name || '=' || setting from pg_settings where source = 'session'
               and setting is distinct from reset_val
               and name not in ('countersign.entry', 'session_authorization')) as settings,
       array(select name from pg_prepared_statements where from_sql) as prepared,
       array(select name from pg_cursors where is_holdable) as cursors,
       array(select pg_listening_channels()) as channels, pg_my_temp_schema()::int as temporary,
       array(select objid from pg_locks where pid = pg_backend_pid() and locktype = 'advisory') as locks,
       current_setting('search_path') as path, current_setting('transaction_read_only') as read_only,
       current_setting('client_encoding') as encoding, current_setting('transaction_isolation') as isolation,
       current_setting('lock_timeout') as lock_timeout, session_user::text as session, current_user::text as role"""
POISONS = {
    "prepared": "prepare mine as select 1",
    "prepared in a block": "do $$ begin execute 'prepare mine as select 1'; end $$",
    "all deallocated": "deallocate all",
    "one deallocated": "do $$ begin execute (select 'deallocate ' || name from pg_prepared_statements limit 1); end $$",
    "discarded plans": "discard plans",
    "discarded sequences": "discard sequences",
    "search path": "set search_path = pg_catalog",
    "queue first": "set search_path = queue, public",
    "search path by function": "select set_config('search_path', 'pg_catalog', false)",
    "row security": "set row_security = off",
    "row security by function": "select set_config('row_security', 'off', false)",
    "statement time-out": "set statement_timeout = '1ms'",
    "statement time-out by function": "select set_config('statement_timeout', '1ms', false)",
    "lock time-out": "set lock_timeout = '1ms'",
    "lock time-out by function": "select set_config('lock_timeout', '1ms', false)",
    "rest time-out": "set idle_in_transaction_session_timeout = 0",
    "transaction time-out": "select set_config('transaction_timeout', '10ms', false)",
    "read only": "set default_transaction_read_only = on",
    "read only by function": "select set_config('default_transaction_read_only', 'on', false)",
    "serializable": "set session characteristics as transaction isolation level serializable",
    "serializable by function": "select set_config('default_transaction_isolation', 'serializable', false)",
    "deferrable": "set default_transaction_deferrable = on",
    "held cursor": "declare mine cursor with hold for select 1",
    "session lock": "select pg_advisory_lock(4711)",
    "shared session lock": "select pg_advisory_lock_shared(4711)",
    "lock in a block": "do $$ begin perform pg_advisory_lock(4711); end $$",
    "listener": "listen mine",
    "listener in a block": "do $$ begin execute 'listen mine'; end $$",
    "role": "set role cs_app",
    "authorization": "set session authorization cs_app",
    "encoding": "set client_encoding = 'latin1'",
    "encoding by function": "select set_config('client_encoding', 'SQL_ASCII', false)",
    "dates": "set datestyle = 'german'",
    "dates by function": "select set_config('DateStyle', 'German', false)",
    "zone by function": "select set_config('TimeZone', 'Asia/Tokyo', false)",
    "bytes by function": "select set_config('bytea_output', 'escape', false)",
    "floats by function": "select set_config('extra_float_digits', '-15', false)",
    "forged entry": "select set_config('countersign.entry', '{}', false)",
    "setting of one's own": "select set_config('mine.note', 'for the next', false)",
    "durability": "select set_config('synchronous_commit', 'off', false)",
    "forced plans": "select set_config('plan_cache_mode', 'force_generic_plan', false)",
    "several at once": "select 1; prepare mine as select 1; select 2",
    "out of the transaction": "commit; set row_security = off; begin",
    "chained transaction": "commit and chain",
    "error after it": "prepare mine as select 1; select 1 / 0",
    "error after it in a block": "do $$ begin execute 'prepare mine as select 1'; perform 1 / 0; end $$",
    "temporary table": "create temporary table memories (body text)",
}


@pytest.fixture
async def single(urls: Urls, anyio_backend: str) -> AsyncGenerator[Database]:
    """Return a pool of one connection, warmed so that the driver has prepared what it uses."""
    pool = await Database.open(urls.app, size=1)
    yield pool
    await pool.close()


async def _look(pool: Database, access: Access) -> list[dict[str, Any]]:
    """Return what a person's sessions are like in each way of borrowing."""
    states = list[dict[str, Any]]()
    for enter in (pool.transaction, pool.snapshot):
        async with enter(access) as connection:
            states += [await _row(connection, _READ), await _row(connection, _STATE)]
    async with pool.system() as connection:
        states.append(await _row(connection, _STATE))
    states += await pool.rows(access, _READ)
    states += await pool.rows(access, _STATE)
    states.append(await pool.call(access, "current_principal"))
    return states


async def _row(connection: Connection, query: str) -> dict[str, Any]:
    return await (await connection.execute(query.encode())).fetchone() or {}


async def _look_again(pool: Database, access: Access) -> list[dict[str, Any]]:
    """Look once more after an honest refusal: the next session must be a good one."""
    try:
        return await _look(pool, access)
    except Temporary:
        return await _look(pool, access)


async def _poison(pool: Database, access: Access, statement: str, way: str) -> None:
    with suppress(psycopg.Error, Temporary):
        if way == "query":
            await pool.rows(access, statement)
            return
        async with pool.transaction(access) if way == "transaction" else pool.system() as connection:
            await connection.execute(statement.encode())


@pytest.mark.parametrize("way", ["transaction", "system"])
@pytest.mark.parametrize("poison", POISONS)
async def test_next_person_finds_a_session_like_a_new_one(
    single: Database, alice: Principal, bob: Principal, poison: str, way: str
) -> None:
    await _look(single, Access.of(alice))
    fresh = await _look(single, Access.of(alice))
    await _poison(single, Access.of(bob), POISONS[poison], way)
    assert await _look_again(single, Access.of(alice)) == fresh


@pytest.mark.parametrize("poison", [name for name in POISONS if POISONS[name].startswith("select set_config")])
async def test_query_that_changes_a_setting_changes_it_for_nobody_else(
    single: Database, alice: Principal, bob: Principal, poison: str
) -> None:
    fresh = await _look(single, Access.of(alice))
    await _poison(single, Access.of(bob), POISONS[poison], "query")
    assert await single.call(Access.of(alice), "current_principal") == {"current_principal": "alice"}
    assert await _look_again(single, Access.of(alice)) == fresh


async def test_statement_of_the_driver_that_one_person_rewrote_never_runs_for_another(
    single: Database, alice: Principal, bob: Principal
) -> None:
    """The name stays, and the text sends the memories of whoever runs it to a place that both can read."""
    access, secret = Access.of(alice), "alice keeps the canary word heliotrope"
    await write.remember(single, access, secret, trust="human", provenance=Provenance())
    for _ in range(8):
        await search.recall(single, access, secret)
    async with single.transaction(Access.of(bob)) as connection:
        answer = await connection.execute(
            "select name, statement, parameter_types::text[] as types from pg_prepared_statements"
            " where statement like '%enter(%' and not from_sql"
        )
        statements = await answer.fetchall()
        for row in statements:
            await connection.execute(f'deallocate "{row["name"]}"'.encode())
            types = f"({', '.join(row['types'])})" if row["types"] else ""
            spy = f"select set_config('mine.entry', {'$1' if types else '1'}::text, false) as tenant"
            await connection.execute(f'prepare "{row["name"]}"{types} as {spy}'.encode())
    assert statements
    assert [hit.memory.body for hit in (await search.recall(single, access, secret)).hits] == [secret]
    async with single.transaction(Access.of(bob)) as connection:
        row = await _row(connection, "select current_setting('mine.entry', true) as word")
        assert row["word"] is None


async def test_ordinary_work_keeps_its_session(single: Database, alice: Principal) -> None:
    """Otherwise every call would pay for a new connection."""
    access = Access(alice, (Scope("user", "alice"),), Scope("user", "alice"))
    pid = "select pg_backend_pid() as pid"
    before = await single.rows(access, pid)
    async with single.transaction(access) as connection:
        await connection.execute("select 1")
    with pytest.raises(psycopg.errors.DivisionByZero):
        await single.rows(access, "select 1 / (length(current_tenant()) - length(current_tenant()))")
    await write.remember(single, access, "one", trust="human", provenance=Provenance())
    assert await single.rows(access, pid) == before
