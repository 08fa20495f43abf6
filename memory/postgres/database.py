"""The only way to a connection: whoever works in the database says first for whom; called by every table's module."""

import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
from pgvector import SparseVector
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, AsyncCursor, IsolationLevel
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from memory.errors import ControlError, Permanent, Temporary
from memory.postgres import limits
from memory.postgres.refusals import is_login_refusal, one_line
from memory.postgres.roles import OWNER
from memory.postgres.sessions import Session, WatchedCursor
from memory.postgres.signing import Signer
from memory.scope import Access, Principal

Connection = AsyncConnection[DictRow]

CONNECT_SECONDS = 5
_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": CONNECT_SECONDS,
    # The queue's own statements name their tables without schema.
    "options": f"-c search_path=public,queue {limits.OPTIONS}",
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
}
_FUNCTION = re.compile(r"[a-z_]+")
_ENTER = "select public.enter(%s, %s)"


class Database:
    """A pool of connections as the app's database role; close it when done."""

    def __init__(self, url: str, pool: AsyncConnectionPool[Session], signer: Signer) -> None:
        self._url = url
        self._pool = pool
        self._signer = signer

    @classmethod
    async def open(cls, url: str, *, size: int = 10) -> "Database":
        """Connect with at most `size` connections.

        Raises Permanent("configuration") for a role that stands above row security, whose entries do not count, or
        that the server does not accept, and Temporary("unavailable") if nobody answers.
        """
        try:
            async with await Connection.connect(url, row_factory=dict_row, **_OPTIONS) as connection:
                await _refuse_power(connection)
                signer = await _signer(connection)
                if await TypeInfo.fetch(connection, "vector"):
                    await register_vector_async(connection)
        except psycopg.ProgrammingError:
            # Without the cause, which would quote the URL and with it the password.
            message = "DATABASE_URL is no Postgres URL; write postgresql://role:password@host:port/database"
            raise Permanent("configuration", message) from None
        except psycopg.OperationalError as error:
            raise _unreachable(url, error) from error
        pool: AsyncConnectionPool[Session] = AsyncConnectionPool(
            url,
            # Types that one connection knows, vectors among them, are known to all.
            connection_class=Session,
            configure=Session.prepare_use,
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
        return cls(url, pool, signer)

    @property
    def url(self) -> str:
        """Return the address that was opened; it holds the password."""
        return self._url

    async def close(self) -> None:
        """Close every connection; work still under way fails."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, access: Access) -> AsyncGenerator[Connection]:
        """Run statements for one access and commit them together; an error undoes them all.

        Raises Temporary("unavailable") if the database goes away, also while committing: the outcome is then unknown.
        """
        async with self._pooled_connection() as connection, connection.transaction():
            await self.enter(connection, access)
            yield connection

    @asynccontextmanager
    async def snapshot(self, access: Access) -> AsyncGenerator[Connection]:
        """Read for one access in a transaction whose statements all see the same moment; raises as `transaction`."""
        async with self._pooled_connection() as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            try:
                async with connection.transaction():
                    await self.enter(connection, access)
                    yield connection
            finally:
                if not connection.closed:
                    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)

    async def enter(self, connection: Connection, access: Access) -> None:
        """Go on for another access within a transaction under way; what was done so far is committed with the rest."""
        await connection.execute(_ENTER, self._entry(connection, access))

    async def call(self, access: Access, function: str, *args: object, binary: bool = False) -> dict[str, Any]:
        """Run one SQL function for one access, in one commit and one round trip, and return its first row.

        Mappings travel as jsonb, and sparse vectors become dense. No row gives an empty dict. Raises ValueError unless
        `function` is a plain name.
        `binary` asks for the row in binary, which is worth it where it holds many bytes.
        """
        if not _FUNCTION.fullmatch(function):
            raise ValueError(f"{function!r} is no function name; it must be a constant of lower-case letters and _")
        values = [Jsonb(value) if isinstance(value, Mapping) else value for value in args]
        source = f"{function}({', '.join(map(_placeholder, values))})"
        cursor = await self._entered(access, source, values, binary=binary)
        return await cursor.fetchone() or {}

    async def rows(self, access: Access, query: str, *args: object, binary: bool = False) -> list[dict[str, Any]]:
        """Return the rows of one query for one access, in one statement and one round trip; `query` is our own text.

        `binary` asks for them in binary, as for `call`.
        """
        cursor = await self._entered(access, f"({query}) as asked", args, binary=binary)
        return await cursor.fetchall()

    @asynccontextmanager
    async def system(self) -> AsyncGenerator[Connection]:
        """Lend a connection that works for nobody: it sees no tenant's rows, but may call the system's functions."""
        async with self._pooled_connection() as connection:
            yield connection

    async def _entered(
        self, access: Access, source: str, values: Sequence[object], *, binary: bool
    ) -> AsyncCursor[DictRow]:
        try:
            return await self._entered_once(access, source, values, binary=binary)
        except _SessionChanged:
            # The statement failed as a whole, in a session that somebody had changed; that one is closed.
            return await self._entered_once(access, source, values, binary=binary)

    async def _entered_once(
        self, access: Access, source: str, values: Sequence[object], *, binary: bool
    ) -> AsyncCursor[DictRow]:
        async with self._pooled_connection() as connection:
            statement = entered(source).encode()
            return await connection.execute(statement, [*self._entry(connection, access), *values], binary=binary)

    def _entry(self, connection: Connection, access: Access) -> list[object]:
        return self._signer.sign(access, connection.info.backend_pid)

    @asynccontextmanager
    async def _pooled_connection(self) -> AsyncGenerator[Connection]:
        is_broken = False
        try:
            async with self._pool.connection() as session:
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
                await self._pool.check()
            raise _unreachable(self._url, error) from error


class _SessionChanged(Temporary):
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
                raise _SessionChanged(error) from error
        raise
    finally:
        if not session.closed and not await session.is_clean():
            await session.close()


def _placeholder(value: object) -> str:
    # Columns are dense, and a sparse vector becomes dense by an explicit cast only.
    if isinstance(value, SparseVector):
        return "%s::vector"
    if isinstance(value, list) and any(isinstance(item, SparseVector) for item in cast("list[object]", value)):
        return "%s::vector[]"
    return "%s"


def entered(source: str) -> str:
    """Return the statement that enters and then reads from a function call or a query.

    The order holds by construction: the inner query needs a column of the entry, and `offset 0` keeps the planner
    from taking it apart, so that the source can only be scanned once the entry's row is there.
    """
    return (
        "with entry as materialized (select public.enter(%s, %s) as tenant) select result.* from entry "
        f"cross join lateral (select * from {source} where entry.tenant is not null offset 0) as result"
    )


async def _signer(connection: Connection) -> Signer:
    cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8 as now")
    offset = float((await cursor.fetchone() or {})["now"]) - time.time()
    signer = Signer(connection.info.password, offset)
    no_access = Access(Principal("", ""), ())
    try:
        await connection.execute(_ENTER, signer.sign(no_access, connection.info.backend_pid))
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


async def _refuse_power(connection: Connection) -> None:
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
