"""Run rows and their leases; the API starts, lists and wakes runs, workers lease, park and finish them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from memory.errors import LeaseLost, Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.runs import leases
from memory.runs.leases import DEFAULT_FLOW, Lease, access_of
from memory.runs.models import COLUMNS, RUN_STATUSES, EndStatus, Run, RunStatus, ThreadState, run_of, thread_state_of
from memory.scope import Access, Principal

_START_CODES: tuple[Literal["ok", "busy"], ...] = ("ok", "busy")
_LEAD_CODES: tuple[Literal["ok", "lease_lost"], ...] = ("ok", "lease_lost")
_STEER_CODES: tuple[Literal["ok", "not_found", "conflict", "busy"], ...] = ("ok", "not_found", "conflict", "busy")
_PARK_STATUSES: tuple[Literal["waiting", "queued"], ...] = ("waiting", "queued")


async def start(  # one run has this many facts, and none has a default
    connection: Connection,
    *,
    id: str,
    thread: str,
    input: Mapping[str, Any],
    correlation: str,
    budget: Mapping[str, int],
    flow: str = DEFAULT_FLOW,
) -> None:
    """Record a request as a queued run; the caller wakes a worker in the same transaction.

    Raises Permanent("busy") if the thread has an open run.
    """
    request = {"id": id, "thread": thread, "flow": flow, "input": input, "correlation": correlation, **budget}
    row = await _first_row(connection, "select * from start_run(%s)", Jsonb(request))
    if member(_START_CODES, row["code"], "start_run") == "busy":
        raise busy(thread, row["open_run"])


def busy(thread: str, run: str) -> Permanent:
    """Return that a thread has an open run."""
    return Permanent("busy", f"thread {thread!r} has the open run {run!r}; wait for it, cancel it, or say supersedes")


async def lease(database: Database, run: str, worker: int, flows: Sequence[str] = (DEFAULT_FLOW,)) -> Lease | None:
    """Take a queued run for a worker that knows these flows; None if it is not waiting to be taken by such a one."""
    async with database.worker() as connection:
        cursor = await connection.execute("select * from lease_run(%s, %s, %s)", [run, worker, list(flows)])
        row = await cursor.fetchone()
    return None if row is None else lease_of(row)


def lease_of(row: Mapping[str, Any]) -> Lease:
    """Return the lease that a row of `lease_run` says."""
    access = access_of(Principal(row["tenant"], row["requester"]), row["id"], row["thread"])
    return Lease(row["id"], row["fence"], row["thread"], access, row["correlation"], row["input"], row["flow"])


async def sweep(connection: Connection, silent_seconds: float = 30) -> list[str]:
    """Queue again the runs of workers that died or hang; returns their ids, which need a wake-up each."""
    return await _ids(connection, "select id from sweep_runs(make_interval(secs => %s))", silent_seconds)


async def expire(connection: Connection) -> list[str]:
    """Close questions that nobody answered in time; returns the runs that wake."""
    return await _ids(connection, "select id from expire_approvals()")


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
    """Make this the plan that the run follows, with its budget; journaled unless it is so already.

    Where a lease has luggage it waits for the checkpoint of the step that made it: both are saved, or neither.
    """
    body = {"plan": plan, "hash": plan_hash, "facts": facts, "checkpoint": lease.checkpoint or None, **budget}
    if lease.luggage is not None:
        lease.luggage.add_plan(body)
        return
    row = await database.call(lease.access, "adopt_plan", lease.run, lease.fence, body)
    _check_lease(lease, row, "adopt_plan")


async def park(database: Database, lease: Lease, waits_for: str, answers: int = 0) -> Literal["waiting", "queued"]:
    """Let go of an interrupted run: waiting while its question is open, queued if that was answered meanwhile.

    `waits_for` is an approval id, or `clarify` with the number of answers already used.
    """
    row = await leases.call(database, lease, "park_run", lease.run, lease.fence, waits_for, answers)
    _check_lease(lease, row, "park_run")
    return member(_PARK_STATUSES, row["status"], "park_run")


async def put_back(database: Database, lease: Lease) -> None:
    """Let go of a run that cannot go on at the moment: it is queued, and taken ten seconds later."""
    await database.call(lease.access, "put_run_back", lease.run, lease.fence)


async def finish(
    connection: Connection,
    lease: Lease,
    *,
    status: EndStatus,
    reason: str | None,
    message: str,
    body: Mapping[str, Any],
) -> None:
    """End this attempt of the run with one terminal entry; raises LeaseLost if another worker leads it."""
    values = (lease.run, lease.fence, status, reason, message, Jsonb(body))
    row = await _first_row(connection, "select * from finish_run(%s, %s, %s, %s, %s, %s)", *values)
    _check_lease(lease, row, "finish_run")


async def resume(connection: Connection, run: str) -> None:
    """Queue a stopped run again; raises Permanent not_found, conflict or busy."""
    row = await _first_row(connection, "select * from resume_run(%s)", run)
    _check_steering(run, row, "resume_run", "only stopped runs can be resumed")


async def cancel(connection: Connection, run: str, reason: str) -> RunStatus:
    """End a run, or tell a running one to stop before its next call; returns its status now.

    Raises Permanent not_found or conflict.
    """
    row = await _first_row(connection, "select * from cancel_run(%s, %s)", run, reason)
    _check_steering(run, row, "cancel_run", "it has ended already")
    return member(RUN_STATUSES, row["status"], "cancel_run")


async def answer(connection: Connection, run: str, text: str) -> None:
    """Give the requester's answer to a run that asked; raises Permanent not_found or conflict."""
    row = await _first_row(connection, "select * from answer_run(%s, %s)", run, text)
    _check_steering(run, {**row, "status": ""}, "answer_run", "it is not waiting for an answer of yours")


