"""The only way to a connection: whoever works in the database says first for whom; called by every table's module."""

import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from pgvector import SparseVector
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from memory.errors import Permanent, Temporary
from memory.postgres.pools import ENTER, Pool, SessionChanged
from memory.postgres.refusals import is_entry_late
from memory.scope import Access

Connection = AsyncConnection[DictRow]

_FUNCTION = re.compile(r"[a-z_]+")
_PRELUDE_CODE = "prelude_code"
_ATTEMPTS = 3
"""Times that a beginning is tried: the first may meet a dead connection, the second a clock that was set."""


@dataclass(frozen=True, slots=True)
class Prelude:
    """A function that a statement calls first, and the code with which it lets the rest happen: `ok`."""

    function: str
    values: tuple[object, ...]


class PreludeRefused(Exception):
    """The function before a call answered with another code than `ok`; the call itself did not happen."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Database:
    """A pool of sessions as the app's database role, and in workers one as theirs; close it when done."""

    def __init__(self, pool: Pool, workers: Pool | None = None) -> None:
        self._pool = pool
        self._workers = workers

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        size: int = 10,
        worker_url: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> "Database":
        """Connect with at most `size` sessions, and as many as workers if their address is given.

        Raises Permanent("configuration") for a role that stands above row security, whose entries do not count, or
        that the server does not accept, and Temporary("unavailable") if nobody answers.
        """
        pool = await Pool.open(url, size=size, monotonic=monotonic)
        if worker_url is None:
            return cls(pool)
        try:
            workers = await Pool.open(worker_url, size=size, signer=pool.signer, monotonic=monotonic)
        except BaseException:
            await pool.close()
            raise
        return cls(pool, workers)

    @property
    def url(self) -> str:
        """Return the address that was opened; it holds the password."""
        return self._pool.url

    @property
    def worker_url(self) -> str:
        """Return the address of the workers' role; raises Permanent("configuration") in a process that has none."""
        return self._worker_pool.url

    @property
    def has_worker(self) -> bool:
        """Return whether this process may do what workers do."""
        return self._workers is not None

    async def close(self) -> None:
        """Close every session; work still under way fails."""
        await self._pool.close()
        if self._workers:
            await self._workers.close()

    @asynccontextmanager
    async def transaction(self, access: Access) -> AsyncGenerator[Connection]:
        """Run statements for one access and commit them together; an error undoes them all.

        Raises Temporary("unavailable") if the database goes away, also while committing: the outcome is then unknown.
        """
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, self._pool, access)

    @asynccontextmanager
    async def worker_transaction(self, access: Access) -> AsyncGenerator[Connection]:
        """Run statements as `transaction` does, with the rights of a worker besides."""
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, self._worker_pool, access)

    @asynccontextmanager
    async def snapshot(self, access: Access) -> AsyncGenerator[Connection]:
        """Read for one access in a transaction whose statements all see the same moment; raises as `transaction`."""
        async with AsyncExitStack() as stack:
            yield await self._begin(stack, self._pool, access, IsolationLevel.REPEATABLE_READ)

    async def enter(self, connection: Connection, access: Access) -> None:
        """Go on for another access within a transaction under way; what was done so far is committed with the rest."""
        await connection.execute(ENTER, self._entry(connection, access))

    async def call(
        self, access: Access, function: str, *args: object, binary: bool = False, prelude: Prelude | None = None
    ) -> dict[str, Any]:
        """Run one SQL function for one access, in one commit and one round trip, and return its first row.

        No row gives an empty dict; otherwise as `rows_of`.
        """
        rows = await self.rows_of(access, function, *args, binary=binary, prelude=prelude)
        return rows[0] if rows else {}

    async def rows_of(
        self, access: Access, function: str, *args: object, binary: bool = False, prelude: Prelude | None = None
    ) -> list[dict[str, Any]]:
        """Run one SQL function for one access, in one commit and one round trip, and return its rows.

        Mappings travel as jsonb, and sparse vectors become dense. Raises ValueError unless `function` is a plain name.
        `binary` asks for the rows in binary, which is worth it where they hold many bytes. A `prelude` is called first,
        in the same statement: the function is called only if it answers `ok`, and PreludeRefused is raised otherwise;
        what the prelude did until then is committed. Both happen, or neither where the statement fails.
        """
        source, values = _source(function, args)
        if prelude is None:
            return await self._entered(access, entered(source), values, binary=binary)
        first, first_values = _source(prelude.function, prelude.values)
        rows = await self._entered(access, entered_twice(first, source), [*first_values, *values], binary=binary)
        code = rows[0].get(_PRELUDE_CODE) if rows else None
        if code != "ok":
            raise PreludeRefused(str(code))
        return [{name: value for name, value in row.items() if name != _PRELUDE_CODE} for row in rows]

    async def rows(self, access: Access, query: str, *args: object, binary: bool = False) -> list[dict[str, Any]]:
        """Return the rows of one query for one access, in one statement and one round trip; `query` is our own text.

        `binary` asks for them in binary, as for `call`.
        """
        return await self._entered(access, entered(f"({query}) as asked"), args, binary=binary)

    async def call_for_each(self, accesses: Sequence[Access], function: str, *args: object) -> list[dict[str, Any]]:
        """Return the rows of one SQL function for several accesses, in one statement and one round trip.

        It enters by itself, with the entry and the mark that are its first two arguments; `function` is our own text.
        """
        source = (
            "select result.* from unnest(%s::text[], %s::bytea[]) with ordinality as entry (text, mark, number) "
            f"cross join lateral {function}(entry.text, entry.mark, {', '.join(map(_placeholder, args))}) as result"
        )

        def values(connection: Connection) -> list[object]:
            entries = [self._entry(connection, access) for access in accesses]
            return [*map(list, zip(*entries, strict=True)), *args]

        return await self._run(source, values)

    async def _entered(
        self, access: Access, text: str, values: Sequence[object], *, binary: bool
    ) -> list[dict[str, Any]]:
        return await self._run(text, lambda connection: [*self._entry(connection, access), *values], binary=binary)

    async def _run(
        self, statement: str, values: Callable[[Connection], list[object]], *, binary: bool = False
    ) -> list[dict[str, Any]]:
        """Run a statement with the entries that are made for its session."""
        for number in range(1, _ATTEMPTS + 1):
            try:
                async with self._pool.lend() as connection:
                    cursor = await connection.execute(statement.encode(), values(connection), binary=binary)
                    return await cursor.fetchall()
            except Temporary as error:
                # Only where it is certain that nothing was executed: the statement failed as a whole.
                is_undone = isinstance(error, SessionChanged) or is_entry_late(error.__cause__)
                if number == _ATTEMPTS or not is_undone:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _begin(
        self, stack: AsyncExitStack, pool: Pool, access: Access, isolation: IsolationLevel | None = None
    ) -> Connection:
        """Begin a transaction that ends with the stack, and enter; nothing of a beginning lasts, so it is repeated."""
        for number in range(1, _ATTEMPTS + 1):
            try:
                async with AsyncExitStack() as attempt:
                    connection = await attempt.enter_async_context(pool.lend())
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
        """Lend a session that works for nobody: it sees no tenant's rows."""
        async with self._pool.lend() as connection:
            yield connection

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Connection]:
        """Lend a session that works for nobody and may call the system's functions, which look across tenants.

        Raises Permanent("configuration") in a process without the workers' role.
        """
        async with self._worker_pool.lend() as connection:
            yield connection

    @property
    def _worker_pool(self) -> Pool:
        if self._workers is None:
            raise Permanent("configuration", "this is for workers alone; set COUNTERSIGN_WORKER_DATABASE_URL")
        return self._workers

    def _entry(self, connection: Connection, access: Access) -> list[object]:
        return self._pool.signer.sign(access, connection.info.backend_pid)


