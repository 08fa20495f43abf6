"""Recovery after a failure: which steps a tool takes back, how, and which are left to people.

The cursor plans it, the executor performs it, the auditor lists what people must do.
"""

from collections.abc import Iterable

from graphs.execution.action_names import undo_name
from graphs.execution.binding import StepValues, overriding_arguments
from graphs.execution.capabilities import Invocation
from graphs.execution.cuts import CutRows
from graphs.execution.plans import plan_of
from graphs.planning.plan import Plan, Step
from graphs.state import Contest, State
from memory.errors import Permanent
from tools.action import Action, Json

_NO_CHANGE = {"skipped", "reason", "failed", "message"}
"""What the result of a step may hold although nothing was changed."""


async def bind_undo(state: State, id: str, invocation: Invocation, cut: CutRows) -> Action:
    """Return the compensation of a step as an action; it passes the gateway like any other.

    Raises Permanent("plan_invalid") if the step names none.
    """
    plan = plan_of(state)
    step = next(step for step in plan.steps if step.id == id)
    if step.compensate is None:
        raise Permanent("plan_invalid", f"step {id!r} names no compensation; a person must take it back")
    results = {**state.get("results", {})}
    results.setdefault(id, state.get("tally", {}))
    effect = results[id].get("effect")
    override = overriding_arguments(state, undo_name(id))
    return Action(
        run=invocation.lease.run,
        step=undo_name(id),
        role="executor",
        tool=step.compensate.tool,
        args=override or await StepValues(plan, step, results).undo_arguments(cut),
        plan_hash=state.get("plan_hash", ""),
        user=invocation.lease.access.principal.id,
        pins=plan.pins,
        compensates=effect if isinstance(effect, str) else None,
        checkpoint=invocation.checkpoint,
    )


def contested_results(state: State, plan: Plan, contest: Contest) -> dict[str, dict[str, Json]]:
    """Return the results with what was reported for the contested step, so that it can be taken back as well."""
    results, cursor = {**state.get("results", {})}, state.get("cursor", 0)
    # What another run did is not this run's to take back.
    is_own = contest["result"] and "already_done" not in contest["result"]
    if contest["action"] and is_own and cursor < len(plan.steps):
        results.setdefault(plan.steps[cursor].id, contest["result"])
    return results


def effects(state: State, plan: Plan) -> list[Step]:
    """Return the steps that changed something, in order; the current one too if some of its batches did."""
    ids = {id for id, result in state.get("results", {}).items() if result.keys() - _NO_CHANGE}
    if state.get("item", 0) > 0:
        ids.add(plan.steps[state.get("cursor", 0)].id)
    return [step for step in plan.steps if step.effect != "read" and step.id in ids]


def to_undo(state: State, plan: Plan) -> list[str]:
    """Return the steps that a tool can take back, the last one first."""
    return [step.id for step in reversed(effects(state, plan)) if step.compensate]


def manual_steps(state: State, plan: Plan, undo: Iterable[str] = ()) -> list[str]:
    """Return the steps that only people can take back, the last one first."""
    automatic = set(undo)
    return [step.id for step in reversed(effects(state, plan)) if step.id not in automatic]


def checklist(plan: Plan, steps: Iterable[str]) -> list[Json]:
    """Return what people have to do, in the words of the plan."""
    by_id = {step.id: step for step in plan.steps}
    return [{"step": id, "tool": by_id[id].tool, "do": by_id[id].backout} for id in steps]
