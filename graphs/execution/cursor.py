"""Where a run stands in its plan and what comes next: pure functions that the nodes and the flow's edges share."""

from collections.abc import Mapping

from graphs.execution import binding
from graphs.planning.plan import Plan, Ref, Step
from graphs.state import State, Update
from tools.action import Json

Results = dict[str, dict[str, Json]]

UNDO = "#undo"


def plan_of(state: State) -> Plan:
    """Return the plan that the run follows; the flow leads nobody here without one."""
    return Plan.model_validate(state.get("plan"))


def entered(plan: Plan) -> Update:
    """Return the state at the first step of a plan; what earlier plans found is not carried over."""
    cursor, results = _due(plan, 0, {})
    return {
        "plan": plan.model_dump(mode="json"),
        "plan_hash": plan.hash,
        "results": results,
        "cursor": cursor,
        "item": 0,
        "tally": {},
        "outcome": None,
        "asked": {},
        "stale": False,
    }


def passed(state: State, plan: Plan, result: dict[str, Json]) -> Update:
    """Return the state after the current step, with its result; steps that are not due are passed as well."""
    position = state.get("cursor", 0)
    step = plan.steps[position]
    cursor, results = _due(plan, position + 1, {**state.get("results", {}), step.id: result})
    update: Update = {"results": results, "cursor": cursor}
    if state.get("item"):
        update |= {"item": 0, "tally": {}}
    return {**update, "audit": True} if step.audit else update


def remaining_rows(plan: Plan, step: Step, results: Results) -> int:
    """Return how many rows a batched step goes through in all."""
    if step.batch is None:
        return 0
    whole = look_up(step.batch.of, plan, results)
    count = whole.get("count") if isinstance(whole, Mapping) else 0
    start = look_up(step.batch.start, plan, results)
    return count - start if isinstance(count, int) and isinstance(start, int) else 0


def look_up(value: Ref | int, plan: Plan, results: Results) -> Json:
    """Return what a reference stands for, or None."""
    if isinstance(value, int):
        return value
    root, *path = value.ref.split(".")
    found: Json = plan.inputs if root == "inputs" else results
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _due(plan: Plan, cursor: int, results: Results) -> tuple[int, Results]:
    """Return the next step that is due, noting those before it as skipped."""
    while cursor < len(plan.steps):
        step = plan.steps[cursor]
        answer = binding.is_due(plan, step, results)
        if answer.is_true and binding.batches(step, plan.inputs, results) != 0:
            break
        why: dict[str, Json] = {"reason": answer.reason} if answer.reason else {}
        results = {**results, step.id: {"skipped": True, **why}}
        cursor += 1
    return cursor, results
