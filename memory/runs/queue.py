"""Queue of runs to look at, on procrastinate; the API wakes runs of its callers, workers any, and take the jobs.

A job is a hint and never authority: whoever takes it must still lease the run row. That is why jobs carry no lock of
procrastinate's: the lock of a dead worker's job would keep its successor from the run, while the lease already keeps
two workers apart.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Set
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from memory.errors import Permanent, Temporary
from memory.postgres import limits, locks
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.postgres.liveness import Liveness
from memory.postgres.pools import CONNECT_SECONDS, RECONNECT_SECONDS
from memory.postgres.refusals import one_line
from memory.runs import idempotency, records
from memory.runs.idempotency import IdempotentRequest
from memory.runs.leases import DEFAULT_FLOW
from memory.scope import Access

_OPTIONS: dict[str, Any] = {
    "options": f"-c search_path=queue,public {limits.OPTIONS}",
    "connect_timeout": CONNECT_SECONDS,
}
_QUEUE = "runs"
# Jobs announce themselves; this bounds what comes in before a starting worker listens.
_POLL_SECONDS = 0.25
_GRACE_SECONDS = 1.0

Drive = Callable[[str], Awaitable[None]]
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
    """Jobs of one process; only a worker's takes them."""

    def __init__(self, jobs: tuple[App, AsyncConnectionPool[Any]] | None = None) -> None:
        self._jobs = jobs
        self._drive_run: Drive = _refuse_job
        if jobs:
            app, _ = jobs
            app.task(name="drive", queue=_QUEUE)(self._drive)

    @classmethod
    @asynccontextmanager
    async def open(cls, worker_url: str) -> AsyncGenerator["Queue"]:
        """Connect as a worker until the block ends; raises Temporary("unavailable") if nobody answers."""
        liveness = Liveness()
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            worker_url,
            kwargs=_OPTIONS,
            min_size=1,
            max_size=4,
            open=False,
            configure=liveness.begin,
            check=liveness.check,
            reconnect_timeout=RECONNECT_SECONDS,
        )
        liveness.watch(pool)
        try:
            await (await Connection.connect(worker_url, **_OPTIONS)).close()
            await pool.open(wait=True, timeout=CONNECT_SECONDS)
        except psycopg.OperationalError as error:
            raise Temporary("unavailable", "the queue's database does not answer; start it or wait") from error
        try:
            app = App(connector=PsycopgConnector())
            await app.open_async(pool)
            yield cls((app, pool))
        finally:
            await pool.close()

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

    async def work(self, drive: Drive, *, lanes: int) -> None:
        """Take jobs until cancelled, at most `lanes` at once; finished ones are deleted.

        Raises Temporary("unavailable") if the database goes away, Permanent("configuration") if this is no worker's.
        """
        if self._jobs is None:
            raise Permanent("configuration", "this process takes no jobs; set COUNTERSIGN_WORKER_DATABASE_URL")
        app, pool = self._jobs
        self._drive_run = drive
        # What ended the work before may have spoilt these sessions, as a database that took no writes does.
        await pool.drain()
        with _translate_errors():
            await app.run_worker_async(
                queues=[_QUEUE],
                concurrency=lanes,
                fetch_job_polling_interval=_POLL_SECONDS,
                shutdown_graceful_timeout=_GRACE_SECONDS,
                install_signal_handlers=False,
                delete_jobs="always",
            )

    async def _drive(self, run: str) -> None:
        await self._drive_run(run)


async def defer_any(connection: Connection, run: str) -> None:
    """Have a worker look at a run of whatever tenant; workers alone may."""
    await connection.execute("select wake_any_run(%s)", [run])


async def tidy(connection: Connection) -> None:
    """Delete jobs that ended, or whose worker died; their runs are found by their rows."""
    await connection.execute(
        "delete from queue.procrastinate_jobs where status not in ('todo', 'doing') "
        "or (status = 'doing' and worker_id is null)"
    )


async def with_jobs(connection: Connection, runs: Set[str]) -> set[str]:
    """Return those of these runs that have a job which nobody has taken yet."""
    cursor = await connection.execute(
        "select distinct args ->> 'run' as run from queue.procrastinate_jobs "
        "where status = 'todo' and args ->> 'run' = any(%s)",
        [list(runs)],
    )
    return {row["run"] for row in await cursor.fetchall()}


class Seat:
    """A worker's proof of life: a number, and a session lock on it that vanishes with the process."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def take(cls, url: str) -> AsyncGenerator["Seat"]:
        """Take a number that nobody had before and hold its lock until the block ends."""
        async with await Connection.connect(url, autocommit=True, row_factory=dict_row) as connection:
            cursor = await connection.execute("select nextval('public.worker_numbers')::int as number")
            number = int((await cursor.fetchone() or {})["number"])
            await connection.execute("select pg_advisory_lock(%s, %s)", [locks.WORKER, number])
            await connection.execute("listen countersign_worker")
            try:
                yield cls(number, connection)
            finally:
                # Said aloud, as the server takes a moment to notice that a connection is gone.
                with suppress(psycopg.Error):
                    await connection.execute("select pg_advisory_unlock(%s, %s)", [locks.WORKER, number])

    async def watch(self) -> None:
        """Wait for ever; raises Temporary("unavailable") once the connection, and with it the lock, is gone."""
        try:
            async for _ in self._connection.notifies():
                pass
        except psycopg.OperationalError as error:
            message = (
                "the worker lost its lock with its connection; it ends, and whoever starts it should start it anew"
            )
            raise Temporary("unavailable", message) from error


@contextmanager
def _translate_errors() -> Generator[None]:
    """Raise Temporary("unavailable") where procrastinate or the driver raises its own error."""
    try:
        yield
    except (ConnectorException, psycopg.Error) as error:
        reason = one_line(error.__cause__ or error)
        raise Temporary("unavailable", f"the queue's database failed ({reason}); try again") from error


async def _refuse_job(run: str) -> None:
    raise Permanent("configuration", f"nobody here looks at run {run!r}; start the queue's work first")
