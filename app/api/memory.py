"""Memories over HTTP: the caller's own scope and the shared one, never anybody else's."""

import unicodedata
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime, Field

from app import auth
from app.api import views
from app.api.dependencies import (
    Caller,
    CallerDep,
    Cursor,
    Limit,
    NotBlank,
    RequestBody,
    Services,
    ServicesDep,
    cursor,
    moment,
)
from memory.errors import Permanent
from memory.governance import principals
from memory.maintenance import reembedding
from memory.scope import Principal
from memory.store import erasure, search, transfer, versions, write
from memory.store.models import Memory, Provenance
from memory.store.write import BODY_BYTES

router = APIRouter(prefix="/api/memory", tags=["memory"])
_QUERY_CHARS = 2000
"""Characters of a question that are searched for."""
_INVISIBLE = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that show nothing."""


def _require_readable(text: str) -> str:
    if not any(unicodedata.category(sign)[0] in "LNPS" and sign not in _INVISIBLE for sign in text):
        raise ValueError("this shows nothing")
    if (size := len(text.encode())) > BODY_BYTES:
        raise ValueError(f"this has {size:,} bytes and a memory at most {BODY_BYTES:,}; remember where it is kept")
    return text


def _normalize_subject(text: str) -> str:
    return _require_readable(unicodedata.normalize("NFC", text).strip())


Subject = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_normalize_subject)]
"""Two spellings of the same letters are one subject, and blanks around it do not count."""


class NewMemory(RequestBody):
    """Something to remember in the caller's own scope."""

    body: Annotated[str, Field(min_length=1, max_length=BODY_BYTES), AfterValidator(_require_readable)]
    """At least one sign that shows, and in UTF-8 at most 8,192 bytes."""
    key: Subject | None = None
    """Subject; a new text on it replaces the old one."""
    ttl_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86400, strict=True)] | None = None


class Import(RequestBody):
    """Lines of an export."""

    lines: Annotated[list[str], Field(min_length=1, max_length=20_000)]


@router.get("", operation_id="list_memories")
async def ls(
    services: ServicesDep,
    caller: CallerDep,
    limit: Limit = 50,
    after: Cursor = None,
) -> Any:
    """List what the caller's scopes hold, newest first."""
    rows = await search.ls(services.database, caller.access, limit=limit + 1, after=position(after))
    items = rows[:limit]
    next_cursor = cursor(items[-1].created, items[-1].id) if len(rows) > limit else None
    return {"items": [view(memory) for memory in items], "next": next_cursor}


@router.get("/search", operation_id="search_memories")
async def search_memories(
    q: Annotated[str, Query(min_length=1), NotBlank], services: ServicesDep, caller: CallerDep, limit: Limit = 10
) -> Any:
    """Find similar memories in the caller's scopes; says how many were left out, and why. A question's start counts."""
    result = await search.recall(
        services.database, caller.access, q[:_QUERY_CHARS], limit=limit, embedder=services.embedder
    )
    hits = [
        {**view(hit.memory), "score": hit.score, "similarity": hit.similarity, "explain": dict(hit.explain)}
        for hit in result.hits
    ]
    omissions = {
        "expired": result.expired_count,
        "superseded": result.superseded_count,
        "below": result.unrelated_count,
        "foreign": result.foreign_count,
    }
    return {"items": hits, "hidden": omissions}


@router.get("/as-of", operation_id="memory_as_of")
async def as_of(
    key: Annotated[Subject, Query()],
    valid: Annotated[AwareDatetime, Query(description="when it was so")],
    services: ServicesDep,
    caller: CallerDep,
    known: Annotated[AwareDatetime | None, Query(description="as far as it was known then; unset means now")] = None,
) -> Any:
    """Show the value that a subject had at a moment; what was pruned or has expired since is not found."""
    memory = await versions.as_of(services.database, caller.access, key, valid_at=valid, known_at=known)
    if memory is None:
        raise Permanent("not_found", f"nothing that is kept says what {key!r} was then")
    return view(memory)


@router.get("/embedder", operation_id="show_embedder")
async def embedder(services: ServicesDep, caller: CallerDep) -> Any:
    """Say what memory is searched with besides words, and how much of the tenant's still waits for its vectors."""
    waiting = await reembedding.backlog_of(services.database, caller.access, services.embedder.id)
    return {"embedder": services.embedder.id, "waiting": asdict(waiting)}


