"""What runs exist, who leads each, and how it ends; the API starts and wakes them, workers lease and finish them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from memory.errors import LeaseLost, Permanent
from memory.postgres.database import Connection, Database
from memory.scope import Access, Principal, Scope

_COLUMNS = """id, thread, requester, status, reason, message, input, answers, correlation, plan, plan_hash, waits_for,
  attempt, fence, worker, cancel, seq, limit_tokens, spent_tokens, reserved_tokens, limit_micros, spent_micros,
  reserved_micros, limit_calls, spent_calls, reserved_calls, spent_millis, created, ended"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to lead a run until somebody with a higher fence takes it over."""

    run: str
    fence: int
    thread: str
    access: Access
    correlation: str
    input: Mapping[str, Any]


def access_of(principal: Principal, run: str, thread: str) -> Access:
    """Return what a run may see and write: its requester's scopes, its session, and its own working memory."""
    own = Scope("run", run)
    return Access(principal, (*principal.reads, Scope("session", f"{principal.id}/{thread}"), own), own)


async def start(  # one run has this many facts, and none has a default
    connection: Connection,
    *,
    id: str,
    thread: str,
    input: Mapping[str, Any],
    correlation: str,
    budget: Mapping[str, int],
) -> None:
    """Record a request as a queued run; the caller queues its wake-up in the same transaction.

    Raises Permanent("busy") if the thread has an open run.
    """
    request = {"id": id, "thread": thread, "input": input, "correlation": correlation, **budget}
    row = await _one(connection, "select * from start_run(%s)", Jsonb(request))
    if row["code"] == "busy":
        raise Permanent(
            "busy", f"thread {thread!r} has the open run {row['open_run']!r}; wait for it, cancel it, or say supersedes"
        )


async def lease(database: Database, run: str, worker: int) -> Lease | None:
    """Take a queued run for a worker; None if it is not waiting to be taken."""
    async with database.system() as connection:
        cursor = await connection.execute("select * from lease_run(%s, %s)", [run, worker])
        row = await cursor.fetchone()
    if row is None:
        return None
    access = access_of(Principal(row["tenant"], row["requester"]), row["id"], row["thread"])
    return Lease(row["id"], row["fence"], row["thread"], access, row["correlation"], row["input"])


async def sweep(connection: Connection, hung_seconds: float = 30) -> list[str]:
    """Queue again the runs of workers that died or hang; returns their ids, which need a wake-up each."""
    return await _ids(connection, "select id from sweep_runs(make_interval(secs => %s))", hung_seconds)


async def expire(connection: Connection) -> list[str]:
    """Close questions that nobody answered in time; returns the runs that wake."""
    return await _ids(connection, "select id from expire_approvals()")


async def overdue(connection: Connection, seconds: float) -> list[str]:
    """Return runs that have been queued for `seconds` without being taken: their wake-up may be lost."""
    return await _ids(connection, "select id from forgotten_runs(make_interval(secs => %s))", seconds)


async def beat(connection: Connection, worker: int) -> None:
    """Say that a worker is alive and working, for all its runs."""
    await connection.execute("select beat_runs(%s)", [worker])


async def adopt(
    database: Database,
    lease: Lease,
    *,
    plan: Mapping[str, Any],
    plan_hash: str,
    budget: Mapping[str, int],
    facts: Mapping[str, Any],
) -> None:
    """Make this the plan that the run follows, with its budget; journaled unless it is so already."""
    body = {"plan": plan, "hash": plan_hash, "facts": facts, **budget}
    row = await database.call(lease.access, "adopt_plan", lease.run, lease.fence, body)
    _still_ours(lease, row)


async def park(database: Database, lease: Lease, waits_for: str, answers: int = 0) -> Literal["waiting", "queued"]:
    """Let go of an interrupted run: waiting while its question is open, queued if that was answered meanwhile.

    `waits_for` is an approval id, or `clarify` with the number of answers already used.
    """
    row = await database.call(lease.access, "park_run", lease.run, lease.fence, waits_for, answers)
    _still_ours(lease, row)
    return "waiting" if row["status"] == "waiting" else "queued"


