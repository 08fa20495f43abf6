"""Effects over HTTP: list, show, explain, prove, and resolve one in doubt; for people and the command line."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app import auth
from app.api import idempotency, views
from app.api.dependencies import CallerDep, ExtendedLog, Limit, NotBlank, RequestBody, ServicesDep
from memory.evidence import receipts
from memory.postgres.database import Connection
from tools import effect_account, effects, explanations
from tools.action import OutcomeState
from tools.effects import EffectRow

router = APIRouter(prefix="/api/effects", tags=["effects"])


class Resolution(RequestBody):
    """A person's finding about an effect in doubt."""

    state: Literal["done", "failed"]
    note: Annotated[str, NotBlank, Field(max_length=2000)]
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
    explanation = await explanations.explain(services.database, caller.access, effect)
    view = views.jsonable(explanation)
    trust = views.trust(view.pop("differs"), view.pop("row_only"))
    return {**view, **trust}


@router.get(
    "/{effect:path}/receipt", operation_id="effect_receipt", response_class=Response, dependencies=[ExtendedLog]
)
async def receipt(effect: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Prove one effect in less than 8 KiB: its entries, the paths to a head and its signature; takes an id or key."""
    row = await effects.show(services.database, caller.access, effect)
    async with services.database.transaction(caller.access) as connection:
        return Response(await receipts.receipt(connection, row.id), media_type="application/json")


@router.post("/{effect:path}/resolve", operation_id="resolve_effect")
async def resolve(  # the framework passes each part of a request by name
    effect: str,
    resolution: Resolution,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.IdempotencyKey = None,
) -> Any:
    """Say what became of an effect in doubt; for operators. Nothing is sent to the service."""
    auth.demand(caller.principal, *auth.OPERATORS)
    effect_id = (await effects.show(services.database, caller.access, effect)).id

    async def work(connection: Connection) -> dict[str, Any]:
        state, run = await effects.resolve(connection, effect_id, resolution.state, resolution.note)
        return {"effect": effect_id, "state": state, "run": run}

    idempotent_request = idempotency.request_of(key, f"resolve {effect}", resolution)
    answer, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    idempotency.mark(response, is_replay)
    return answer


@router.get("/{effect:path}", operation_id="show_effect")
async def show(effect: str, services: ServicesDep, caller: CallerDep) -> Any:
    """Show one effect by its id or its natural key; `advice` says what is known of one in doubt, and what to do."""
    account = await effect_account.show(services.database, caller.access, effect)
    trust = views.trust(account.differs, account.row_only)
    return {**views.jsonable(account.effect), "advice": _advice(account.effect), **trust}


def _advice(row: EffectRow) -> str:
    """Return what is known of an effect in doubt or unverified, and what people can do; empty for all others."""
    if row.state not in ("in_doubt", "unverified"):
        return ""
    return (
        f"sent {row.attempts} times, last at {row.sent or row.claimed:%Y-%m-%d %H:%M:%S} UTC, looked at {row.looks} "
        f"times: look at the service of {row.tool!r} for {row.send_key!r}, then say what you found with "
        f"`countersign effects resolve {row.id} done|failed --note ...`, or answer the question that its run has open"
    )
