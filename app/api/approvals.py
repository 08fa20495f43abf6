"""Approvals over HTTP: list, show, and decide with one's own key; for people and the command line."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Response
from pydantic import Field, ValidationError

from app.api import idempotency, views
from app.api.dependencies import Caller, CallerDep, Limit, RequestBody, Services, ServicesDep, moment, page
from app.api.problems import Refusal
from memory.errors import CODES, Code, ControlError, Permanent
from memory.governance import approvals, limits
from memory.governance.approvals import Approval, VoteResult
from memory.postgres.database import Connection
from memory.runs import results
from tools.money import text

router = APIRouter(prefix="/api/approvals", tags=["approvals"])
_SAMPLE = 5


class DecisionRequest(RequestBody):
    """One person's answer to one round."""

    decision: Literal["approve", "reject", "edit", "ask"]
    nonce: Annotated[str, Field(min_length=1, max_length=200)]
    """The round's, as shown: a decision is for exactly what was read."""
    reason: Annotated[str, Field(max_length=2000)] = ""
    """Demanded for reject and edit; for ask, the question to the requester."""
    edited: Mapping[str, Any] | None = None
    """For edit: the complete new arguments."""
    channel: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")] = "api"


@router.get("", operation_id="list_approvals")
async def ls(  # the framework passes each part of a request by name
    services: ServicesDep,
    caller: CallerDep,
    *,
    status: approvals.ApprovalStatus | None = None,
    run: str | None = None,
    limit: Limit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """List rounds, newest first; narrow by `status` or `run`."""
    rows = await approvals.ls(
        services.database, caller.access, status=status, run=run, limit=limit + 1, before=moment(cursor)
    )
    return page(rows, limit, lambda approval: (approval.opened_at, approval.id), views.approval_summary)


@router.get("/{approval}", operation_id="show_approval")
async def show(approval: str, services: ServicesDep, caller: CallerDep, response: Response) -> dict[str, Any]:
    """Show one round: actions, amounts, a sample, evidence, backout, quorum, expiry, nonce, and what changed."""
    record = await approvals.show(services.database, caller.access, approval)
    response.headers["ETag"] = f'"{record.approval.nonce}"'
    return {**views.approval_view(record), "sample": await _sample(services, caller, record.approval)}


@router.post("/{approval}/decisions", operation_id="decide_approval")
async def decide(  # the framework passes each part of a request by name
    approval: str,
    decision: DecisionRequest,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.IdempotencyKey = None,
) -> dict[str, Any]:
    """Approve, reject, edit or ask; the answer says whether the round is closed, a refusal which decision won."""
    if decision.decision != "approve" and not decision.reason.strip():
        raise Permanent("bad_request", f"{decision.decision} needs a reason; say why")
    new_arguments = await _new_arguments(services, caller, approval, decision)

    async def work(connection: Connection) -> dict[str, Any]:
        receipt = await approvals.decide(
            connection,
            approval=approval,
            nonce=decision.nonce,
            decision=decision.decision,
            reason=decision.reason,
            channel=decision.channel,
            new_arguments=new_arguments,
        )
        if receipt.wakes_run and receipt.run:
            await services.queue.defer(connection, receipt.run)
        return _answer(approval, receipt)

    idempotent_request = idempotency.request_of(key, f"decide {approval}", decision)
    answer, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    # Raised only now: a refused vote is recorded, and an error inside would undo that.
    if answer["code"] != "ok":
        raise _refusal(answer, await _stake(services, caller, answer))
    idempotency.mark(response, is_replay)
    return answer


def _answer(approval: str, receipt: VoteResult) -> dict[str, Any]:
    names = ("code", "run", "status", "votes", "need")
    fields = {name: getattr(receipt, name) for name in names}
    return {"approval": approval, **fields, "decided_by": receipt.decider}


async def _stake(services: Services, caller: Caller, answer: Mapping[str, Any]) -> str:
    """Return what is too much for a voter, and in which currency they would need a limit."""
    if answer["code"] != "over_limit":
        return ""
    approval = (await approvals.show(services.database, caller.access, answer["approval"])).approval
    rows = await limits.ls(services.database, caller.access, caller.principal.id)
    limit = next((limit for limit in rows if limit.currency == approval.currency), None)
    if limit is None:
        return f"you have no limit in {approval.currency}; "
    ceiling = text(limit.alone if approval.need == 1 else limit.joint, limit.currency)
    return f"{text(approval.exposure, approval.currency)} is more than your limit of {ceiling}; "


def _refusal(answer: Mapping[str, Any], stake: str = "") -> Refusal:
    code = cast(Code, answer["code"]) if answer["code"] in CODES else "conflict"
    decider = f" by {answer['decided_by']!r}" if answer["decided_by"] else ""
    state = (
        f"it is {answer['status']}{decider}, {answer['votes']} of {answer['need']} approvals"
        if answer["status"]
        else ""
    )
    message = (
        f"your decision on approval {answer['approval']!r} does not count ({code}); {stake}{state or 'check the id'}"
    )
    details = {name: value for name, value in answer.items() if name not in ("code", "status")}
    return Refusal(code, message, **details, approval_status=answer["status"])


async def _new_arguments(
    services: Services, caller: Caller, approval: str, decision: DecisionRequest
) -> dict[str, Any] | None:
    if decision.decision != "edit":
        return None
    items = (await approvals.show(services.database, caller.access, approval)).items
    if len(items) != 1:
        raise Permanent("invalid_arguments", f"approval {approval!r} asks for {len(items)} actions together; "
                        "only a single action can be edited: reject it with a reason instead")  # fmt: skip
    tool = services.catalog.get(items[0].tool)
    try:
        # Strictly: a text is no number, whatever it looks like; forms convert where the person sees it.
        text = json.dumps(decision.edited or {})
        return tool.arguments.model_validate_json(text, strict=True).model_dump(mode="json")
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise Refusal(
            "invalid_arguments", f"{tool.name!r} does not take this: {'; '.join(problems)}", problems=problems
        ) from None


async def _sample(services: Services, caller: Caller, approval: Approval) -> list[Any]:
    part = _slice(approval.question)
    if part is None:
        return []
    rows = results.RunRows(services.database, caller.access, approval.run, approval.step)
    try:
        return list(await rows.sample(part, _SAMPLE))
    except ControlError:
        # The rows of an old round may be gone; what was asked is still worth showing.
        return []


def _slice(value: object) -> results.ResultSlice | None:
    if isinstance(value, Mapping):
        fields = cast(Mapping[str, object], value)
        if {"handle", "start", "count", "digest"} <= fields.keys():
            names = ("handle", "start", "count", "digest")
            return cast(results.ResultSlice, {"total": 0, **{name: fields[name] for name in names}})
        return next((part for item in fields.values() if (part := _slice(item))), None)
    if isinstance(value, list):
        return next((part for item in cast(list[object], value) if (part := _slice(item))), None)
    return None
