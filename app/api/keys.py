"""API keys over HTTP, for administrators; and `/api/me` for whoever holds one."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app import auth
from app.api import views
from app.api.dependencies import CallerDep, RequestBody, ServicesDep
from memory.governance import limits, principals

router = APIRouter(tags=["keys"])


class KeyRequest(RequestBody):
    """A key for an existing person."""

    person: Annotated[str, Field(min_length=1, max_length=63)]
    label: Annotated[str, Field(max_length=100)] = ""
    days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long it is valid."""


@router.get("/api/me", operation_id="me")
async def show_caller(services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Say whose key this is, with groups, and limits in minor units: first those in the currency of the accounts."""
    person = caller.principal
    rows = await limits.ls(services.database, caller.access, person.id)
    own = [{"currency": limit.currency, "alone": limit.alone, "joint": limit.joint} for limit in rows]
    accounts = {"limit_alone": person.limit_alone, "limit_joint": person.limit_joint, "currency": own[0]["currency"]}
    return {"person": person.id, "tenant": person.tenant, "groups": sorted(person.groups), **accounts, "limits": own}


@router.get("/api/keys", operation_id="list_keys")
async def ls(services: ServicesDep, caller: CallerDep) -> Any:
    """List the tenant's keys, without secrets; for administrators."""
    auth.demand(caller.principal, auth.ADMIN)
    return {"items": [views.key(key) for key in await principals.keys(services.database, caller.access)]}


@router.post("/api/keys", status_code=201, operation_id="create_key")
async def create(request: KeyRequest, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Make a key for a person; its secret is in this answer and nowhere else. For administrators."""
    auth.demand(caller.principal, auth.ADMIN)
    key = await principals.issue(
        services.database, caller.access, request.person, label=request.label, days=request.days
    )
    return {**asdict(key), "days": request.days}


@router.post("/api/keys/{key}/revoke", operation_id="revoke_key")
async def revoke(key: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """End a key at once; for administrators."""
    auth.demand(caller.principal, auth.ADMIN)
    await principals.revoke(services.database, caller.access, key)
    return {"id": key, "revoked": True}
