"""What people are asked: one question that lists the digest of every action it covers; built by the gateway on hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory.clock import Clock, new_id
from memory.runs.records import Lease
from tools import effects
from tools.action import Decision, Json
from tools.admission import AdmittedAction


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """One action of a question, with the verdict that holds it."""

    admitted: AdmittedAction
    decision: Decision


def question(lease: Lease, asked: Sequence[ApprovalRequest], shown: Mapping[str, Json], clock: Clock) -> dict[str, Any]:
    """Return a round as the database opens it: who may answer, what it covers, and what people see.

    The strictest demand of all actions counts: most approvals, all groups, shortest time. An action that comes twice
    is asked about once.
    """
    first = asked[0]
    asked = list({one.admitted.digest(one.decision.policy): one for one in reversed(asked)}.values())[::-1]
    amount = sum(one.admitted.facts.amount for one in asked)
    return {
        **effects.request(lease, first.admitted, first.decision),
        "id": str(new_id(clock)),
        "nonce": new_id(clock).hex,
        "need": max(one.decision.need for one in asked),
        "groups": sorted({group for one in asked for group in one.decision.groups}),
        "ttl": min(one.decision.ttl for one in asked),
        "exposure": max(first.admitted.facts.exposure, amount),
        "requester_excluded": True,
        "items": [_item(one) for one in asked],
        # What the gateway computed stands above what a flow says of itself.
        "shown": {**shown, **_about(asked, amount)},
    }


def _item(one: ApprovalRequest) -> dict[str, Any]:
    return {
        "digest": one.admitted.digest(one.decision.policy),
        "step": one.admitted.action.step,
        "tool": one.admitted.tool.name,
        "amount": one.admitted.facts.amount,
    }


def _about(asked: Sequence[ApprovalRequest], amount: int) -> dict[str, Json]:
    first = asked[0].admitted
    return {
        "tool": first.tool.name,
        "summary": first.tool.summary,
        "step": first.action.step,
        "args": first.args,
        "target": first.facts.target,
        "actions": len(asked),
        "amount": amount,
        "reversible": all(one.admitted.tool.reversible for one in asked),
        "each": _each(asked),
    }


def _each(asked: Sequence[ApprovalRequest]) -> list[Json]:
    """Return what every step would do: its first action, how many there are and what they come to."""
    steps: dict[str, list[AdmittedAction]] = {}
    for one in asked:
        steps.setdefault(one.admitted.action.step.partition("#")[0], []).append(one.admitted)
    return [
        {
            "step": step,
            "tool": all_of_it[0].tool.name,
            "target": all_of_it[0].facts.target,
            "args": dict(all_of_it[0].args),
            "actions": len(all_of_it),
            "amount": sum(each.facts.amount for each in all_of_it),
        }
        for step, all_of_it in steps.items()
    ]
