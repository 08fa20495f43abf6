"""The only way to a connection: whoever works in the database says first for whom; called by every table's module."""

import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import psycopg
from pgvector import SparseVector
from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import DictRow, dict_row
from psycopg.types import TypeInfo
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from memory.errors import Permanent, Temporary
from memory.postgres import limits
from memory.postgres.liveness import Liveness
from memory.postgres.refusals import held_up, is_entry_late, is_read_only, outage_at, unreachable
from memory.postgres.roles import OWNER
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
_ENTER = "select enter(%s, %s)"
_NOW = "select extract(epoch from clock_timestamp())::float8 as now"
RECONNECT_SECONDS = 4.0
"""The pool's pauses between attempts double until then; afterwards whoever needs a connection starts them anew."""
_ATTEMPTS = 3
"""Times that a beginning is tried: the first may meet a dead connection, the second a clock that was set."""


class Database:
    """A pool of connections as the app's database role; close it when done."""

    def __init__(self, url: str, pool: AsyncConnectionPool[Connection], signer: Signer, liveness: Liveness) -> None:
        self._url = url
        self._pool = pool
        self._signer = signer
        self._liveness = liveness

    @classmethod
    async def open(cls, url: str, *, size: int = 10, monotonic: Callable[[], float] = time.monotonic) -> "Database":
        """Connect with at most `size` connections.

        Raises Permanent("configuration") for a role that stands above row security, whose entries do not count, or
        that the server does not accept, and Temporary("unavailable") if nobody answers.
        """
        try:
            async with await Connection.connect(url, row_factory=dict_row, **_OPTIONS) as connection:
                await _refuse_power(connection)
                signer = await _signer(connection, monotonic)
                if await TypeInfo.fetch(connection, "vector"):
                    await register_vector_async(connection)
        except psycopg.ProgrammingError:
            # Without the cause, which would quote the URL and with it the password.
            message = "DATABASE_URL is no Postgres URL; write postgresql://role:password@host:port/database"
            raise Permanent("configuration", message) from None
        except psycopg.OperationalError as error:
            raise unreachable(url, error) from error
        liveness = Liveness(monotonic)
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            # Types that one connection knows, vectors among them, are known to all.
            kwargs={**_OPTIONS, "row_factory": dict_row, "context": connection},
            min_size=1,
            max_size=size,
            open=False,
            timeout=CONNECT_SECONDS * 2,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=liveness.begin,
            check=liveness.check,
        )
        liveness.watch(pool)
        try:
            await pool.open(wait=True, timeout=CONNECT_SECONDS * 2)
        except psycopg.OperationalError as error:
            await pool.close()
            raise unreachable(url, error) from error
        return cls(url, pool, signer, liveness)

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
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, access)

    @asynccontextmanager
    async def snapshot(self, access: Access) -> AsyncGenerator[Connection]:
        """Read for one access in a transaction whose statements all see the same moment; raises as `transaction`."""
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, access, IsolationLevel.REPEATABLE_READ)

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
        rows = await self._entered(access, source, values, binary=binary)
        return rows[0] if rows else {}

    async def rows(self, access: Access, query: str, *args: object, binary: bool = False) -> list[dict[str, Any]]:
        """Return the rows of one query for one access, in one statement and one round trip; `query` is our own text.

        `binary` asks for them in binary, as for `call`.
        """
        return await self._entered(access, f"({query}) as asked", args, binary=binary)

    async def _entered(
        self, access: Access, source: str, values: Sequence[object], *, binary: bool
    ) -> list[dict[str, Any]]:
        statement = entered(source).encode()
        for number in range(1, _ATTEMPTS + 1):
            try:
                async with self._pooled_connection() as connection:
                    entry = self._entry(connection, access)
                    cursor = await connection.execute(statement, [*entry, *values], binary=binary)
                    return await cursor.fetchall()
            except Temporary as error:
                # Only where it is certain that nothing was executed.
                if number == _ATTEMPTS or not is_entry_late(error.__cause__):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _begin(
        self, stack: AsyncExitStack, access: Access, isolation: IsolationLevel | None = None
    ) -> Connection:
        """Begin a transaction that ends with the stack, and enter; nothing of a beginning lasts, so it is repeated."""
        for number in range(1, _ATTEMPTS + 1):
            try:
                async with AsyncExitStack() as attempt:
                    connection = await attempt.enter_async_context(self._pooled_connection())
                    if isolation:
                        await attempt.enter_async_context(_isolated(connection, isolation))
                    await attempt.enter_async_context(connection.transaction())
                    await self.enter(connection, access)
                    stack.push_async_exit(attempt.pop_all())
                    return connection
            except Temporary as error:
                if number == _ATTEMPTS or error.code != "unavailable" or isinstance(error.__cause__, PoolTimeout):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    @asynccontextmanager
    async def system(self) -> AsyncGenerator[Connection]:
        """Lend a connection that works for nobody: it sees no tenant's rows, but may call the system's functions."""
        async with self._pooled_connection() as connection:
            yield connection

    def _entry(self, connection: Connection, access: Access) -> list[object]:
        return self._signer.sign(access, connection.info.backend_pid)

    @asynccontextmanager
    async def _pooled_connection(self) -> AsyncGenerator[Connection]:
        is_broken = False
        try:
            async with self._pool.connection() as connection:
                try:
                    yield connection
                except psycopg.Error as error:
                    await self._heed(connection, error)
                    raise
                finally:
                    is_broken = connection.broken
                    self._liveness.rest(connection)
        except psycopg.errors.LockNotAvailable as error:
            raise held_up(error) from error
        except psycopg.Error as error:
            if is_broken:
                # One connection died, so its neighbours probably did: better found now than one by one.
                await self._pool.check()
            if outage := outage_at(self._url, error):
                raise outage from error
            raise

    async def _heed(self, connection: Connection, error: psycopg.Error) -> None:
        """Do what lets the next attempt succeed."""
        if is_read_only(error):
            # A session that began while the database was read-only stays so for ever.
            await connection.close()
        elif is_entry_late(error):
            cursor = await connection.execute(_NOW)
            if self._signer.adjust(float((await cursor.fetchone() or {})["now"])):
                await self._pool.drain()


@asynccontextmanager
async def _isolated(connection: Connection, level: IsolationLevel) -> AsyncGenerator[None]:
    await connection.set_isolation_level(level)
    try:
        yield
    finally:
        if not connection.closed:
            await connection.set_isolation_level(None)


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
        "with entry as materialized (select enter(%s, %s) as tenant) select result.* from entry "
        f"cross join lateral (select * from {source} where entry.tenant is not null offset 0) as result"
    )


async def _signer(connection: Connection, monotonic: Callable[[], float]) -> Signer:
    signer = Signer(connection.info.password, monotonic=monotonic)
    cursor = await connection.execute(_NOW)
    signer.adjust(float((await cursor.fetchone() or {})["now"]))
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
