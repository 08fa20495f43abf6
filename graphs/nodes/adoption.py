"""Adoption of plans: a plan becomes the run's own on record before anything runs, and its first step is the next.

The flow wraps the planner in it; the worker calls it for the state from which a run starts.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from pydantic import ValidationError

from graphs.execution.capabilities import Adopt, Cite, Invocation, Node, Planner, Record
from graphs.execution.cursor import enter
from graphs.planning.plan import Plan
from graphs.planning.proposal import Proposal, Recollection
from graphs.planning.validation import validate
from graphs.state import Clarify, State, Update
from memory.errors import Permanent
from memory.runs.leases import Lease
from tools.catalog import ToolCard

ROUNDS_LIMIT = 10
"""Plans and questions of one run; the planner's own limit is stricter."""
_STATE_KEYS = ("clarify", "verdict", "note", "candidates", "stale")
"""Keys of a proposal that the state takes over as they are."""


def make_planning(planner: Callable[[Lease], Planner], adopt: Adopt, record: Record, cite: Cite) -> Node:
    """Return the planner node: what the planner proposes is on record before the next node sees it."""

    async def planning(state: State, invocation: Invocation) -> Update:
        lease = invocation.lease
        proposal = await planner(lease)(state)
        # Whatever a model said is saved with this step and at once, so that no successor asks it again.
        lease.hurry()
        await _record_breaches(lease, proposal, record)
        number, plan, question = _round(state, proposal), proposal.get("plan"), proposal.get("clarify")
        update: dict[str, Any] = {key: value for key, value in proposal.items() if key in _STATE_KEYS}
        update |= {"answered": False, "round": number, "plan": None}
        if plan:
            await adopt(lease, plan, _facts(plan, number, proposal.get("note", "")))
            update |= _enter(plan)
        elif question:
            await record(lease, _question(question, number))
        elif not proposal.get("verdict"):
            raise Permanent("no_progress", "the planner had neither plan nor question; ask again in other words")
        if memories := proposal.get("recalled"):
            await record(lease, _recollection(memories, number, update.get("plan_hash")))
            await cite(lease, memories["cited"])
        return _changes(state, update)

    return planning


async def initial_state(lease: Lease, adopt: Adopt, cards: Mapping[str, ToolCard]) -> State:
    """Return the state from which a run starts; a complete plan by a client enters past the planner.

    Raises Permanent("plan_invalid") for a plan that cannot be run here.
    """
    state = _changes({}, {key: lease.input.get(key) for key in ("request", "inputs", "runbook")})
    if not lease.input.get("given"):
        return state or {"request": ""}
    plan = _read(lease.input["given"])
    if problems := validate(plan, cards):
        raise Permanent("plan_invalid", "the plan cannot be run: " + "; ".join(problems[:5]))
    await adopt(lease, plan, _facts(plan, 0, ""))
    return _changes({}, {**state, **enter(plan)})


def _read(body: object) -> Plan:
    """Return the plan of a request; raises Permanent("plan_invalid") for what is none."""
    try:
        return Plan.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"])) or "plan"
        raise Permanent("plan_invalid", f"the request holds no plan that can be run: {path}: {first['msg']}") from None


def _enter(plan: Plan) -> Update:
    update = enter(plan)
    if plan.kind == "investigation" and update.get("cursor") == len(plan.steps):
        raise Permanent("no_progress", f"no step of {plan.id!r} is due, so there is nothing to look at")
    return update


def _changes(state: State, update: Mapping[str, Any]) -> Update:
    """Return what the state does not say already; a key that was never written stays absent, to keep it small."""
    return cast(Update, {key: value for key, value in update.items() if value or key in state})


def _round(state: State, proposal: Proposal) -> int:
    """Return the number of this round; counted here too, so that no planner can go on for ever."""
    number = max(state.get("round", 0) + 1, proposal.get("round", 0))
    if number > ROUNDS_LIMIT:
        raise Permanent("no_progress", f"{ROUNDS_LIMIT} rounds of planning led nowhere; ask again in other words")
    return number


def _facts(plan: Plan, round: int, note: str) -> dict[str, Any]:
    return {
        "id": plan.id,
        "type": plan.kind,
        "source": plan.source,
        "goal": plan.goal,
        "steps": [{"id": step.id, "tool": step.tool, "effect": step.effect} for step in plan.steps],
        "cites": [citation.model_dump() for citation in plan.cites],
        "round": round,
        "note": note,
    }


def _question(question: Clarify, round: int) -> dict[str, Any]:
    return {"kind": "clarify", "key": f"clarify:{round}", "role": "planner", **question}


def _recollection(memories: Recollection, round: int, plan_hash: str | None) -> dict[str, Any]:
    """Return which memories were before the planner and which its plan or answer rests on: ids, so that they can go."""
    return {"kind": "recalled", "key": f"recalled:{round}", "role": "planner", "plan": plan_hash, **memories}


async def _record_breaches(lease: Lease, proposal: Proposal, record: Record) -> None:
    for number, violation in enumerate(proposal.get("violations", ())):
        key = f"contract_violation:{proposal.get('round', 0)}:{number}"
        await record(lease, {"kind": "contract_violation", "key": key, **violation})
