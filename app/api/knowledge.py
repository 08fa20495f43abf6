"""Knowledge over HTTP: what agents rest their plans on, version by version, and publishing a new one."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app import auth
from app.api import views
from app.api.intake import invalid
from app.api.parts import Body, By, Filled, Here, Limit, Parts
from graphs import runbooks
from memory import knowledge
from memory.errors import Permanent
from memory.items import Kind, Known

router = APIRouter(prefix="/api/knowledge", tags=["knowledge"])


class Publication(Body):
    """A new version of a knowledge item; a runbook's own front matter says its owner and review date."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    kind: Kind
    title: Annotated[str, Filled, Field(max_length=200)]
    body: Annotated[str, Filled]
    owner: Annotated[str, Filled, Field(max_length=100)]
    review_by: date
    note: Annotated[str, Field(max_length=500)] = ""
    version: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Unset means the next one."""


@router.get("", operation_id="list_knowledge")
async def ls(parts: Here, by: By, kind: Kind | None = None, id: str | None = None, limit: Limit = 100) -> Any:
    """List current items, or with `id` the versions of one; `overdue` ones should have been reviewed by now."""
    found = await knowledge.ls(parts.database, by.access, kind=kind, id=id, limit=limit)
    return {"items": [{k: v for k, v in _shown(item, parts).items() if k != "body"} for item in found]}


@router.get("/search", operation_id="search_knowledge")
async def search(
    q: Annotated[str, Query(min_length=1, max_length=2000)],
    parts: Here,
    by: By,
    kind: Kind = "runbook",
    limit: Annotated[int, Query(ge=1, le=50)] = 5,
) -> Any:
    """Find the current items of a kind that a text resembles most, with a score from 0 to 1."""
    found = await knowledge.find(parts.database, by.access, q, kind, limit, embedder=parts.embedder)
    return {"items": [{k: v for k, v in asdict(hit).items() if k != "body"} for hit in found]}


@router.get("/{id}", operation_id="show_knowledge")
async def show(id: str, parts: Here, by: By, version: Annotated[int | None, Query(ge=1, le=10**6)] = None) -> Any:
    """Show an item's text, the newest or exactly the version that a plan pinned."""
    return _shown(await knowledge.show(parts.database, by.access, id, version), parts)


@router.post("", status_code=201, operation_id="publish_knowledge")
async def publish(item: Publication, parts: Here, by: By) -> dict[str, Any]:
    """Publish a version; open approvals that rest on an older one are void and their runs plan again. For operators."""
    auth.demand(by.principal, *auth.OPERATORS)
    if item.kind == "runbook":
        _check_runbook(item, parts)
    wanted = knowledge.Item(**item.model_dump())
    published = await knowledge.publish(parts.database, by.access, wanted)
    # The runs are queued already; if we die here, the workers' sweep finds them.
    async with parts.database.transaction(by.access) as connection:
        for run in published.woken:
            await parts.queue.defer(connection, run)
    return {"id": item.id, **asdict(published)}


def _shown(item: Known, parts: Parts) -> dict[str, Any]:
    return views.jsonable({**asdict(item), "overdue": item.review_by < parts.clock.now().date()})


def _check_runbook(item: Publication, parts: Parts) -> None:
    runbook = runbooks.parse(item.body, version=item.version).runbook
    if runbook.id != item.id:
        raise Permanent("bad_request", f"the text is of runbook {runbook.id!r}, not of {item.id!r}; make them agree")
    if told := runbooks.problems(runbook, parts.catalog.cards):
        raise invalid(told)
