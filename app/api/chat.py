"""The chat: a message in, what becomes of it out, streamed or as one answer; it shows gates, never decides."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from app.api import idempotency, start_run, stream, views
from app.api.dependencies import Body, Caller, CallerDep, Services, ServicesDep
from app.api.problems import Refusal, trace_of
from memory.postgres.database import Connection
from memory.runs import endings, records
from memory.runs.records import ThreadState

router = APIRouter(tags=["chat"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
        "description": "events run, step, gate, progress, message, end; or one object when JSON alone is accepted",
    }
}


class ChatRequest(Body):
    """One message of the caller."""

    message: start_run.ChatMessage
    thread: start_run.ThreadId | None = None
    """Continue this conversation; unset starts one."""
    supersedes: bool = False
    """Cancel what the thread is busy with, void its open question, and start anew on a thread of its own."""


@router.post("/api/chat", operation_id="chat", responses=_ANSWERS)
async def chat(  # the framework passes each part of a request by name
    said: ChatRequest,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.Key = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Start a run with a message, or answer the question that the thread's run asked its requester."""

    async def work(connection: Connection) -> dict[str, Any]:
        return await _take(connection, services, caller, said=said, correlation=trace_of(request))

    keyed = idempotency.keyed(key, "POST /api/chat", said)
    begun, replayed = await idempotency.perform(services, caller, keyed, work)
    if "application/json" not in accept or "text/event-stream" in accept:
        headers = {"X-Run-Id": begun["run"], **({idempotency.REPLAYED: "true"} if replayed else {})}
        return stream.response(services, caller.access, begun["run"], begun["after"], headers)
    row = await stream.settled(services, caller.access, begun["run"])
    answer = JSONResponse(views.jsonable(views.answer(row)))
    idempotency.mark(answer, replayed)
    return answer


async def _take(
    connection: Connection, services: Services, caller: Caller, *, said: ChatRequest, correlation: str
) -> dict[str, Any]:
    thread = said.thread
    standing = await start_run.own(connection, caller, thread) if thread else None
    if standing and standing.open:
        if standing.waits_for == "clarify" and not said.supersedes:
            await records.answer(connection, standing.run, said.message)
            await services.queue.defer(connection, standing.run)
            return {"run": standing.run, "thread": thread, "after": standing.seq}
        if not said.supersedes:
            raise _busy(standing)
        reason = "superseded by a new message"
        await endings.cancel(services.database, connection, caller.access, standing.run, reason)
        thread = None
    request = start_run.RunRequest(said.message)
    return await start_run.begin(connection, services, request, thread=thread, correlation=correlation)


def _busy(standing: ThreadState) -> Refusal:
    waits = f"waits for approval {standing.waits_for!r}" if standing.waits_for else f"is {standing.status}"
    return Refusal(
        "busy",
        f"run {standing.run!r} of this thread {waits}; a message never decides: use the approval's own command, or "
        "send supersedes: true to cancel that run and start anew",
        run=standing.run,
        approval=standing.waits_for,
    )
