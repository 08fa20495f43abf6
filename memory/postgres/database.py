"""The only way to a connection: whoever works in the database says first for whom; called by every table's module."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from pgvector import SparseVector
from psycopg import AsyncConnection, AsyncCursor, IsolationLevel
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from memory.errors import Permanent
from memory.postgres.pools import ENTER, Pool, SessionChanged, lend, open_pool
from memory.postgres.signing import Signer
from memory.scope import Access

Connection = AsyncConnection[DictRow]

_FUNCTION = re.compile(r"[a-z_]+")


class Database:
    """A pool of connections as the app's database role, and in workers one as theirs; close it when done."""

    def __init__(
        self, url: str, pool: Pool, signer: Signer, worker_url: str | None = None, workers: Pool | None = None
    ) -> None:
        self._url = url
        self._pool = pool
        self._signer = signer
        self._worker_url = worker_url
        self._workers = workers

    @classmethod
    async def open(cls, url: str, *, size: int = 10, worker_url: str | None = None) -> "Database":
        """Connect with at most `size` connections, and as many as workers if their address is given.

        Raises Permanent("configuration") for a role that stands above row security, whose entries do not count, or
        that the server does not accept, and Temporary("unavailable") if nobody answers.
        """
        pool, signer = await open_pool(url, size=size)
        if worker_url is None:
            return cls(url, pool, signer)
        try:
            workers, _ = await open_pool(worker_url, size=size, signer=signer)
        except BaseException:
            await pool.close()
            raise
        return cls(url, pool, signer, worker_url, workers)

    @property
    def url(self) -> str:
        """Return the address that was opened; it holds the password."""
        return self._url

    @property
    def worker_url(self) -> str:
        """Return the address of the workers' role; raises Permanent("configuration") in a process that has none."""
        if self._worker_url is None:
            raise Permanent("configuration", "this is for workers alone; set COUNTERSIGN_WORKER_DATABASE_URL")
        return self._worker_url

    @property
    def has_worker(self) -> bool:
        """Return whether this process may do what workers do."""
        return self._workers is not None

    async def close(self) -> None:
        """Close every connection; work still under way fails."""
        await self._pool.close()
        if self._workers:
            await self._workers.close()

    @asynccontextmanager
    async def transaction(self, access: Access) -> AsyncGenerator[Connection]:
        """Run statements for one access and commit them together; an error undoes them all.

        Raises Temporary("unavailable") if the database goes away, also while committing: the outcome is then unknown.
        """
        async with lend(self._pool, self._url) as connection, connection.transaction():
            await self.enter(connection, access)
            yield connection

    @asynccontextmanager
    async def worker_transaction(self, access: Access) -> AsyncGenerator[Connection]:
        """Run statements as `transaction` does, with the rights of a worker besides."""
        async with self.worker() as connection, connection.transaction():
            await self.enter(connection, access)
            yield connection

    @asynccontextmanager
    async def snapshot(self, access: Access) -> AsyncGenerator[Connection]:
        """Read for one access in a transaction whose statements all see the same moment; raises as `transaction`."""
        async with lend(self._pool, self._url) as connection:
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
        await connection.execute(ENTER, self._entry(connection, access))

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
        """Lend a connection that works for nobody: it sees no tenant's rows."""
        async with lend(self._pool, self._url) as connection:
            yield connection

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Connection]:
        """Lend a connection that works for nobody and may call the system's functions, which look across tenants.

        Raises Permanent("configuration") in a process without the workers' role.
        """
        url = self.worker_url
        assert self._workers is not None, "the address and the pool come together"
        async with lend(self._workers, url) as connection:
            yield connection

    async def _entered(
        self, access: Access, source: str, values: Sequence[object], *, binary: bool
    ) -> AsyncCursor[DictRow]:
        try:
            return await self._entered_once(access, source, values, binary=binary)
        except SessionChanged:
            # The statement failed as a whole, in a session that somebody had changed; that one is closed.
            return await self._entered_once(access, source, values, binary=binary)

    async def _entered_once(
        self, access: Access, source: str, values: Sequence[object], *, binary: bool
    ) -> AsyncCursor[DictRow]:
        async with lend(self._pool, self._url) as connection:
            statement = entered(source).encode()
            return await connection.execute(statement, [*self._entry(connection, access), *values], binary=binary)

    def _entry(self, connection: Connection, access: Access) -> list[object]:
        return self._signer.sign(access, connection.info.backend_pid)


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
