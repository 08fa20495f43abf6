"""What to take back when a step failed for good: compensations in reverse order, and a checklist for people.

The executor asks for both when a step fails; the auditor puts the checklist into the run's result.
"""

from collections.abc import Iterable

from graphs.plan import Plan, Step
from graphs.state import State
from tools.action import Json

_NOTHING = {"skipped", "reason", "failed", "message"}
"""What the result of a step may hold although nothing was changed."""


def done_effects(state: State, plan: Plan) -> list[Step]:
    """Return the steps that changed something, in order; the current one too if some of its batches did."""
    changed = {id for id, result in state.get("results", {}).items() if result.keys() - _NOTHING}
    if state.get("item", 0) > 0:
        changed.add(plan.steps[state.get("cursor", 0)].id)
    return [step for step in plan.steps if step.effect != "read" and step.id in changed]


def to_undo(state: State, plan: Plan) -> list[str]:
    """Return the steps that a tool can take back, the last one first."""
    return [step.id for step in reversed(done_effects(state, plan)) if step.compensate]


def by_hand(state: State, plan: Plan, undo: Iterable[str]) -> list[str]:
    """Return the steps that only people can take back, the last one first."""
    covered = set(undo)
    return [step.id for step in reversed(done_effects(state, plan)) if step.id not in covered]


def checklist(plan: Plan, steps: Iterable[str]) -> list[Json]:
    """Return what people have to do, in the words of the plan."""
    by_id = {step.id: step for step in plan.steps}
    return [{"step": id, "tool": by_id[id].tool, "do": by_id[id].backout} for id in steps]
