"""A person's memory over HTTP: their own scope and the shared one, never anybody else's."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app import auth
from app.api import views
from app.api.parts import Body, By, Caller, Filled, Here, Limit, Parts
from memory import forgetting, porting, principals, pruning, reembedding, shelf, store
from memory.errors import Permanent
from memory.remembered import Memory, Provenance
from memory.scope import Principal

router = APIRouter(prefix="/api/memory", tags=["memory"])


class Remembered(Body):
    """Something to remember in the caller's own scope."""

    body: Annotated[str, Filled]
    key: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Subject; a new text on it replaces the old one."""
    ttl_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86400)] | None = None


class Pruning(Body):
    """How much of the caller's own scope stays; nothing leaves unless `expect` names the preview that was looked at."""

    facts: Annotated[int, Field(ge=0, le=100_000)] = pruning.STANDARD.facts
    episodes: Annotated[int, Field(ge=0, le=100_000)] = pruning.STANDARD.episodes
    expect: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """The `digest` of a preview; refused as a conflict if the choice is another one by now."""


class Import(Body):
    """Lines of an export."""

    lines: Annotated[list[str], Field(min_length=1, max_length=20_000)]


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
    found = await store.recall(parts.database, by.access, q, limit=limit, embedder=parts.embedder)
    hits = [{**_shown(hit.memory), "score": hit.score, "explain": dict(hit.explain)} for hit in found.hits]
    hidden = {name: getattr(found, name) for name in ("expired", "superseded", "below", "foreign")}
    return {"items": hits, "hidden": hidden}


@router.get("/embedder", operation_id="show_embedder")
async def embedder(parts: Here, by: By) -> Any:
    """Say what memory is searched with besides words, and how much of the tenant's still waits for its vectors."""
    waiting = await reembedding.waiting(parts.database, parts.embedder.id, tenant=by.principal.tenant)
    return {"embedder": parts.embedder.id, "waiting": asdict(waiting)}


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
        embedder=parts.embedder,
    )
    return _shown(memory)


@router.post("/prune", operation_id="prune_memories")
async def prune(wanted: Pruning, parts: Here, by: By) -> Any:
    """Show what would leave the caller's own scope, and why; with `expect`, archive exactly that and record it."""
    policy = pruning.Policy(facts=wanted.facts, episodes=wanted.episodes)
    if wanted.expect is None:
        return {"done": False, **_foreseen(await pruning.preview(parts.database, by.access, policy))}
    report = await pruning.prune(parts.database, by.access, policy, expect=wanted.expect)
    return {"done": True, **_foreseen(report.preview), "gone": report.gone, "archived": report.archived}


@router.get("/archive", operation_id="list_archived_memories")
async def archive(parts: Here, by: By, limit: Limit = 50) -> Any:
    """List what was pruned from the caller's scopes and can still be taken back, newest first."""
    return {"items": [views.jsonable(asdict(row)) for row in await shelf.ls(parts.database, by.access, limit=limit)]}


@router.post("/archive/{memory}/restore", operation_id="restore_memory")
async def restore(memory: str, parts: Here, by: By) -> Any:
    """Take back what was pruned from the caller's own scope."""
    return _shown(await shelf.restore(parts.database, by.access, memory, embedder=parts.embedder))


@router.get("/export", operation_id="export_memories", response_class=StreamingResponse)
async def export(parts: Here, by: By) -> StreamingResponse:
    """Export the caller's own scope as lines of JSON, history included, vectors not."""
    return StreamingResponse(_lines(parts, by), media_type="application/x-ndjson")


@router.post("/import", operation_id="import_memories")
async def take_in(file: Import, parts: Here, by: By) -> dict[str, int]:
    """Put exported lines into the caller's own scope, all or none; what is there already is counted, not copied."""
    taken, known = await porting.take_in(parts.database, by.access, file.lines, embedder=parts.embedder)
    return {"imported": taken, "known": known}


@router.delete("", operation_id="forget_person")
async def forget_person(
    person: Annotated[
        str, Query(min_length=1, max_length=100, description="whom, by name: oneself or, for admins, any")
    ],
    parts: Here,
    by: By,
) -> dict[str, Any]:
    """Forget a person: memories, copies, results and transcripts of their runs; the receipt stands in the journal."""
    if person != by.principal.id:
        auth.demand(by.principal, auth.ADMIN)
        await principals.exists(parts.database, by.access, person)
    whom = Principal(by.principal.tenant, person)
    return asdict(await forgetting.forget_person(parts.database, whom, by=by.principal.id))


@router.delete("/{memory}", operation_id="forget_memory")
async def forget(memory: str, parts: Here, by: By) -> dict[str, int]:
    """Forget one memory of the caller's own scope, with the older versions of its subject."""
    gone = await store.forget(parts.database, by.access, id=memory)
    if not gone:
        raise Permanent("not_found", f"you have no memory {memory!r}; `countersign memory ls` lists yours")
    return {"forgotten": gone}


async def _lines(parts: Parts, by: Caller) -> AsyncIterator[bytes]:
    async for line in porting.export(parts.database, by.access):
        yield f"{line}\n".encode()


def _foreseen(preview: pruning.Preview) -> dict[str, Any]:
    return {
        "scope": str(preview.scope),
        "policy": preview.policy,
        "held": preview.held,
        "reasons": preview.reasons,
        "leaving": [asdict(row) for row in preview.leaving],
        "digest": preview.digest,
    }


def _shown(memory: Memory) -> dict[str, Any]:
    return views.jsonable({**asdict(memory), "scope": str(memory.scope)})
