"""Pools of connections by role: opening, lending and refusing; used by database.py alone."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.types import TypeInfo
from psycopg_pool import AsyncConnectionPool

from memory.errors import ControlError, Permanent, Temporary
from memory.postgres import limits
from memory.postgres.refusals import is_login_refusal, one_line
from memory.postgres.roles import OWNER
from memory.postgres.sessions import Session, WatchedCursor
from memory.postgres.signing import Signer
from memory.scope import Access, Principal

Pool = AsyncConnectionPool[Session]

CONNECT_SECONDS = 5
_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": CONNECT_SECONDS,
    "options": f"-c search_path=public {limits.OPTIONS}",
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
}
ENTER = "select public.enter(%s, %s)"


async def open_pool(url: str, *, size: int, signer: Signer | None = None) -> tuple[Pool, Signer]:
    """Connect with at most `size` connections; returns as well who signs for them, made from `url` unless given."""
    try:
        async with await AsyncConnection[DictRow].connect(url, row_factory=dict_row, **_OPTIONS) as connection:
            await _refuse_power(connection)
            signer = signer or await _signer(connection)
            if await TypeInfo.fetch(connection, "vector"):
                await register_vector_async(connection)
    except psycopg.ProgrammingError:
        # Without the cause, which would quote the URL and with it the password.
        message = "DATABASE_URL is no Postgres URL; write postgresql://role:password@host:port/database"
        raise Permanent("configuration", message) from None
    except psycopg.OperationalError as error:
        raise _unreachable(url, error) from error
    pool: Pool = AsyncConnectionPool(
        url,
        connection_class=Session,
        configure=Session.prepare_use,
        # Types that one connection knows, vectors among them, are known to all.
        kwargs={**_OPTIONS, "row_factory": dict_row, "context": connection, "cursor_factory": WatchedCursor},
        min_size=1,
        max_size=size,
        open=False,
        timeout=CONNECT_SECONDS * 2,
    )
    try:
        await pool.open(wait=True, timeout=CONNECT_SECONDS * 2)
    except psycopg.OperationalError as error:
        await pool.close()
        raise _unreachable(url, error) from error
    return pool, signer


@asynccontextmanager
async def lend(pool: Pool, url: str) -> AsyncGenerator[Session]:
    """Lend a connection whose next borrower finds nothing of this one.

    Raises Temporary("unavailable") if the database goes away, and `lock_timeout` if somebody holds a lock too long.
    """
    is_broken = False
    try:
        async with pool.connection() as session:
            try:
                async with _cleaned(session):
                    yield session
            finally:
                is_broken = session.broken
    except psycopg.errors.LockNotAvailable as error:
        raise _held_up(error) from error
    except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
        if is_broken:
            # One connection died, so its neighbours probably did: better found now than one by one.
            await pool.check()
        raise _unreachable(url, error) from error


class SessionChanged(Temporary):
    """A statement failed in a session that others' SQL had changed."""

    def __init__(self, error: psycopg.Error) -> None:
        message = f"other SQL had changed this session ({one_line(error)}); it is closed: try again"
        super().__init__("unavailable", message, delay=0.0)


@asynccontextmanager
async def _cleaned(session: Session) -> AsyncGenerator[None]:
    """Close a session after its use unless the next borrower may have it."""
    was_clean = session.trace == "none"
    try:
        yield
    except psycopg.Error as error:
        if session.broken:
            raise
        is_driver_name = isinstance(error, psycopg.errors.InvalidSqlStatementName)
        if is_driver_name or not await session.is_clean():
            await session.close()
            if was_clean and session.trace != "changed":
                raise SessionChanged(error) from error
        raise
    finally:
        if not session.closed and not await session.is_clean():
            await session.close()


async def _signer(connection: AsyncConnection[DictRow]) -> Signer:
    cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8 as now")
    offset = float((await cursor.fetchone() or {})["now"]) - time.time()
    signer = Signer(connection.info.password, offset)
    no_access = Access(Principal("", ""), ())
    try:
        await connection.execute(ENTER, signer.sign(no_access, connection.info.backend_pid))
    except psycopg.errors.UndefinedFunction:
        # Before the first migration nobody can enter; who looks into such a database says what is missing.
        pass
    except psycopg.errors.InsufficientPrivilege as error:
        raise Permanent(
            "configuration",
            "the database does not take entries signed with this password; run `countersign migrate` with the URLs of "
            "both the owner and the app",
        ) from error
    return signer


async def _refuse_power(connection: AsyncConnection[DictRow]) -> None:
    cursor = await connection.execute(
        """
        select current_user::text as me, bool_or(r.rolsuper) as superuser, bool_or(r.rolbypassrls) as bypasses,
               bool_or(r.oid = d.datdba or r.rolname = %s) as owns_database,
               exists (select 1 from pg_class c where c.relnamespace = 'public'::regnamespace
                          and pg_has_role(c.relowner, 'member')) as owns_tables
          from pg_roles r, pg_database d
         where pg_has_role(r.oid, 'member') and d.datname = current_database() group by d.oid
        """,
        [OWNER],
    )
    row = await cursor.fetchone() or {}
    powers = [name.replace("_", " ") for name in ("superuser", "bypasses", "owns_database", "owns_tables") if row[name]]
    if powers:
        raise Permanent(
            "configuration",
            f"database role {row['me']!r} stands above row security ({', '.join(powers)}); "
            "give the plain role 'cs_app' in DATABASE_URL and keep the owner's for migrations",
        )


def _held_up(error: psycopg.errors.LockNotAvailable) -> ControlError:
    message = f"somebody has held a lock that this needs for {limits.LOCK_SECONDS} s ({error.diag.message_primary})"
    return Temporary("lock_timeout", f"{message}; try again, and look in pg_locks who it is if it stays so", delay=1.0)


def _unreachable(url: str, error: psycopg.Error) -> ControlError:
    options = conninfo_to_dict(url)
    target = f"database {options.get('dbname')!r} on host {options.get('host') or 'localhost'!r}"
    reason = one_line(error)
    if isinstance(error, psycopg.OperationalError) and is_login_refusal(error):
        message = f"{target} refuses role {options.get('user')!r}: {reason}; check DATABASE_URL"
        return Permanent("configuration", message)
    return Temporary("unavailable", f"{target} is unavailable ({reason}); start it or wait, then try again")
