"""Versioned knowledge over HTTP: list, search, show, and publish runbooks, facts and configuration."""

import base64
import json
from dataclasses import asdict, replace
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query
from pydantic import Field, model_validator

from app import auth
from app.api import views
from app.api.dependencies import CallerDep, Cursor, Limit, NotBlank, RequestBody, Services, ServicesDep, cursor
from app.api.start_run import invalid
from graphs.planning import runbooks
from memory.errors import Permanent
from memory.knowledge import versions
from memory.knowledge.models import (
    BODY_BYTES,
    LAST_VERSION,
    Day,
    ItemKind,
    KnowledgeItem,
    KnowledgeVersion,
    VersionStanding,
    check,
)

router = APIRouter(prefix="/api/knowledge", tags=["knowledge"])
_QUERY_CHARS = 2000
_LARGEST = 2**31 - 1


class Publication(RequestBody):
    """A new version of an item. A runbook's text says its title, owner, review date and version itself."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    kind: ItemKind
    title: Annotated[str, NotBlank, Field(max_length=200)] | None = None
    body: Annotated[str, NotBlank, Field(max_length=BODY_BYTES)]
    """Text that people can read: three words at least, and in UTF-8 at most 20,480 bytes."""
    owner: Annotated[str, NotBlank, Field(max_length=100)] | None = None
    review_by: Day | None = None
    note: Annotated[str, Field(max_length=500)] = ""
    version: Annotated[int, Field(ge=1, le=LAST_VERSION, strict=True)] | None = None
    """Unset means the next one, or the one that a runbook's text says."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind != "runbook" and not (self.title and self.owner and self.review_by):
            raise ValueError(f"a {self.kind} needs title, owner and review_by")
        return self


class VersionApproval(RequestBody):
    """One person's agreement that plans rest on a version that somebody else published."""

    reason: Annotated[str, Field(max_length=2000)] = ""


@router.get("", operation_id="list_knowledge")
async def ls(
    services: ServicesDep,
    caller: CallerDep,
    *,
    kind: ItemKind | None = None,
    id: str | None = None,
    limit: Limit = 100,
    after: Cursor = None,
) -> Any:
    """List current items, or with `id` the versions of one; `overdue` ones should have been reviewed by now."""
    rows = await versions.ls(
        services.database, caller.access, kind=kind, id=id, limit=limit + 1, after=_position(after)
    )
    items = rows[:limit]
    return {
        "items": [{k: v for k, v in _view(item, services).items() if k != "body"} for item in items],
        "next": cursor(items[-1].id, items[-1].version) if len(rows) > limit else None,
    }


@router.get("/search", operation_id="search_knowledge")
async def search(
    q: Annotated[str, NotBlank, Query(min_length=1)],
    services: ServicesDep,
    caller: CallerDep,
    kind: ItemKind = "runbook",
    limit: Annotated[int, Query(ge=1, le=50)] = 5,
) -> Any:
    """Find the current items of a kind that a text resembles most, with a score from 0 to 1; its beginning counts."""
    hits = await versions.find(
        services.database, caller.access, q[:_QUERY_CHARS], kind, limit, embedder=services.embedder
    )
    return {"items": [{k: v for k, v in asdict(hit).items() if k != "body"} for hit in hits]}


@router.get("/{id}", operation_id="show_knowledge")
async def show(
    id: str, services: ServicesDep, caller: CallerDep, version: Annotated[int | None, Query(ge=1, le=_LARGEST)] = None
) -> Any:
    """Show an item's text, the newest or exactly the version that a plan pinned, and who stands behind it."""
    item = await versions.show(services.database, caller.access, id, version)
    standing = await versions.standing(services.database, caller.access, id, item.version)
    return {**_view(item, services), **_standing(standing)}


