"""Approval requests: one round that lists the digest of every action it covers; composed by the gateway on hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory.clock import Clock, new_id
from memory.runs.leases import Lease
from tools import effects, judgement
from tools.action import Action, Decision, Json
from tools.admission import AdmittedAction, admit
from tools.catalog import Catalog
from tools.money import Money, total
from tools.policy import PolicySet

_NO_SUM: Mapping[str, Json] = {"exposure": 0, "currency": None}


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One action of a round, with the decision that holds it."""

    admission: AdmittedAction
    decision: Decision


def compose(
    lease: Lease, requests: Sequence[ApprovalRequest], view: Mapping[str, Json], clock: Clock
) -> dict[str, Any]:
    """Return a round as SQL `hold` opens it: who may answer, what it covers, and the view for people.

    The strictest demand of all actions counts: most approvals, all groups, shortest time. An action that comes twice
    is listed once. Raises Permanent("plan_invalid") if their amounts are of different currencies.
    """
    first = requests[0]
    requests = list(
        {request.admission.digest(request.decision.policy): request for request in reversed(requests)}.values()
    )[::-1]
    amount = sum_of(requests)
    exposure = max(filter(None, (first.admission.exposure, amount)), key=lambda money: money.minor, default=None)
    need = max(request.decision.need for request in requests)
    return {
        **effects.request(lease, first.admission, first.decision),
        "judged": _verdict_of(first, need),
        "id": str(new_id(clock)),
        "nonce": new_id(clock).hex,
        "need": need,
        "groups": sorted({group for request in requests for group in request.decision.groups}),
        "ttl": min(request.decision.ttl for request in requests),
        "exposure": exposure.minor if exposure else 0,
        "exposure_currency": exposure.currency if exposure else None,
        "requester_excluded": True,
        "items": [_item(request) for request in requests],
        # What the gateway computed stands above what a flow says of itself.
        "shown": {**view, **_summary(requests, amount)},
    }


def foresee(action: Action, catalog: Catalog, policy: PolicySet) -> dict[str, Json]:
    """Return what a question about an action would demand of people: how many, of which groups, up to which sum.

    Nobody (`need` 0) where policy asks nobody, or denies it. Raises Permanent for arguments that the tool refuses.
    """
    admission = admit(action, catalog)
    decision = policy.decide(action.role, action.tool, admission.facts)
    exposure = admission.exposure
    sum_and_currency = {"exposure": exposure.minor, "currency": exposure.currency} if exposure else _NO_SUM
    return {"need": decision.need, "groups": sorted(decision.groups), **sum_and_currency}


def sum_of(requests: Sequence[ApprovalRequest]) -> Money | None:
    """Return what a round is about in all; raises Permanent("plan_invalid") if currencies mix."""
    subject = "what people would be asked together"
    total((request.admission.exposure for request in requests), subject)
    return total((request.admission.amount for request in requests), subject)


def _verdict_of(first: ApprovalRequest, need: int) -> dict[str, Json]:
    """Return the verdict on the first action with what the round demands; `need_alone` is what it needs by itself."""
    record = judgement.record(first.admission, first.decision)
    return record if need == first.decision.need else {**record, "need": need, "need_alone": first.decision.need}


def _item(request: ApprovalRequest) -> dict[str, Any]:
    amount = request.admission.amount
    return {
        "digest": request.admission.digest(request.decision.policy),
        "step": request.admission.action.step,
        "tool": request.admission.tool.name,
        "amount": amount.minor if amount else 0,
        "currency": amount.currency if amount else None,
    }


def _summary(requests: Sequence[ApprovalRequest], amount: Money | None) -> dict[str, Json]:
    first = requests[0].admission
    return {
        "tool": first.tool.name,
        "summary": first.tool.summary,
        "step": first.action.step,
        "args": first.args,
        "target": first.facts.target,
        "actions": len(requests),
        **_money(amount),
        "reversible": all(request.admission.tool.is_reversible for request in requests),
        "each": _steps(requests),
    }


def _steps(requests: Sequence[ApprovalRequest]) -> list[Json]:
    """Return one line per step: its first action, the number of actions and the sum of their amounts."""
    steps: dict[str, list[AdmittedAction]] = {}
    for request in requests:
        steps.setdefault(request.admission.action.step.partition("#")[0], []).append(request.admission)
    return [
        {
            "step": step,
            "tool": batches[0].tool.name,
            "target": batches[0].facts.target,
            "args": dict(batches[0].args),
            "actions": len(batches),
            **_money(total((batch.amount for batch in batches), f"step {step!r}")),
        }
        for step, batches in steps.items()
    ]


def _money(amount: Money | None) -> dict[str, Json]:
    """Return an amount for programs and people; of what is not about money there is only a nought."""
    return {"amount": amount.minor, "currency": amount.currency} if amount else {"amount": 0}
