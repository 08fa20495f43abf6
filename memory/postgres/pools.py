"""Pools of sessions by role: opening, lending and replacing; used by database.py alone."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg.types import TypeInfo
from psycopg_pool import AsyncConnectionPool

from memory.cancellation import heed_cancellation
from memory.errors import Permanent, Temporary
from memory.postgres import limits
from memory.postgres.liveness import Liveness
from memory.postgres.refusals import held_up, is_entry_late, is_read_only, one_line, outage_at, unreachable
from memory.postgres.roles import OWNER
from memory.postgres.sessions import Session, WatchedCursor
from memory.postgres.signing import Signer
from memory.scope import Access, Principal

CONNECT_SECONDS = 5
RECONNECT_SECONDS = 4.0
"""The pool's pauses between attempts double until then; afterwards whoever needs a connection starts them anew."""
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
_NOW = "select extract(epoch from clock_timestamp())::float8 as now"


class Pool:
    """Sessions of one role, and who signs entries in them; two pools of one process share their signer."""

    def __init__(self, url: str, sessions: AsyncConnectionPool[Session], signer: Signer, liveness: Liveness) -> None:
        self.url = url
        self.signer = signer
        self._sessions = sessions
        self._liveness = liveness
        self._setbacks = signer.setbacks

    @classmethod
    async def open(
        cls, url: str, *, size: int, signer: Signer | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> "Pool":
        """Connect with at most `size` sessions; the signer is made from `url` unless given.

        Raises Permanent("configuration") for a role that stands above row security, whose entries do not count, or
        that the server does not accept, and Temporary("unavailable") if nobody answers.
        """
        try:
            async with await AsyncConnection[DictRow].connect(url, row_factory=dict_row, **_OPTIONS) as connection:
                await _refuse_power(connection)
                signer = signer or await _signer(connection, monotonic)
                if await TypeInfo.fetch(connection, "vector"):
                    await register_vector_async(connection)
        except psycopg.ProgrammingError:
            # Without the cause, which would quote the URL and with it the password.
            message = "DATABASE_URL is no Postgres URL; write postgresql://role:password@host:port/database"
            raise Permanent("configuration", message) from None
        except psycopg.OperationalError as error:
            raise unreachable(url, error) from error
        liveness = Liveness(monotonic)
        # Types that one connection knows, vectors among them, are known to all.
        sessions = _sessions(url, size, connection, liveness)
        liveness.watch(sessions)
        try:
            await sessions.open(wait=True, timeout=CONNECT_SECONDS * 2)
        except psycopg.OperationalError as error:
            await sessions.close()
            raise unreachable(url, error) from error
        return cls(url, sessions, signer, liveness)

    async def close(self) -> None:
        """Close every session; work still under way fails."""
        await self._sessions.close()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Session]:
        """Lend a session whose next borrower finds nothing of this one.

        Raises Temporary("unavailable") if the database goes away, and `lock_timeout` if somebody holds a lock too long.
        """
        is_broken = False
        try:
            async with self._sessions.connection() as session:
                try:
                    async with _cleaned(session):
                        yield session
                except psycopg.Error as error:
                    await self._heed(session, error)
                    raise
                finally:
                    is_broken = session.broken
                    self._liveness.rest(session)
        except psycopg.errors.LockNotAvailable as error:
            raise held_up(error) from error
        except psycopg.Error as error:
            heed_cancellation()
            if is_broken:
                # One connection died, so its neighbours probably did: better found now than one by one.
                await self._sessions.check()
            if outage := outage_at(self.url, error):
                raise outage from error
            raise

    async def _heed(self, session: Session, error: psycopg.Error) -> None:
        """Do what lets the next attempt succeed."""
        if is_read_only(error):
            # A session that began while the database was read-only stays so for ever.
            await session.close()
        elif is_entry_late(error):
            cursor = await session.execute(_NOW)
            self.signer.adjust(float((await cursor.fetchone() or {})["now"]))
            if self._setbacks != self.signer.setbacks:
                self._setbacks = self.signer.setbacks
                await self._sessions.drain()


def _sessions(
    url: str, size: int, context: AsyncConnection[DictRow], liveness: Liveness
) -> AsyncConnectionPool[Session]:
    async def begin(session: Session) -> None:
        await session.prepare_use()
        await liveness.begin(session)

    return AsyncConnectionPool(
        url,
        connection_class=Session,
        kwargs={**_OPTIONS, "row_factory": dict_row, "context": context, "cursor_factory": WatchedCursor},
        min_size=1,
        max_size=size,
        open=False,
        timeout=CONNECT_SECONDS * 2,
        reconnect_timeout=RECONNECT_SECONDS,
        configure=begin,
        check=liveness.check,
    )


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


async def _signer(connection: AsyncConnection[DictRow], monotonic: Callable[[], float]) -> Signer:
    signer = Signer(connection.info.password, monotonic=monotonic)
    cursor = await connection.execute(_NOW)
    signer.adjust(float((await cursor.fetchone() or {})["now"]))
    no_access = Access(Principal("", ""), ())
    try:
        await connection.execute(ENTER, signer.sign(no_access, connection.info.backend_pid))
    except (psycopg.errors.UndefinedFunction, psycopg.errors.ReadOnlySqlTransaction):
        # Before the first migration, and while no writes are taken, nobody can enter; whoever tries then says why.
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
