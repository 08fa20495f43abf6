"""Pruning and the archive of memories over HTTP: preview, prune, restore, legal hold."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app import auth
from app.api import views
from app.api.dependencies import Caller, CallerDep, Cursor, Limit, RequestBody, Services, ServicesDep, cursor
from app.api.memory import position, view
from memory.governance import principals
from memory.store import archive, pruning

router = APIRouter(prefix="/api/memory", tags=["memory"])
Room = Annotated[int, Field(ge=0, le=100_000, strict=True)]


class Pruning(RequestBody):
    """Room of the caller's own scope; nothing leaves unless `expect` names the preview that a person read."""

    facts: Room = pruning.STANDARD.facts
    episodes: Room = pruning.STANDARD.episodes
    expect: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """The `digest` of a preview; refused as a conflict if the choice is another one by now."""


@router.post("/prune", operation_id="prune_memories")
async def prune(request: Pruning, services: ServicesDep, caller: CallerDep) -> Any:
    """Show what would leave the caller's own scope, and why; with `expect`, archive exactly that and record it."""
    policy = pruning.PruningPolicy(facts=request.facts, episodes=request.episodes)
    if request.expect is None:
        return {"done": False, **_view(await pruning.preview(services.database, caller.access, policy))}
    report = await pruning.prune(services.database, caller.access, policy, expect=request.expect)
    return {"done": True, **_view(report.preview), "gone": report.removal_count, "archived": report.archive_count}


@router.get("/archive", operation_id="list_archived_memories")
async def ls(
    services: ServicesDep,
    caller: CallerDep,
    *,
    limit: Limit = 50,
    after: Cursor = None,
    person: Annotated[str | None, Query(min_length=1, max_length=100, description="for administrators: whose")] = None,
) -> Any:
    """List what was pruned from the caller's scopes and can still be taken back, newest first.

    Of other people, administrators see when and why a memory left and whether it is held, never what it says.
    """
    if person is not None and person != caller.principal.id:
        auth.demand(caller.principal, auth.ADMIN)
        await principals.require(services.database, caller.access, person)
        entries = await archive.entries_of(services.database, caller.access, person, limit=limit)
        return {"items": [views.jsonable(asdict(row)) for row in entries], "next": None}
    rows = await archive.ls(services.database, caller.access, limit=limit + 1, after=position(after))
    items = rows[:limit]
    next_cursor = cursor(items[-1].pruned, items[-1].id) if len(rows) > limit else None
    return {"items": [views.jsonable(asdict(row)) for row in items], "next": next_cursor}


@router.post("/archive/{memory}/restore", operation_id="restore_memory")
async def restore(memory: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Take back what was pruned from the caller's own scope; as history, `superseded`, if its subject has a value."""
    back = await archive.restore(services.database, caller.access, memory.lower(), embedder=services.embedder)
    return {**view(back), "superseded": back.is_history}


@router.post("/archive/{memory}/hold", operation_id="hold_memory")
async def hold(memory: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Keep anybody's archived memory beyond its retention; its person cannot be forgotten then. For administrators."""
    return await _set_hold(memory.lower(), services, caller, on=True)


@router.delete("/archive/{memory}/hold", operation_id="release_memory")
async def release(memory: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """End a legal hold; from then on the retention counts again. For administrators."""
    return await _set_hold(memory.lower(), services, caller, on=False)


async def _set_hold(memory: str, services: Services, caller: Caller, *, on: bool) -> dict[str, Any]:
    auth.demand(caller.principal, auth.ADMIN)
    await archive.set_legal_hold(services.database, caller.access, memory, on=on)
    return {"id": memory, "hold": on}


def _view(preview: pruning.PruningPreview) -> dict[str, Any]:
    return {
        "scope": str(preview.scope),
        "policy": preview.policy,
        "held": preview.row_count,
        "reasons": preview.reasons,
        "leaving": [asdict(row) for row in preview.removals],
        "digest": preview.digest,
    }
