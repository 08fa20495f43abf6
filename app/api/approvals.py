"""Approvals over HTTP: list, show, decide with one's own key, take an edit over; for people and the command line."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from app.api import idempotency, views
from app.api.dependencies import Caller, CallerDep, Cursor, Limit, RequestBody, Services, ServicesDep, moment, page
from app.api.problems import Refusal
from memory.errors import CODES, Code, Permanent
from memory.governance import approvals, authors, limits, rounds
from memory.governance.approvals import Approval, VoteResult
from memory.postgres.database import Connection
from memory.runs import previews
from memory.runs.rows import MIXED
from tools import admission, arguments
from tools.action import Action
from tools.approval_request import foresee
from tools.money import text
from tools.tool import Tool

router = APIRouter(prefix="/api/approvals", tags=["approvals"])
_SAMPLE = 5
_NO_TAKE_OVER: Mapping[authors.TakeOverCode, str] = {
    "not_found": "there is no approval {!r}; `countersign approvals ls` lists the open ones",
    "forbidden": "only who asked for approval {!r} takes an edit of it over; ask them",
    "approval_void": "approval {!r} is void; read the round that replaced it",
    "approval_decided": "approval {!r} is decided already; read the decision that won",
    "approval_expired": "the time of approval {!r} is over; start it again when people are there",
    "wrong_nonce": "that is not the nonce of the edit as approval {!r} shows it; read it again",
    "no_approver_left": "also as your request, too few people could approve that edit of {!r}; add somebody first",
    "conflict": "nobody edited approval {!r}; there is nothing to take over",
}


class DecisionRequest(RequestBody):
    """One person's answer to one round."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"decision": {"const": "approve"}}},
            "else": {"required": ["reason"], "properties": {"reason": {"minLength": 1, "pattern": r"\S"}}},
        }
    )

    decision: Literal["approve", "reject", "edit", "take_back", "ask"]
    nonce: Annotated[str, Field(min_length=1, max_length=200)]
    """The round's, as shown: a decision is for exactly what was read."""
    reason: Annotated[str, Field(max_length=2000)] = ""
    """Demanded for all but approve; for ask, the question to the requester."""
    edited: Mapping[str, Any] | None = None
    """For edit: the complete new arguments."""
    channel: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")] = "api"


class TakeOverRequest(RequestBody):
    """The requester's acceptance of an edit as a request of their own."""

    nonce: Annotated[str, Field(min_length=1, max_length=200)]
    """Of the `proposal` that is shown, or of the round that an edit led to."""
    channel: Annotated[str, Field(pattern=r"^[a-z]{1,20}$")] = "api"


