"""Archived transcripts over HTTP: one's own to read and restore, anybody's for administrators, who also hold them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app import auth
from app.api import views
from app.api.dependencies import Caller, CallerDep, Cursor, Limit, Services, ServicesDep, cursor, moment
from memory.governance import principals
from memory.runs import transcripts
from memory.runs.checkpoints import Checkpoints

router = APIRouter(prefix="/api/transcripts", tags=["transcripts"])
PersonFilter = Annotated[str | None, Query(min_length=1, max_length=100, description="for administrators: whose")]


@router.get("", operation_id="list_transcripts")
async def ls(
    services: ServicesDep,
    caller: CallerDep,
    *,
    limit: Limit = 50,
    after: Cursor = None,
    person: PersonFilter = None,
) -> Any:
    """List archived threads of the caller, newest first; `packed` is unset once only a tombstone is left."""
    owner = person or caller.principal.id
    if owner != caller.principal.id:
        auth.demand(caller.principal, auth.ADMIN)
        await principals.require(services.database, caller.access, owner)
    rows = await transcripts.ls(services.database, caller.access, of=owner, limit=limit + 1, after=moment(after))
    items = rows[:limit]
    return {
        "items": [views.jsonable(views.transcript(row)) for row in items],
        "next": cursor(items[-1].archived_at, items[-1].thread) if len(rows) > limit else None,
    }


@router.get("/{thread}", operation_id="show_transcript")
async def show(thread: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Read a transcript without putting it back: its checkpoints, the state in the end, and what models were asked."""
    await _may_read(thread, services, caller)
    serializer = Checkpoints(services.database).serde
    content = await transcripts.show(services.database, caller.access, thread, serializer)
    return views.jsonable(views.transcript_content(content))


@router.post("/{thread}/restore", operation_id="restore_transcript")
async def restore(thread: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Put the checkpoints and prompts of a thread back where they were; the journal records it."""
    await _may_read(thread, services, caller)
    await transcripts.restore(services.database, caller.access, thread)
    return {"thread": thread, "restored": True}


@router.post("/{thread}/hold", operation_id="hold_transcript")
async def hold(thread: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Keep a transcript beyond its retention; its person cannot be forgotten then. For administrators."""
    return await _set_hold(thread, services, caller, on=True)


@router.delete("/{thread}/hold", operation_id="release_transcript")
async def release(thread: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """End a legal hold; from then on the retention counts again. For administrators."""
    return await _set_hold(thread, services, caller, on=False)


async def _may_read(thread: str, services: Services, caller: Caller) -> None:
    if await transcripts.owner(services.database, caller.access, thread) != caller.principal.id:
        auth.demand(caller.principal, auth.ADMIN)


async def _set_hold(thread: str, services: Services, caller: Caller, *, on: bool) -> dict[str, Any]:
    auth.demand(caller.principal, auth.ADMIN)
    await transcripts.set_legal_hold(services.database, caller.access, thread, on=on)
    return {"thread": thread, "hold": on}
