"""Approval requests: one round that lists the digest of every action it covers; composed by the gateway on hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory.clock import Clock, new_id
from memory.runs.records import Lease
from tools import effects
from tools.action import Action, Decision, Json
from tools.admission import AdmittedAction, admit
from tools.catalog import Catalog
from tools.policy import PolicySet


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
    is listed once.
    """
    first = requests[0]
    requests = list(
        {request.admission.digest(request.decision.policy): request for request in reversed(requests)}.values()
    )[::-1]
    amount = sum(request.admission.facts.amount for request in requests)
    return {
        **effects.request(lease, first.admission, first.decision),
        "id": str(new_id(clock)),
        "nonce": new_id(clock).hex,
        "need": max(request.decision.need for request in requests),
        "groups": sorted({group for request in requests for group in request.decision.groups}),
        "ttl": min(request.decision.ttl for request in requests),
        "exposure": max(first.admission.facts.exposure, amount),
        "requester_excluded": True,
        "items": [_item(request) for request in requests],
        # What the gateway computed stands above what a flow says of itself.
        "shown": {**view, **_summary(requests, amount)},
    }


def foresee(action: Action, catalog: Catalog, policy: PolicySet) -> dict[str, Json]:
    """Return what a question about an action would demand of people: how many, of which groups, up to which sum.

    Nobody (`need` 0) where policy asks nobody, or denies it. Raises Permanent for arguments that the tool refuses.
    """
    facts = admit(action, catalog).facts
    decision = policy.decide(action.role, action.tool, facts)
    return {"need": decision.need, "groups": sorted(decision.groups), "exposure": facts.exposure}


def _item(request: ApprovalRequest) -> dict[str, Any]:
    return {
        "digest": request.admission.digest(request.decision.policy),
        "step": request.admission.action.step,
        "tool": request.admission.tool.name,
        "amount": request.admission.facts.amount,
    }


def _summary(requests: Sequence[ApprovalRequest], amount: int) -> dict[str, Json]:
    first = requests[0].admission
    return {
        "tool": first.tool.name,
        "summary": first.tool.summary,
        "step": first.action.step,
        "args": first.args,
        "target": first.facts.target,
        "actions": len(requests),
        "amount": amount,
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
            "amount": sum(batch.facts.amount for batch in batches),
        }
        for step, batches in steps.items()
    ]
