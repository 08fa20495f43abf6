"""Stop switches over HTTP: anybody may pull one, operators release it."""

from typing import Annotated, Any, get_args

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from app import auth
from app.api.dependencies import Caller, CallerDep, NotBlank, RequestBody, Services, ServicesDep
from memory.errors import Permanent
from memory.governance import principals
from memory.runs import records
from tools import kills
from tools.action import Role
from tools.kills import Reach

router = APIRouter(prefix="/api/kills", tags=["kills"])
_ROLES: tuple[str, ...] = get_args(Role)


class KillRequest(RequestBody):
    """What to stop, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"kind": {"const": "all"}}},
            "then": {"properties": {"name": {"maxLength": 0}}},
            "else": {"required": ["name"], "properties": {"name": {"minLength": 1}}},
        }
    )

    kind: Reach
    name: Annotated[str, Field(max_length=200)] = ""
    """The run, agent role, tool or person; empty for all."""
    reason: Annotated[str, NotBlank, Field(max_length=1000)]


@router.get("", operation_id="list_kills")
async def ls(services: ServicesDep, caller: CallerDep) -> Any:
    """List the switches that are pulled."""
    return {"items": await kills.ls(services.database, caller.access)}


@router.post("", status_code=201, operation_id="kill")
async def kill(stop: KillRequest, services: ServicesDep, caller: CallerDep) -> Any:
    """Stop: once this answers, nothing within reach is claimed or sent again. Anybody may.

    `open` names what was claimed before and is not settled: of each, the send already under way may still arrive.
    `sessions` are processes of the database that hold up all claims and that only an administrator may end.
    """
    if (stop.kind == "all") == bool(stop.name):
        raise Permanent("bad_request", f"kind {stop.kind!r} {'takes no' if stop.name else 'needs a'} name")
    if stop.name:
        await _is_there(services, caller, stop)
    report = await kills.kill(services.database, caller.access, stop.kind, stop.name, stop.reason)
    return {
        "kind": stop.kind,
        "name": stop.name,
        "reason": stop.reason,
        "by": caller.principal.id,
        "open": report.open,
        "sessions": report.sessions,
    }


@router.get("/open", operation_id="list_open_claims")
async def open_claims(services: ServicesDep, caller: CallerDep, kind: Reach = "all", name: str = "") -> Any:
    """List what was claimed within reach and is not settled: of each at most the send under way may still arrive."""
    return {"items": await kills.open_claims(services.database, caller.access, kind, name)}


@router.delete("/all", operation_id="unkill_all")
async def unkill_all(services: ServicesDep, caller: CallerDep) -> dict[str, str]:
    """Release the switch that stops everything; for operators. Stopped runs stay so until they are resumed."""
    auth.demand(caller.principal, *auth.OPERATORS)
    await kills.unkill(services.database, caller.access, "all")
    return {"kind": "all", "name": ""}


@router.delete("/{kind}/{name}", operation_id="unkill")
async def unkill(kind: Reach, name: str, services: ServicesDep, caller: CallerDep) -> dict[str, str]:
    """Release one switch; for operators."""
    auth.demand(caller.principal, *auth.OPERATORS)
    await kills.unkill(services.database, caller.access, kind, name)
    return {"kind": kind, "name": name}


async def _is_there(services: Services, caller: Caller, stop: KillRequest) -> None:
    """Raise `not_found` for a name that stops nothing: who mistypes must not believe that it has stopped."""
    if stop.kind == "run":
        await records.get(services.database, caller.access, stop.name)
    elif stop.kind == "tool":
        services.catalog.get(stop.name)
    elif stop.kind == "user":
        await principals.require(services.database, caller.access, stop.name)
    elif stop.name not in _ROLES:
        raise Permanent("not_found", f"there is no agent role {stop.name!r}; there are {', '.join(_ROLES)}")
