"""A person's memory over HTTP: their own scope and the shared one, never anybody else's."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import views
from app.api.parts import Body, By, Filled, Here, Limit
from memory import store
from memory.errors import Permanent
from memory.remembered import Memory, Provenance

router = APIRouter(prefix="/api/memory", tags=["memory"])


class Remembered(Body):
    """Something to remember in the caller's own scope."""

    body: Annotated[str, Filled]
    key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Subject; a new text on it replaces the old one."""
    ttl_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86400)] | None = None


@router.get("", operation_id="list_memories")
async def ls(parts: Here, by: By, limit: Limit = 50, cursor: str | None = None) -> Any:
    """List what the caller's scopes hold, newest first."""
    found = await store.ls(parts.database, by.access, limit=limit + 1, after=cursor)
    return {
        "items": [_shown(memory) for memory in found[:limit]],
        "next": found[limit - 1].id if len(found) > limit else None,
    }


@router.get("/search", operation_id="search_memories")
async def search(
    q: Annotated[str, Query(min_length=1, max_length=2000)], parts: Here, by: By, limit: Limit = 10
) -> Any:
    """Find similar memories in the caller's scopes; says how many were left out, and why."""
    found = await store.recall(parts.database, by.access, q, limit=limit)
    hits = [{**_shown(hit.memory), "score": hit.score, "explain": dict(hit.explain)} for hit in found.hits]
    hidden = {name: getattr(found, name) for name in ("expired", "superseded", "below", "foreign")}
    return {"items": hits, "hidden": hidden}


@router.post("", status_code=201, operation_id="add_memory")
async def add(note: Remembered, parts: Here, by: By) -> Any:
    """Remember a text in the caller's own scope."""
    memory = await store.remember(
        parts.database,
        by.access,
        note.body,
        trust="human",
        provenance=Provenance(principal=by.principal.id),
        key=note.key,
        ttl=timedelta(seconds=note.ttl_seconds) if note.ttl_seconds else None,
    )
    return _shown(memory)


@router.delete("/{memory}", operation_id="forget_memory")
async def forget(memory: str, parts: Here, by: By) -> dict[str, int]:
    """Forget one memory of the caller's own scope, with the older versions of its subject."""
    gone = await store.forget(parts.database, by.access, id=memory)
    if not gone:
        raise Permanent("not_found", f"you have no memory {memory!r}; `countersign memory ls` lists yours")
    return {"forgotten": gone}


def _shown(memory: Memory) -> dict[str, Any]:
    return views.jsonable({**asdict(memory), "scope": str(memory.scope)})