@router.get("", operation_id="list_approvals")
async def ls(  # the framework passes each part of a request by name
    services: ServicesDep,
    caller: CallerDep,
    *,
    status: approvals.ApprovalStatus | None = None,
    run: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List rounds, newest first; narrow by `status` or `run`."""
    rows = await approvals.ls(
        services.database, caller.access, status=status, run=run, limit=limit + 1, before=moment(cursor)
    )
    return page(rows, limit, lambda approval: (approval.opened_at, approval.id), views.approval_summary)


@router.get("/{approval}", operation_id="show_approval")
async def show(approval: str, services: ServicesDep, caller: CallerDep, response: Response) -> dict[str, Any]:
    """Show one round: actions, amounts, a sample, evidence, backout, quorum, expiry, nonce, and what changed."""
    account = await rounds.show(services.database, caller.access, approval)
    record = account.record
    people = await authors.deciders(services.database, caller.access, _terms(record.approval))
    response.headers["ETag"] = f'"{record.approval.nonce}"'
    view = {**views.approval_view(record, people), **views.trust(account.differs, account.row_only)}
    return {**view, "sample": await previews.sample(services.database, caller.access, approval, _SAMPLE)}


def _terms(approval: Approval) -> dict[str, Any]:
    """Return what people were asked, so that nothing else says who may still decide."""
    names = ("need", "exposure", "currency", "requester", "requester_excluded")
    terms = {name: getattr(approval, name) for name in names}
    return {"approval": approval.id, **terms, "groups": list(approval.groups), "authors": list(approval.authors)}


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
    """Approve, reject, edit or ask; the answer says whether the round is closed, a refusal which decision won.

    A round of kind `audit` is about what was done: approve accepts it, `take_back` undoes it, reject leaves it.
    """
    if decision.decision != "approve" and not decision.reason.strip():
        raise Permanent("bad_request", f"{decision.decision} needs a reason; say why")
    edit = await _edit(services, caller, approval, decision) if decision.decision == "edit" else {}

    async def work(connection: Connection) -> dict[str, Any]:
        receipt = await approvals.decide(
            connection,
            approval=approval,
            nonce=decision.nonce,
            decision=decision.decision,
            reason=decision.reason,
            channel=decision.channel,
            credential=caller.credential,
            **edit,
        )
        if receipt.wakes_run and receipt.run:
            await services.queue.defer(connection, receipt.run)
        return _answer(approval, receipt)

    idempotent_request = idempotency.request_of(key, f"decide {approval}", decision)
    answer, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    # Raised only now: a refused vote is recorded, and an error inside would undo that.
    if answer["code"] != "ok":
        raise _refusal(answer, await _remedy(services, caller, answer, edit.get("demand")))
    idempotency.mark(response, is_replay)
    return answer


@router.post("/{approval}/take-over", operation_id="take_over_approval")
async def take_over(  # the framework passes each part of a request by name
    approval: str,
    request: TakeOverRequest,
    response: Response,
    services: ServicesDep,
    caller: CallerDep,
    *,
    key: idempotency.IdempotencyKey = None,
) -> dict[str, Any]:
    """Make an edit a request of one's own, as the requester: who wrote it may decide again, and the requester does not.

    A refused edit, named by its nonce in `proposal`, ends the round and is asked about anew; of an edit that was taken,
    named by the nonce of the round after it, that round goes on.
    """

    async def work(connection: Connection) -> dict[str, Any]:
        receipt = await authors.take_over(
            connection,
            approval=approval,
            nonce=request.nonce,
            channel=request.channel,
            credential=caller.credential,
        )
        if receipt.code != "ok":
            raise Refusal(receipt.code, _NO_TAKE_OVER[receipt.code].format(approval), approval_status=receipt.status)
        if receipt.wakes_run and receipt.run:
            await services.queue.defer(connection, receipt.run)
        return {"approval": approval, "run": receipt.run, "status": receipt.status, "editors": list(receipt.editors)}

    idempotent_request = idempotency.request_of(key, f"take over {approval}", request)
    answer, is_replay = await idempotency.perform(services, caller, idempotent_request, work)
    idempotency.mark(response, is_replay)
    return answer


def _answer(approval: str, receipt: VoteResult) -> dict[str, Any]:
    names = ("code", "run", "status", "votes", "need")
    fields = {name: getattr(receipt, name) for name in names}
    return {"approval": approval, **fields, "decided_by": receipt.decider}


async def _remedy(
    services: Services, caller: Caller, answer: Mapping[str, Any], demand: Mapping[str, Any] | None
) -> str:
    """Return what can be done about a refusal, or why it came to be; empty where its code says all."""
    match answer["code"]:
        case "no_approver_left":
            return await _alternatives(services, caller, answer["approval"], demand)
        case "over_limit":
            return await _stake(services, caller, answer["approval"])
        case _:
            return ""


async def _alternatives(services: Services, caller: Caller, approval_id: str, demand: Mapping[str, Any] | None) -> str:
    """Return who could be added or asked where an edit would leave nobody to approve it."""
    approval = (await approvals.show(services.database, caller.access, approval_id)).approval
    question = {"approval": approval.id, "need": approval.need, "groups": approval.groups, **(demand or {})}
    shortage = await authors.shortage(services.database, caller.access, {**question, "author": caller.principal.id})
    return (
        f"; {shortage}; or let {approval.requester!r} take it over as a request of their own "
        f"(`countersign approvals take-over {approval.id}`)"
    )


async def _stake(services: Services, caller: Caller, approval_id: str) -> str:
    """Return what is too much for a voter, and in which currency they would need a limit."""
    approval = (await approvals.show(services.database, caller.access, approval_id)).approval
    if approval.currency == MIXED:
        return "; it is about several currencies, for which nobody has a limit: have it taken back, or reject it"
    rows = await limits.ls(services.database, caller.access, caller.principal.id)
    limit = next((limit for limit in rows if limit.currency == approval.currency), None)
    if limit is None:
        return f"; you have no limit in {approval.currency}"
    ceiling = text(limit.alone if approval.need == 1 else limit.joint, limit.currency)
    return f"; {text(approval.exposure, approval.currency)} is more than your limit of {ceiling}"


def _refusal(answer: Mapping[str, Any], remedy: str) -> Refusal:
    code = cast(Code, answer["code"]) if answer["code"] in CODES else "conflict"
    decider = f" by {answer['decided_by']!r}" if answer["decided_by"] else ""
    state = (
        f"it is {answer['status']}{decider}, {answer['votes']} of {answer['need']} approvals"
        if answer["status"]
        else ""
    )
    message = (
        f"your decision on approval {answer['approval']!r} does not count ({code}); {state or 'check the id'}{remedy}"
    )
    details = {name: value for name, value in answer.items() if name not in ("code", "status")}
    return Refusal(code, message, **details, approval_status=answer["status"])


async def _edit(services: Services, caller: Caller, approval: str, decision: DecisionRequest) -> dict[str, Any]:
    """Return the new arguments of an edit and, if policies are at hand, whom they would ask about it."""
    record = await approvals.show(services.database, caller.access, approval)
    if record.approval.kind == "audit":
        message = f"approval {approval!r} asks about what was done; accept it, take it back or reject it with a reason"
        raise Permanent("wrong_decision", message)
    if len(record.items) != 1:
        raise Permanent("invalid_arguments", f"approval {approval!r} asks for {len(record.items)} actions together; "
                        "only a single action can be edited: reject it with a reason instead")  # fmt: skip
    tool = services.catalog.get(record.items[0].tool)
    new_arguments = _strict_arguments(tool, decision.edited or {})
    if services.rules is None:
        return {"new_arguments": new_arguments}
    action = Action(
        run=record.approval.run,
        step=record.approval.step,
        role="executor",
        tool=tool.name,
        args=new_arguments,
        plan_hash=record.approval.plan_hash,
        user=record.approval.requester,
    )
    return {"new_arguments": new_arguments, "demand": foresee(action, services.catalog, services.rules)}


def _strict_arguments(tool: Tool, edited: Mapping[str, Any]) -> dict[str, Any]:
    # Strictly: a text is no number, whatever it looks like; forms convert where the person sees it.
    if problems := admission.refusals(tool, edited):
        raise Refusal(
            "invalid_arguments", f"{tool.name!r} does not take this: {'; '.join(problems)}", problems=problems
        )
    return arguments.parse(tool.arguments, edited).model_dump(mode="json")