async def finish(
    connection: Connection,
    lease: Lease,
    *,
    status: Literal["done", "failed", "denied", "stopped", "cancelled"],
    reason: str | None,
    message: str,
    body: Mapping[str, Any],
) -> None:
    """End this attempt of the run with one terminal entry; raises LeaseLost if another worker leads it."""
    values = (lease.run, lease.fence, status, reason, message, Jsonb(body))
    _still_ours(lease, await _one(connection, "select * from finish_run(%s, %s, %s, %s, %s, %s)", *values))


async def resume(connection: Connection, run: str) -> None:
    """Queue a stopped run again; raises Permanent not_found, conflict or busy."""
    row = await _one(connection, "select * from resume_run(%s)", run)
    if row["code"] != "ok":
        raise _refused(run, row, "only stopped runs can be resumed")


async def cancel(connection: Connection, run: str, reason: str) -> str:
    """End a run, or tell a running one to stop before its next call; returns its status now."""
    row = await _one(connection, "select * from cancel_run(%s, %s)", run, reason)
    if row["code"] != "ok":
        raise _refused(run, row, "it has ended already")
    return row["status"]


async def answer(connection: Connection, run: str, text: str) -> None:
    """Give the requester's answer to a run that asked; raises Permanent not_found or conflict."""
    row = await _one(connection, "select * from answer_run(%s, %s)", run, text)
    if row["code"] != "ok":
        raise _refused(run, {**row, "status": ""}, "it is not waiting for an answer of yours")


async def get(database: Database, access: Access, run: str) -> dict[str, Any]:
    """Return everything recorded of one run; raises Permanent("not_found")."""
    found = await database.rows(access, f"select {_COLUMNS} from runs where id = %s and kind = 'run'", run)
    if not found:
        raise Permanent("not_found", f"there is no run {run!r}; `countersign runs ls` lists yours")
    return found[0]


async def ls(
    database: Database, access: Access, *, limit: int = 50, before: tuple[datetime, str] | None = None
) -> list[dict[str, Any]]:
    """Return runs, newest first, at most `limit`, older than the (created, id) of `before`."""
    since, last = before or (None, None)
    return await database.rows(
        access,
        f"select {_COLUMNS} from runs where kind = 'run' and (%s::timestamptz is null or (created, id) < (%s, %s)) "
        "order by created desc, id desc limit %s",
        since,
        since,
        last,
        limit,
    )


async def _one(connection: Connection, statement: str, *values: object) -> dict[str, Any]:
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchone() or {}


async def _ids(connection: Connection, statement: str, *values: object) -> list[str]:
    cursor = await connection.execute(statement.encode(), values)
    return [row["id"] for row in await cursor.fetchall()]


def _still_ours(lease: Lease, row: Mapping[str, Any]) -> None:
    if row["code"] == "lease_lost":
        raise LeaseLost(lease.run)


def _refused(run: str, row: Mapping[str, Any], why: str) -> Permanent:
    if row["code"] == "not_found":
        return Permanent("not_found", f"there is no run {run!r}; `countersign runs ls` lists yours")
    if row["code"] == "busy":
        return Permanent("busy", f"the thread of run {run!r} has another open run; end that first")
    return Permanent("conflict", f"run {run!r} is {row['status'] or 'in another state'}: {why}")


@dataclass(frozen=True, slots=True)
class ThreadState:
    """The newest run of a thread."""

    run: str
    owner: str
    """The person whose first message opened the thread."""
    status: str
    waits_for: str | None
    seq: int

    @property
    def open(self) -> bool:
        """Return whether the run has not ended."""
        return self.status in ("queued", "running", "waiting")


async def thread_state(connection: Connection, thread: str) -> ThreadState | None:
    """Return where a thread stands, or None if nobody has used it; locks nothing."""
    cursor = await connection.execute(
        "select id, requester, status, waits_for, seq from runs where thread = %s and kind = 'run' "
        "order by created desc, id desc limit 1",
        [thread],
    )
    row = await cursor.fetchone()
    return (
        None if row is None else ThreadState(row["id"], row["requester"], row["status"], row["waits_for"], row["seq"])
    )
