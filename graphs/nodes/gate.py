"""The gate: waits for a person and says what they answered; it only reads rows, since a resumed node starts over.

What a resume carries counts for nothing: it is a wake-up to look at the rows again.
"""

from collections.abc import Awaitable, Callable, Sequence

from langgraph.types import interrupt

from graphs.execution.capabilities import Invocation, Node
from graphs.execution.cursor import UNDO, plan_of
from graphs.state import Obstacle, Override, State, Update
from memory.governance.approvals import ApprovalView
from memory.runs.records import Lease

ReadStanding = Callable[[Lease, str], Awaitable[ApprovalView]]
ReadAnswers = Callable[[Lease], Awaitable[Sequence[str]]]


def make_gate(standing: ReadStanding, answers: ReadAnswers) -> Node:
    """Return the gate node; while nobody has answered it changes nothing and is entered again."""

    async def gate(state: State, turn: Invocation) -> Update:
        held = state.get("outcome")
        if held and (approval := held.get("approval")):
            return await _approval(state, turn.lease, approval, standing)
        return await _clarify(state, turn.lease, answers)

    return gate


async def _approval(state: State, lease: Lease, approval: str, standing: ReadStanding) -> Update:
    found = await standing(lease, approval)
    if found.status == "open":
        interrupt({"kind": "approval", "approval": approval})
        found = await standing(lease, approval)
    return _decided(state, found, approval)


def _decided(state: State, found: ApprovalView, approval: str) -> Update:
    match found.status:
        case "open":
            return {}
        case "approved":
            return {"outcome": None}
        case "edited":
            override = Override(step=_action(state), args=dict(found.edited or {}))
            return {"outcome": None, "asked": _unasked(state), "override": override}
        case "void" if found.reason == "stale_knowledge" and not state.get("undo"):
            return {"outcome": None, "stale": True}
        case "void":
            return {"outcome": None, "asked": _unasked(state)}
        case "rejected" | "expired":
            return _refused(state, found, approval)


def _refused(state: State, found: ApprovalView, approval: str) -> Update:
    """Return the end of the run; a compensation that people refuse is theirs to do, and the others go on."""
    if undo := state.get("undo"):
        return {"outcome": None, "undo": undo[1:], "manual": [*state.get("manual", []), undo[0]]}
    if found.status == "expired":
        message = "nobody decided in time; start it again when people are there"
        return {"outcome": Obstacle(state="denied", code="approval_timeout", message=message, approval=approval)}
    message = found.reason or "rejected without a reason"
    return {"outcome": Obstacle(state="denied", code="approval_rejected", message=message, approval=approval)}


def _unasked(state: State) -> dict[str, list[int]]:
    """Return the sums of questions without the current one, which is put together anew."""
    exposure = state.get("asked", {}).get(_action(state).split("#")[0])
    return {step: asked for step, asked in state.get("asked", {}).items() if asked != exposure}


def _action(state: State) -> str:
    """Return the step id of the action that was held."""
    if undo := state.get("undo"):
        return undo[0] + UNDO
    step = plan_of(state).steps[state.get("cursor", 0)]
    return f"{step.id}#{state.get('item', 0) + 1}" if step.batch else step.id


async def _clarify(state: State, lease: Lease, answers: ReadAnswers) -> Update:
    used, question = state.get("answers", 0), state.get("clarify")
    found = await answers(lease)
    if len(found) <= used:
        interrupt({"kind": "clarify", "answers": used, "question": question["question"] if question else ""})
        found = await answers(lease)
    if len(found) <= used:
        return {}
    request = "\n".join([state.get("request", ""), *found[used:]])
    return {"request": request, "answers": len(found), "answered": True}
