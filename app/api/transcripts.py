"""Archived transcripts over HTTP: one's own to read and take back, anybody's for administrators, who also hold them."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app import auth
from app.api import views
from app.api.dependencies import Caller, CallerDep, Limit, Services, ServicesDep, cursor, moment
from memory.governance import principals
from memory.runs import transcripts

router = APIRouter(prefix="/api/transcripts", tags=["transcripts"])
Person = Annotated[str | None, Query(min_length=1, max_length=100, description="for administrators: whose")]


@router.get("", operation_id="list_transcripts")
async def ls(
    services: ServicesDep,
    caller: CallerDep,
    *,
    limit: Limit = 50,
    after: Annotated[str | None, Query(alias="cursor")] = None,
    person: Person = None,
) -> Any:
    """List archived threads of the caller, newest first; `packed` is unset once only a tombstone is left."""
    whose = person or caller.principal.id
    if whose != caller.principal.id:
        auth.demand(caller.principal, auth.ADMIN)
        await principals.require(services.database, caller.access, whose)
    found = await transcripts.ls(services.database, caller.access, of=whose, limit=limit + 1, after=moment(after))
    shown = found[:limit]
    return {
        "items": [views.jsonable(asdict(one)) for one in shown],
        "next": cursor(shown[-1].archived, shown[-1].thread) if len(found) > limit else None,
    }


@router.get("/{thread}", operation_id="show_transcript")
async def show(thread: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Read a transcript without putting it back: its checkpoints, the state in the end, and what models were asked."""
    await _may_read(thread, services, caller)
    told = asdict(await transcripts.show(services.database, caller.access, thread))
    return views.jsonable({**told.pop("transcript"), **told})


@router.post("/{thread}/restore", operation_id="restore_transcript")
async def restore(thread: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Put the checkpoints and prompts of a thread back where they were; the journal records it."""
    await _may_read(thread, services, caller)
    await transcripts.restore(services.database, caller.access, thread)
    return {"thread": thread, "restored": True}


@router.post("/{thread}/hold", operation_id="hold_transcript")
async def hold(thread: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Keep a transcript beyond its retention; its person cannot be forgotten then. For administrators."""
    return await _held(thread, services, caller, on=True)


@router.delete("/{thread}/hold", operation_id="release_transcript")
async def release(thread: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """End a legal hold; from then on the retention counts again. For administrators."""
    return await _held(thread, services, caller, on=False)


async def _may_read(thread: str, services: Services, caller: Caller) -> None:
    if await transcripts.owner(services.database, caller.access, thread) != caller.principal.id:
        auth.demand(caller.principal, auth.ADMIN)


async def _held(thread: str, services: Services, caller: Caller, *, on: bool) -> dict[str, Any]:
    auth.demand(caller.principal, auth.ADMIN)
    await transcripts.set_legal_hold(services.database, caller.access, thread, on=on)
    return {"thread": thread, "hold": on}