@router.post("", status_code=201, operation_id="add_memory")
async def add(note: NewMemory, services: ServicesDep, caller: CallerDep) -> Any:
    """Remember a text in the caller's own scope; one that is there already is `linked` and not stored again."""
    memory = await write.remember(
        services.database,
        caller.access,
        note.body,
        trust="human",
        provenance=Provenance(principal=caller.principal.id),
        key=note.key,
        ttl=timedelta(seconds=note.ttl_seconds) if note.ttl_seconds else None,
        embedder=services.embedder,
    )
    return {**view(memory), "linked": memory.is_repeat}


@router.get("/export", operation_id="export_memories", response_class=StreamingResponse)
async def export(services: ServicesDep, caller: CallerDep) -> StreamingResponse:
    """Export the caller's own scope as lines of JSON, history included, vectors not."""
    return StreamingResponse(_lines(services, caller), media_type="application/x-ndjson")


@router.post("/import", operation_id="import_memories")
async def take_in(file: Import, services: ServicesDep, caller: CallerDep) -> dict[str, int]:
    """Put exported lines into the caller's own scope, all or none; what is there already is counted, not copied."""
    imports, duplicates = await transfer.import_lines(
        services.database, caller.access, file.lines, embedder=services.embedder
    )
    return {"imported": imports, "known": duplicates}


@router.delete("", operation_id="forget_person")
async def forget_person(
    person: Annotated[
        str, Query(min_length=1, max_length=100, description="whom, by name: oneself or, for admins, any")
    ],
    services: ServicesDep,
    caller: CallerDep,
) -> dict[str, Any]:
    """Forget a person: memories, copies, results and transcripts of their runs; the receipt stands in the journal."""
    if person != caller.principal.id:
        auth.demand(caller.principal, auth.ADMIN)
        await principals.require(services.database, caller.access, person)
    principal = Principal(caller.principal.tenant, person)
    return asdict(await erasure.forget_person(services.database, principal, requester=caller.principal.id))


@router.get("/{memory}", operation_id="show_memory")
async def show(memory: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Show one memory with its origin, its times, and who told it again."""
    version = await versions.show(services.database, caller.access, memory.lower())
    links = await versions.tellings(services.database, caller.access, version.memory.id)
    return {**_version(version), "links": [views.jsonable(asdict(link)) for link in links]}


@router.get("/{memory}/history", operation_id="memory_history")
async def list_versions(memory: str, services: ServicesDep, caller: CallerDep) -> Any:
    """List the values that the subject of a memory has and had in its scope, as far as they are kept, newest first."""
    memory_version = await versions.show(services.database, caller.access, memory.lower())
    key, scope = memory_version.memory.key, memory_version.memory.scope
    history = (
        [memory_version] if key is None else await versions.versions(services.database, caller.access, key, scope=scope)
    )
    return {"items": [_version(version) for version in history]}


@router.post("/{memory}/pin", operation_id="pin_memory")
async def pin(memory: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Keep a memory of the caller's own scope from being pruned; the journal records it."""
    await versions.pin(services.database, caller.access, memory.lower(), on=True)
    return {"id": memory.lower(), "pinned": True}


@router.delete("/{memory}/pin", operation_id="unpin_memory")
async def unpin(memory: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Let a memory be pruned again when room is wanted."""
    await versions.pin(services.database, caller.access, memory.lower(), on=False)
    return {"id": memory.lower(), "pinned": False}


@router.delete("/{memory}", operation_id="forget_memory")
async def forget(memory: str, services: ServicesDep, caller: CallerDep) -> dict[str, int]:
    """Forget one memory of the caller's own scope, with every value of its subject, newer and archived ones too."""
    count = await erasure.forget(services.database, caller.access, id=memory.lower())
    if not count:
        raise Permanent("not_found", f"you have no memory {memory!r}; `countersign memory ls` lists yours")
    return {"forgotten": count}


async def _lines(services: Services, caller: Caller) -> AsyncIterator[bytes]:
    async for line in transfer.export(services.database, caller.access):
        yield f"{line}\n".encode()


def position(text: str | None) -> tuple[datetime, str] | None:
    """Return the (time, id) of the memory in a cursor; raises Permanent("bad_request")."""
    pair = moment(text)
    try:
        return pair and (pair[0], str(UUID(pair[1])))
    except ValueError as error:
        raise Permanent("bad_request", f"cursor {text!r} is not one that this list returned; leave it out") from error


def _version(version: versions.MemoryVersion) -> dict[str, Any]:
    times = {name: value for name, value in asdict(version).items() if name != "memory"}
    return {**view(version.memory), **views.jsonable(times)}


def view(memory: Memory) -> dict[str, Any]:
    """Return a memory as JSON, the same in every answer."""
    fields = {name: value for name, value in asdict(memory).items() if name not in ("is_repeat", "is_history")}
    return views.jsonable({**fields, "scope": str(memory.scope)})