async def get(database: Database, access: Access, run: str) -> Run:
    """Return everything recorded of one run; raises Permanent("not_found")."""
    rows = await database.rows(access, f"select {COLUMNS} from runs where id = %s and kind = 'run'", run)
    if not rows:
        raise Permanent("not_found", f"there is no run {run!r}; `countersign runs ls` lists yours")
    return run_of(rows[0])


async def ls(
    database: Database, access: Access, *, limit: int = 50, before: tuple[datetime, str] | None = None
) -> list[Run]:
    """Return runs, newest first, at most `limit`, older than the (created, id) of `before`."""
    # Written only where it counts: an index can go on from there, and not from what may be null.
    older = "and (created, id) < (%s, %s)" if before else ""
    query = f"select {COLUMNS} from runs where kind = 'run' {older} order by created desc, id desc limit %s"
    rows = await database.rows(access, query, *(before or ()), limit)
    return [run_of(row) for row in rows]


async def _first_row(connection: Connection, statement: str, *values: object) -> dict[str, Any]:
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchone() or {}


async def _ids(connection: Connection, statement: str, *values: object) -> list[str]:
    cursor = await connection.execute(statement.encode(), values)
    return [row["id"] for row in await cursor.fetchall()]


def _check_lease(lease: Lease, row: Mapping[str, Any], function: str) -> None:
    if member(_LEAD_CODES, row["code"], function) == "lease_lost":
        raise LeaseLost(lease.run)


def _check_steering(run: str, row: Mapping[str, Any], function: str, reason: str) -> None:
    """Raise Permanent if a run could not be resumed, cancelled or answered; `reason` says why its status forbids it."""
    match member(_STEER_CODES, row["code"], function):
        case "ok":
            return
        case "not_found":
            raise Permanent("not_found", f"there is no run {run!r}; `countersign runs ls` lists yours")
        case "busy":
            raise Permanent("busy", f"the thread of run {run!r} has another open run; end that first")
        case "conflict":
            raise Permanent("conflict", f"run {run!r} is {row['status'] or 'in another state'}: {reason}")


async def thread_state(connection: Connection, thread: str) -> ThreadState | None:
    """Return where a thread stands, or None if nobody has used it; locks nothing."""
    cursor = await connection.execute(
        "select id, requester, status, waits_for, seq from runs where thread = %s and kind = 'run' "
        "order by created desc, id desc limit 1",
        [thread],
    )
    row = await cursor.fetchone()
    return None if row is None else thread_state_of(row)
