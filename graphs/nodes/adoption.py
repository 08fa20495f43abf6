"""What happens to a plan before anything runs: it becomes the run's own on record, and its first step is the next.

The flow wraps the planner in it; the worker uses it for complete plans by clients.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from graphs.execution.capabilities import Adopt, Cite, Invocation, Node, Planner, Record
from graphs.execution.cursor import entered
from graphs.planning.plan import Plan
from graphs.planning.validation import Card, validate
from graphs.state import State, Update
from memory.errors import Permanent
from memory.runs.records import Lease

ROUNDS_LIMIT = 10
"""Plans and questions of one run; the planner's own limit is stricter."""


def make_planning(planner: Callable[[Lease], Planner], adopt: Adopt, record: Record, cite: Cite) -> Node:
    """Return the planner node: what the planner proposes, on record before the next node sees it."""

    async def node(state: State, turn: Invocation) -> Update:
        update = dict(await planner(turn.lease)(state))
        await _record_breaches(turn.lease, update, record)
        recalled: Mapping[str, Any] = update.pop("recalled", None) or {}
        update |= {"answered": False, "round": _round(state, update)}
        if update.get("plan"):
            plan = Plan.model_validate(update["plan"])
            await adopt(turn.lease, plan, _facts(plan, update))
            update |= entered(plan)
        elif update.get("clarify"):
            await record(turn.lease, _question(update))
        if recalled:
            await record(turn.lease, _recollection(update, recalled))
            await cite(turn.lease, recalled["cited"])
        return _news(state, update)

    return node


async def begun(lease: Lease, adopt: Adopt, cards: Mapping[str, Card]) -> State:
    """Return the state from which a run starts; a complete plan by a client enters past the planner.

    Raises Permanent("plan_invalid") for a plan that cannot be run here.
    """
    known = ("request", "inputs", "runbook")
    state = _news({}, {key: lease.input.get(key) for key in known})
    if not lease.input.get("given"):
        return state or {"request": ""}
    plan = Plan.model_validate(lease.input["given"])
    if problems := validate(plan, cards):
        raise Permanent("plan_invalid", "the plan cannot be run: " + "; ".join(problems[:5]))
    await adopt(lease, plan, _facts(plan, {}))
    return _news({}, {**state, **entered(plan)})


def _news(state: State, update: Mapping[str, Any]) -> Update:
    """Return what the state does not say already; a key that was never written stays absent, to keep it small."""
    known = State.__annotations__.keys() & update.keys()
    return cast(Update, {key: update[key] for key in known if update[key] or key in state})


def _round(state: State, update: Mapping[str, Any]) -> int:
    """Return the number of this round; counted here too, so that no planner can go on for ever."""
    number = max(state.get("round", 0) + 1, int(update.get("round") or 0))
    if number > ROUNDS_LIMIT:
        raise Permanent("no_progress", f"{ROUNDS_LIMIT} rounds of planning led nowhere; ask again in other words")
    return number


def _facts(plan: Plan, update: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": plan.id,
        "type": plan.kind,
        "source": plan.source,
        "goal": plan.goal,
        "steps": [{"id": step.id, "tool": step.tool, "effect": step.effect} for step in plan.steps],
        "cites": [cited.model_dump() for cited in plan.cites],
        "round": update.get("round", 0),
        "note": update.get("note", ""),
    }


def _question(update: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "clarify", "key": f"clarify:{update.get('round', 0)}", "role": "planner", **update["clarify"]}


def _recollection(update: Mapping[str, Any], recalled: Mapping[str, Any]) -> dict[str, Any]:
    """Return which memories were before the planner and which its plan or answer rests on: ids, so that they can go."""
    key = f"recalled:{update.get('round', 0)}"
    return {"kind": "recalled", "key": key, "role": "planner", "plan": update.get("plan_hash"), **recalled}


async def _record_breaches(lease: Lease, update: dict[str, Any], record: Record) -> None:
    for number, violation in enumerate(update.pop("violations", ())):
        key = f"contract_violation:{update.get('round', 0)}:{number}"
        await record(lease, {"kind": "contract_violation", "key": key, **violation})