@router.post("", status_code=201, operation_id="publish_knowledge")
async def publish(item: Publication, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Publish a version; open approvals that rest on an older one are void and their runs plan again. For operators.

    Who published a version does not decide what plans that rest on it ask, until another person approves it: the answer
    says who may. Where nobody could, it is refused (`no_approver_left`). An item keeps its kind. A review date that is
    over is refused, unless the version before has it already: mending an overdue text may not wait for its review.
    """
    auth.demand(caller.principal, *auth.OPERATORS)
    new_item = _runbook(item, services) if item.kind == "runbook" else KnowledgeItem(**item.model_dump())
    check(new_item)
    await _refuse_past(new_item, services, caller)
    attended = item.kind == "runbook" and any(step.effect != "read" for step in runbooks.parse(item.body).runbook.steps)
    publication = await versions.publish(services.database, caller.access, new_item, attended=attended)
    # The runs are queued already; if we die here, the workers' sweep finds them.
    async with services.database.transaction(caller.access) as connection:
        for run in publication.runs:
            await services.queue.defer(connection, run)
    standing = await versions.standing(services.database, caller.access, item.id, publication.version)
    receipt = {"id": item.id, "version": publication.version, "fresh": publication.is_new, "woken": publication.runs}
    return {**receipt, **_standing(standing)}


@router.post("/{id}/versions/{version}/approve", operation_id="approve_knowledge")
async def approve(
    id: str,
    version: Annotated[int, Path(ge=1, le=_LARGEST)],
    approval: VersionApproval,
    services: ServicesDep,
    caller: CallerDep,
) -> dict[str, Any]:
    """Agree that plans rest on a version: its publisher may decide then what they ask. For operators.

    Not for who published it (`author_excluded`). Again by the same person it changes nothing.
    """
    auth.demand(caller.principal, *auth.OPERATORS)
    is_new = await versions.approve(services.database, caller.access, id, version, approval.reason)
    standing = await versions.standing(services.database, caller.access, id, version)
    return {"id": id, "version": version, "fresh": is_new, **_standing(standing)}


def _standing(standing: VersionStanding) -> dict[str, Any]:
    candidates = [] if standing.is_countersigned else list(standing.candidates)
    return {
        "published_by": standing.publisher,
        "approved_by": list(standing.approvers),
        "countersigned": standing.is_countersigned,
        "may_approve": candidates,
    }


def _view(item: KnowledgeVersion, services: Services) -> dict[str, Any]:
    return views.jsonable({**asdict(item), "overdue": item.review_by < services.clock.now().date()})


def _position(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    try:
        id, version = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return str(id).replace("\0", ""), min(int(version), _LARGEST)
    except (ValueError, TypeError) as error:
        raise Permanent("bad_request", f"cursor {text!r} is not one that a list returned; leave it out") from error


def _runbook(item: Publication, services: Services) -> KnowledgeItem:
    """Return the item that a runbook's front matter describes; raises Permanent if the request contradicts it."""
    check(
        KnowledgeItem(
            item.id, "runbook", item.title or item.id, item.body, item.owner or "-", services.clock.now().date()
        )
    )
    document = runbooks.parse(item.body)
    document_item = runbooks.item(document)
    claims = item.model_dump(include={"id", "title", "owner", "review_by", "version"}, exclude_none=True)
    if other := {
        name: getattr(document_item, name) for name, value in claims.items() if getattr(document_item, name) != value
    }:
        differences = ", ".join(f"{name} {str(value)!r}" for name, value in other.items())
        raise Permanent("bad_request", f"the runbook's text says {differences}, the request does not; make them agree")
    if problems := runbooks.problems(document.runbook, services.catalog.cards):
        raise invalid(problems)
    return replace(document_item, note=item.note)


async def _refuse_past(item: KnowledgeItem, services: Services, caller: CallerDep) -> None:
    if item.review_by >= services.clock.now().date():
        return
    before = await versions.ls(services.database, caller.access, id=item.id, limit=1)
    if not any(version.review_by == item.review_by for version in before):
        raise Permanent("bad_request", f"the review date {item.review_by} of {item.id!r} is over; set one to come")