@asynccontextmanager
async def _isolated(connection: Connection, level: IsolationLevel) -> AsyncGenerator[None]:
    await connection.set_isolation_level(level)
    try:
        yield
    finally:
        if not connection.closed:
            await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)


def _source(function: str, args: Sequence[object]) -> tuple[str, list[object]]:
    """Return a call of a function as it stands in a statement, and its values as the driver takes them."""
    if not _FUNCTION.fullmatch(function):
        raise ValueError(f"{function!r} is no function name; it must be a constant of lower-case letters and _")
    values = [Jsonb(value) if isinstance(value, Mapping) else value for value in args]
    return f"{function}({', '.join(map(_placeholder, values))})", values


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


def entered_twice(prelude: str, source: str) -> str:
    """Return the statement that enters, calls a prelude, and reads from a function call only if that answered `ok`.

    One row at least comes back, with the prelude's code beside the columns. Each part needs a column of the part before
    it and is kept apart, as in `entered`. Functions that read anew by themselves (`volatile`) see what the prelude did.
    """
    return (
        "with entry as materialized (select public.enter(%s, %s) as tenant), prelude as materialized ("
        "select one.code from entry cross join lateral "
        f"(select * from {prelude} where entry.tenant is not null offset 0) as one) "
        f"select prelude.code as {_PRELUDE_CODE}, result.* from prelude left join lateral "
        f"(select * from {source} where prelude.code = 'ok' offset 0) as result on true"
    )
