"""Time limits of sessions: by role, by connection and by entry, and what running into one is called."""

import psycopg
import pytest

from memory.errors import Temporary
from memory.postgres import limits
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal

IN_FORCE = (
    "select current_setting('lock_timeout') as lock, current_setting('idle_in_transaction_session_timeout') as rest"
)
OURS = {"lock": "15s", "rest": "1min"}


async def test_a_session_of_the_role_has_them_whoever_opens_it(urls: Urls) -> None:
    """Also one that is not opened by our pool."""
    async with await psycopg.AsyncConnection.connect(urls.app) as session:
        assert await (await session.execute(IN_FORCE)).fetchone() == tuple(OURS.values())


async def test_a_connection_asks_for_them_where_the_role_has_none(urls: Urls) -> None:
    async with await psycopg.AsyncConnection.connect(urls.superuser, options=limits.OPTIONS) as session:
        assert await (await session.execute(IN_FORCE)).fetchone() == tuple(OURS.values())


async def test_what_sql_made_of_a_session_is_gone_with_the_next_entry(urls: Urls, alice: Principal) -> None:
    """Without a statement of its own: entering is one that is sent anyway."""
    database = await Database.open(urls.app, size=1)
    try:
        async with database.system() as connection:
            await connection.execute("set lock_timeout = 0")
            await connection.execute("set idle_in_transaction_session_timeout = 0")
        assert await database.rows(Access.of(alice), IN_FORCE) == [OURS]
        async with database.transaction(Access.of(alice)) as connection:
            assert await (await connection.execute(IN_FORCE)).fetchone() == OURS
    finally:
        await database.close()


async def test_a_lock_that_somebody_keeps_is_told_as_that(database: Database, urls: Urls, alice: Principal) -> None:
    async with await psycopg.AsyncConnection.connect(urls.app) as other:
        await other.execute("select pg_advisory_xact_lock(7150, hashtext(%s))", [alice.tenant])
        with pytest.raises(Temporary, match="somebody has held a lock") as refusal:
            await _wait(database, alice)
    assert (refusal.value.code, refusal.value.delay) == ("lock_timeout", 1.0)


async def _wait(database: Database, person: Principal) -> None:
    async with database.transaction(Access.of(person)) as connection:
        await connection.execute("set local lock_timeout = '20ms'")
        await connection.execute("select pg_advisory_xact_lock(7150, hashtext(%s))", [person.tenant])


async def test_a_transaction_that_rests_too_long_is_a_database_that_is_away(
    database: Database, alice: Principal
) -> None:
    with pytest.raises(Temporary, match="is unavailable") as refusal:
        await _rest(database, alice)
    assert refusal.value.code == "unavailable"


async def _rest(database: Database, person: Principal) -> None:
    async with database.transaction(Access.of(person)) as connection:
        await connection.execute("set local idle_in_transaction_session_timeout = '1ms'")
        async for _ in connection.notifies():
            raise AssertionError("nobody notifies")
