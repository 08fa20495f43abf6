"""Runs over HTTP: start, list, show, cancel, resume, journal and event stream."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from app import auth
from app.api import gates, idempotency, start_run, stream, views
from app.api.dependencies import Caller, CallerDep, Cursor, Limit, RequestBody, Services, ServicesDep, moment, page
from app.api.problems import trace_of
from memory.errors import Permanent
from memory.governance import journal
from memory.governance.journal import JournalEntry
from memory.postgres.database import Connection
from memory.runs import endings, outcomes, previews, records, run_story

router = APIRouter(prefix="/api/runs", tags=["runs"])


class ReasonRequest(RequestBody):
    """Reason of a person for cancelling."""

    reason: str = ""


@router.post("", status_code=202, operation_id="start_run")
async def start(  # the framework passes each part of a request by name
    body: start_run.Start,
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.IdempotencyKey = None,
) -> Mapping[str, Any]:
    """Start a run with a message, a runbook with inputs, or a complete plan; 422 lists what is wrong with a plan."""
    run_request = await start_run.understand(services, caller, body)
    correlation, thread = trace_of(request), body.thread
    idempotent_request = idempotency.request_of(key, "POST /api/runs", body)

    async def work(connection: Connection) -> dict[str, Any]:
        await start_run.own(connection, caller, str(thread))
        return await start_run.begin(
            connection, services, run_request, thread=thread, correlation=correlation, flow=body.flow
        )

    if thread:
        receipt, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    else:
        receipt, is_replay = await start_run.accept(
            services, caller, run_request, key=idempotent_request, correlation=correlation, flow=body.flow
        )
    idempotency.mark(response, is_replay)
    response.headers["Location"] = f"/api/runs/{receipt['run']}"
    return receipt


@router.get("", operation_id="list_runs")
async def ls(services: ServicesDep, caller: CallerDep, limit: Limit = 50, cursor: Cursor = None) -> dict[str, Any]:
    """List runs, newest first."""
    rows = await records.ls(services.database, caller.access, limit=limit + 1, before=moment(cursor))
    return page(rows, limit, lambda run: (run.created_at, run.id), views.summary)


@router.get("/{run}", operation_id="show_run")
async def show(run: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Show a run: plan, steps with their roles, progress, cost, results, the manual list and the open gate."""
    account = await run_story.show(services.database, caller.access, run)
    gate = await gates.open_gate(services, caller.access, account.run)
    step_outcomes = [asdict(step) for step in await outcomes.steps(services.database, caller.access, run)]
    view = {
        **views.run_view(account.run, account.entries),
        **views.trust(account.differs, account.row_only),
    }
    # Only whoever asked for the run sees any.
    rows = await previews.read(services.database, caller.access, run, view["result"].get("results") or {})
    return {**view, "rows": rows, "outcomes": step_outcomes, "gate": gate}


@router.post("/{run}/cancel", operation_id="cancel_run")
async def cancel(
    run: str,
    body: ReasonRequest,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.IdempotencyKey = None,
) -> Any:
    """End a run; one that is at work stops before its next call. For its requester and for operators."""
    await _may_steer(services, caller, run)

    async def work(connection: Connection) -> dict[str, Any]:
        reason = body.reason or "cancelled by a person"
        return {"run": run, "status": await endings.cancel(services.database, connection, caller.access, run, reason)}

    return await _steer(services, caller, response, idempotency.request_of(key, f"cancel {run}", body), work)


@router.post("/{run}/resume", operation_id="resume_run", status_code=202)
async def resume(
    run: str, response: Response, services: ServicesDep, caller: CallerDep, *, key: idempotency.IdempotencyKey = None
) -> Any:
    """Queue a stopped run again. For its requester and for operators."""
    await _may_steer(services, caller, run)

    async def work(connection: Connection) -> dict[str, Any]:
        await records.resume(connection, run)
        await services.queue.defer(connection, run)
        return {"run": run, "status": "queued"}

    return await _steer(services, caller, response, idempotency.request_of(key, f"resume {run}", ReasonRequest()), work)


@router.get("/{run}/journal", operation_id="run_journal")
async def read(
    run: str,
    services: ServicesDep,
    caller: CallerDep,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Limit = 100,
) -> Any:
    """Read what was recorded of a run, in order, from entry `after` on."""
    await records.get(services.database, caller.access, run)
    entries = await journal.read(services.database, caller.access, run, after=after, limit=limit)
    return {
        "items": [entry_view(entry) for entry in entries],
        "next": entries[-1].seq if len(entries) == limit else None,
    }


@router.get("/{run}/events", operation_id="run_events", response_class=Response)
async def events(
    run: str,
    services: ServicesDep,
    caller: CallerDep,
    last_event_id: Annotated[str, Header()] = "",
    after: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Follow a run: the same events as the chat's, after `Last-Event-ID`; the stream ends with the run."""
    await records.get(services.database, caller.access, run)
    if last_event_id and not (last_event_id.isdecimal() and len(last_event_id) < 10):
        raise Permanent("bad_request", f"Last-Event-ID {last_event_id!r} is no event id of this stream; leave it out")
    return stream.response(services, caller.access, run, int(last_event_id or min(after, 2**31 - 1)), {"X-Run-Id": run})


def entry_view(entry: JournalEntry) -> dict[str, Any]:
    """Return a journal entry as JSON, with its number and the hashes of the chain."""
    return {
        "run": entry.run,
        "seq": entry.seq,
        "prev": entry.prev.hex(),
        "hash": entry.hash.hex(),
        "body": entry.body,
    }


async def _may_steer(services: Services, caller: Caller, run: str) -> None:
    record = await records.get(services.database, caller.access, run)
    if record.requester != caller.principal.id:
        auth.demand(caller.principal, *auth.OPERATORS)


async def _steer(
    services: Services, caller: Caller, response: Response, idempotent_request: Any, work: idempotency.IdempotentWork
) -> dict[str, Any]:
    answer, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    idempotency.mark(response, is_replay)
    return answer
