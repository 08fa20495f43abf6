"""Effects over HTTP: what agents changed, why each was allowed, and a person's word where the outcome is unknown."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app import auth
from app.api import idempotency, views
from app.api.dependencies import Body, CallerDep, Filled, Limit, ServicesDep
from memory.postgres.database import Connection
from tools import effects
from tools.action import OutcomeState

router = APIRouter(prefix="/api/effects", tags=["effects"])


class Resolution(Body):
    """What a person found out about an effect in doubt."""

    state: Literal["done", "failed"]
    note: Annotated[str, Filled, Field(max_length=2000)]
    """How they know."""


@router.get("", operation_id="list_effects")
async def ls(
    services: ServicesDep,
    caller: CallerDep,
    run: str | None = None,
    state: OutcomeState | None = None,
    limit: Limit = 50,
) -> Any:
    """List effects, newest first; narrow by `run` or `state` (such as in_doubt)."""
    return {"items": await effects.ls(services.database, caller.access, run=run, state=state, limit=limit)}


@router.get("/{effect:path}/explain", operation_id="explain_effect")
async def explain(effect: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Tell the whole chain: request, person, plan, verdict, approvals, permit, response; takes an id or natural key."""
    return views.jsonable(await effects.explain(services.database, caller.access, effect))


@router.post("/{effect:path}/resolve", operation_id="resolve_effect")
async def resolve(  # the framework passes each part of a request by name
    effect: str,
    finding: Resolution,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.Key = None,
) -> Any:
    """Say what became of an effect in doubt; for operators. Nothing is sent to the service."""
    auth.demand(caller.principal, *auth.OPERATORS)
    meant = (await effects.show(services.database, caller.access, effect))["id"]

    async def work(connection: Connection) -> dict[str, Any]:
        state, run = await effects.resolve(connection, meant, finding.state, finding.note)
        return {"effect": meant, "state": state, "run": run}

    keyed = idempotency.keyed(key, f"resolve {effect}", finding)
    answer, replayed = await idempotency.perform(services, caller, keyed, work)
    idempotency.mark(response, replayed)
    return answer


@router.get("/{effect:path}", operation_id="show_effect")
async def show(effect: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Show one effect by its id or its natural key."""
    return views.jsonable(await effects.show(services.database, caller.access, effect))
