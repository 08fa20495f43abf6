"""API keys over HTTP, for administrators; `/api/me` for whoever holds one, and a claim for whoever is to have one."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from app import auth
from app.api import views
from app.api.dependencies import CallerDep, RequestBody, ServicesDep, address_of
from memory.errors import Permanent
from memory.governance import limits, principals

router = APIRouter(tags=["keys"])


class KeyRequest(RequestBody):
    """A key for an existing person."""

    person: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Unset means oneself; anybody else gets a code that they claim."""
    label: Annotated[str, Field(max_length=100)] = ""
    days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long it is valid."""


class KeyClaim(RequestBody):
    """The code of a key that somebody made for the sender."""

    code: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("/api/me", operation_id="me")
async def show_caller(services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Say whose key this is, with groups, limits, and every key that acts in this name.

    Limits are in minor units, first those in the currency of the accounts.
    """
    person = caller.principal
    rows = await limits.ls(services.database, caller.access, person.id)
    own = [{"currency": limit.currency, "alone": limit.alone, "joint": limit.joint} for limit in rows]
    accounts = {"limit_alone": person.limit_alone, "limit_joint": person.limit_joint, "currency": own[0]["currency"]}
    keys = [views.key(key) for key in await principals.keys_of(services.database, caller.access)]
    identity = {"person": person.id, "tenant": person.tenant, "groups": sorted(person.groups)}
    return {**identity, **accounts, "limits": own, "keys": keys}


@router.get("/api/keys", operation_id="list_keys")
async def ls(services: ServicesDep, caller: CallerDep) -> Any:
    """List the tenant's keys, without secrets; for administrators."""
    auth.demand(caller.principal, auth.ADMIN)
    return {"items": [views.key(key) for key in await principals.keys(services.database, caller.access)]}


@router.post("/api/keys", status_code=201, operation_id="create_key")
async def create(request: KeyRequest, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Make a key; its secret is in this answer and nowhere else. For administrators.

    For somebody else the secret is a code, which opens nothing but `POST /api/keys/claim`, once and for a week.
    """
    auth.demand(caller.principal, auth.ADMIN)
    person = request.person or caller.principal.id
    key = await principals.issue(services.database, caller.access, person, label=request.label, days=request.days)
    code = {"code": key.secret} if key.claim_until else {}
    return {**asdict(key), "days": request.days, **code}


@router.post("/api/keys/claim", status_code=201, operation_id="claim_key")
async def claim(request: KeyClaim, services: ServicesDep, http: Request) -> dict[str, Any]:
    """Take the key that waits for the sender; the code is all that is asked for, and is worth nothing afterwards.

    A second claim is refused (`key_claimed`) and recorded: somebody else may be acting in the sender's name.
    """
    try:
        key = await principals.claim(services.database, request.code)
    except Permanent as error:
        raise services.brake.refuse(address_of(http), error) from None
    return {"id": key.id, "person": key.person, "secret": key.secret}


@router.post("/api/keys/{key}/revoke", operation_id="revoke_key")
async def revoke(key: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """End a key at once; for administrators."""
    auth.demand(caller.principal, auth.ADMIN)
    await principals.revoke(services.database, caller.access, key)
    return {"id": key, "revoked": True}
