"""Chat over HTTP: a message in, an event stream or one JSON answer out; it shows gates and never decides."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from app.api import gates, idempotency, start_run, stream, views
from app.api.dependencies import Caller, CallerDep, RequestBody, Services, ServicesDep
from app.api.problems import Refusal, trace_of
from memory.postgres.database import Connection
from memory.runs import endings, records
from memory.runs.models import ThreadState

router = APIRouter(tags=["chat"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {"schema": stream.EVENT},
            "application/json": {"schema": {"type": "object"}},
        },
        "description": "events run, step, gate, progress, message, end; or one object when JSON alone is accepted",
    }
}


class ChatRequest(RequestBody):
    """One message of the caller."""

    message: start_run.ChatMessage
    thread: start_run.ThreadId | None = None
    """Continue this conversation; unset starts one."""
    flow: start_run.FlowName | None = None
    """Flow that leads the run; unset means the governed one."""
    supersedes: bool = False
    """Cancel what the thread is busy with, void its open question, and start anew on a thread of its own."""


@router.post("/api/chat", operation_id="chat", responses=_ANSWERS)
async def chat(  # the framework passes each part of a request by name
    body: ChatRequest,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.IdempotencyKey = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Start a run with a message, or answer the question that the thread's run asked its requester."""

    async def work(connection: Connection) -> dict[str, Any]:
        return await _take(connection, services, caller, body=body, correlation=trace_of(request))

    idempotent_request = idempotency.request_of(key, "POST /api/chat", body)
    if body.thread:
        receipt, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    else:
        start_run.check_flow(services, body.flow)
        receipt, is_replay = await start_run.accept(
            services,
            caller,
            start_run.RunRequest(body.message),
            key=idempotent_request,
            correlation=trace_of(request),
            flow=body.flow,
        )
    if "application/json" not in accept or "text/event-stream" in accept:
        headers = {"X-Run-Id": receipt["run"], **({idempotency.REPLAY_HEADER: "true"} if is_replay else {})}
        return stream.response(services, caller.access, receipt["run"], receipt["after"], headers)
    settlement = await gates.wait_for_end_or_gate(
        services, caller.access, receipt["run"], receipt["after"], is_fresh=not is_replay
    )
    answer = JSONResponse(views.jsonable(_answer(settlement)))
    idempotency.mark(answer, is_replay)
    return answer


def _answer(settlement: gates.Settlement) -> dict[str, Any]:
    """Return what the chat says of a run; of one that has ended, what the journal says of its end."""
    account = settlement.account
    trust = views.trust(account.differs, account.row_only) if account else views.trust((), ())
    return {**views.answer(settlement.run, settlement.gate), **trust}


async def _take(
    connection: Connection, services: Services, caller: Caller, *, body: ChatRequest, correlation: str
) -> dict[str, Any]:
    thread = body.thread
    state = await start_run.own(connection, caller, thread) if thread else None
    if state and state.is_open:
        if state.waits_for == "clarify" and not body.supersedes:
            await records.answer(connection, state.run, body.message)
            await services.queue.defer(connection, state.run)
            return {"run": state.run, "thread": thread, "after": state.seq}
        if not body.supersedes:
            raise _busy(state)
        reason = "superseded by a new message"
        await endings.cancel(services.database, connection, caller.access, state.run, reason)
        thread = None
    start_run.check_flow(services, body.flow)
    request = start_run.RunRequest(body.message)
    return await start_run.begin(connection, services, request, thread=thread, correlation=correlation, flow=body.flow)


def _busy(state: ThreadState) -> Refusal:
    waits = f"waits for approval {state.waits_for!r}" if state.waits_for else f"is {state.status}"
    return Refusal(
        "busy",
        f"run {state.run!r} of this thread {waits}; a message never decides: use the approval's own command, or "
        "send supersedes: true to cancel that run and start anew",
        run=state.run,
        approval=state.waits_for,
    )
