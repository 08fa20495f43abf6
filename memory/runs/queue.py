"""Queue of runs: the rows that are queued; the API wakes workers, and workers take the oldest as lanes get free.

A run's row is all that names it: there are no jobs beside it that could be lost, doubled or stale. A notice only tells
workers to look; whoever misses it looks a second later.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import psycopg
from psycopg.rows import dict_row

from memory.cancellation import heed_cancellation
from memory.errors import Temporary
from memory.postgres import locks
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.postgres.refusals import one_line
from memory.runs import idempotency, records
from memory.runs.idempotency import IdempotentRequest
from memory.runs.leases import DEFAULT_FLOW, Lease
from memory.runs.records import lease_of
from memory.scope import Access

LOOK_SECONDS = 1.0
"""Pause after which a worker looks for runs without having been told of any."""
_GRACE_SECONDS = 1.0

Take = Callable[[int], Awaitable[Sequence[Lease]]]
Lead = Callable[[Lease], Coroutine[Any, Any, None]]
_AcceptCode = Literal["ok", "busy", "conflict", "mismatch", "replay"]
_ACCEPT_CODES: tuple[_AcceptCode, ...] = get_args(_AcceptCode)


@dataclass(frozen=True, slots=True)
class RunStart:
    """A request that opens a thread of its own, and its answer; whatever goes on in a thread takes a transaction."""

    id: str
    """Of the run, and of its thread."""
    input: Mapping[str, Any]
    correlation: str
    budget: Mapping[str, int]
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    request: IdempotentRequest | None = None
    """Its key, under which the answer is kept."""
    flow: str = DEFAULT_FLOW

    def as_json(self) -> dict[str, Any]:
        """Return the run as the database takes it."""
        facts = {"id": self.id, "thread": self.id, "flow": self.flow}
        return {**facts, "input": self.input, "correlation": self.correlation, **self.budget}


class Queue:
    """Queued runs, as one process wakes others for them and takes them."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()

    async def defer(self, connection: Connection, run: str) -> None:
        """Have a worker look at a run of the entered tenant, if the caller's transaction commits."""
        with _translate_errors():
            await connection.execute("select wake_run(%s)", [run])

    async def accept(self, database: Database, access: Access, start: RunStart) -> Mapping[str, Any] | None:
        """Start a run on a thread of its own and have a worker look at it, in one statement.

        Returns what was answered if the request came before. Raises Permanent: `busy` as `records.start`, `conflict`
        and `idempotency_mismatch` as `idempotency.earlier_answer`.
        """
        request = start.request
        key = {**asdict(request), "answer": start.answer, "hours": idempotency.KEEP_HOURS} if request else {}
        row = await database.call(access, "accept_run", start.as_json(), key)
        code = member(_ACCEPT_CODES, row["code"], "accept_run")
        if request and code in ("conflict", "mismatch"):
            raise idempotency.at_work(request) if code == "conflict" else idempotency.mismatch(request)
        if code == "busy":
            raise records.busy(start.id, row["open_run"])
        return row["answer"]

    def ring(self) -> None:
        """Say that there may be runs to take."""
        self._bell.set()

    async def work(self, take: Take, lead: Lead, *, lanes: int) -> None:
        """Take runs and lead them until cancelled, at most `lanes` at once.

        What is under way then gets a second to end. Raises Temporary("unavailable") if the database goes away.
        """
        own_task, tasks = asyncio.current_task(), set[asyncio.Task[None]]()
        assert own_task is not None, "a coroutine runs in a task"
        try:
            # A statement that is cancelled just as it is answered does not tell.
            while not own_task.cancelling():
                self._bell.clear()
                with _translate_errors():
                    leases = await take(lanes - len(tasks))
                tasks |= {asyncio.create_task(lead(lease), name=f"run {lease.run}") for lease in leases}
                await self._rest(tasks, lanes)
                tasks = {task for task in tasks if not task.done()}
        finally:
            await _end(tasks)

    async def _rest(self, tasks: Collection[asyncio.Task[None]], lanes: int) -> None:
        """Return when there may be a run that can be led: none was left if lanes are free, until somebody rings."""
        if len(tasks) >= lanes:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._bell.wait()


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Give tasks a moment to end by themselves, then end them."""
    if tasks:
        await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def take(database: Database, worker: int, flows: Sequence[str], most: int) -> list[Lease]:
    """Take the oldest queued runs for a worker that knows these flows, at most so many."""
    async with database.worker() as connection:
        cursor = await connection.execute("select * from take_runs(%s, %s, %s)", [worker, list(flows), most])
        return [lease_of(row) for row in await cursor.fetchall()]


async def wake_workers(connection: Connection) -> None:
    """Have workers look for runs, if the caller's transaction commits."""
    await connection.execute("select pg_notify('runs', '')")


class Seat:
    """A worker's proof of life: a number, and a session lock on it that vanishes with the process."""

    def __init__(self, number: int, connection: Connection, url: str) -> None:
        self.number = number
        self._connection = connection
        self._url = url

    @classmethod
    @asynccontextmanager
    async def take(cls, url: str) -> AsyncGenerator["Seat"]:
        """Take a number that nobody had before and hold its lock until the block ends."""
        async with await Connection.connect(url, autocommit=True, row_factory=dict_row) as connection:
            cursor = await connection.execute("select nextval('public.worker_numbers')::int as number")
            number = int((await cursor.fetchone() or {})["number"])
            await connection.execute("select pg_advisory_lock(%s, %s)", [locks.WORKER, number])
            await connection.execute("listen runs")
            try:
                yield cls(number, connection, url)
            finally:
                # Said aloud, as the server takes a moment to notice that a connection is gone.
                with suppress(psycopg.Error):
                    await connection.execute("select pg_advisory_unlock(%s, %s)", [locks.WORKER, number])

    async def watch(self, ring: Callable[[], None]) -> None:
        """Ring for every notice; raises Temporary("unavailable") once the connection, and with it the lock, is gone."""
        try:
            async for _ in self._connection.notifies():
                ring()
        except psycopg.OperationalError as error:
            message = (
                "the worker lost its lock with its connection; it ends, and whoever starts it should start it anew"
            )
            raise Temporary("unavailable", message) from error

    async def guard(self, report: Callable[[], Awaitable[object]]) -> None:
        """Wait for the death of a neighbour, for ever, and report each at once."""
        own_task = asyncio.current_task()
        assert own_task is not None, "a coroutine runs in a task"
        while not own_task.cancelling():
            with suppress(psycopg.OperationalError):
                async with await Connection.connect(self._url, autocommit=True, row_factory=dict_row) as connection:
                    while await self._outlive(connection):
                        await report()
            await asyncio.sleep(LOOK_SECONDS)

    async def _outlive(self, connection: Connection) -> bool:
        """Return True when the neighbour has died, False if there is none."""
        while True:
            heed_cancellation()
            cursor = await connection.execute("select outlive_neighbour(%s) as has_died", [self.number])
            has_died = (await cursor.fetchone() or {})["has_died"]
            if has_died is not False:
                return has_died is True


@contextmanager
def _translate_errors() -> Generator[None]:
    """Raise Temporary("unavailable") where the driver raises its own error."""
    try:
        yield
    except psycopg.Error as error:
        raise Temporary("unavailable", f"the queue's database failed ({one_line(error)}); try again") from error
