"""Tools over HTTP: the catalogue, and a call of one tool under the same rules as any agent, without a model."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.api import idempotency, start_run
from app.api.dependencies import CallerDep, RequestBody, Services, ServicesDep
from app.api.problems import Refusal, trace_of
from graphs.planning.plan import Plan
from tools import admission

router = APIRouter(prefix="/api/tools", tags=["tools"])


class ToolCall(RequestBody):
    """The arguments of one call."""

    args: Mapping[str, Any] = Field(default_factory=dict[str, Any])


@router.get("", operation_id="list_tools")
async def ls(services: ServicesDep, _caller: CallerDep) -> dict[str, Any]:
    """List the tools with what each may change."""
    names = ("name", "summary", "effect", "roles", "reversible")
    return {"items": [{name: getattr(card, name) for name in names} for card in services.catalog.cards.values()]}


@router.get("/{name}", operation_id="show_tool")
async def show(name: str, services: ServicesDep, _caller: CallerDep) -> dict[str, Any]:
    """Show a tool's card: schema, roles, cost, idempotency, how it is undone, how it can fail."""
    services.catalog.get(name)
    card = services.catalog.cards[name]
    return {name: value for name, value in asdict(card).items() if name != "arguments"}


@router.post("/{name}/call", status_code=202, operation_id="call_tool")
async def call(  # the framework passes each part of a request by name
    name: str,
    body: ToolCall,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    *,
    response: Response,
    key: idempotency.IdempotencyKey = None,
) -> Mapping[str, Any]:
    """Start a run whose plan is this one call: policy, approval, budget and journal are those of every action."""
    run_request = replace(start_run.from_plan(services, _plan(services, name, body.args)), tool_call=True)
    idempotent_request = idempotency.request_of(key, f"call {name}", body)
    receipt, is_replay = await start_run.accept(
        services, caller, run_request, key=idempotent_request, correlation=trace_of(request)
    )
    idempotency.mark(response, is_replay)
    response.headers["Location"] = f"/api/runs/{receipt['run']}"
    return receipt


def _plan(services: Services, name: str, args: Mapping[str, Any]) -> Plan:
    tool = services.catalog.get(name)
    if problems := admission.refusals(tool, args):
        raise Refusal("invalid_arguments", f"{name!r} does not take this: {'; '.join(problems)}", problems=problems)
    backout = tool.compensate and f"undone by {tool.compensate}"
    # A call without a runbook has no backout of its own: the tool's compensation or playbook stands for it.
    step = {
        "id": "call",
        "tool": name,
        "effect": tool.effect,
        "args": dict(args),
        "expect": "size(result) >= 0",
        "backout": backout or tool.playbook or f"see the service behind {name}",
    }
    return start_run.read({"id": f"call.{name}", "goal": f"call {name}", "steps": [step]})
