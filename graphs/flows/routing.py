"""Routing of the governed flow: from the state that a node left to the next node; called by the flow's edges."""

from typing import Literal

from graphs.execution.cursor import plan_of
from graphs.state import State

NodeName = Literal["planner", "researcher", "gate", "executor", "auditor"]


def next_stop(state: State) -> NodeName:
    """Return the node that a run goes to from where it stands."""
    if outcome := state.get("outcome"):
        return "gate" if outcome.get("state") == "held" else "auditor"
    if state.get("clarify"):
        return "planner" if state.get("answered") else "gate"
    if state.get("undo"):
        return "executor"
    if any(state.get(key) for key in ("verdict", "failure", "audit")):
        return "auditor"
    if state.get("stale") or not state.get("plan"):
        return "planner"
    return _of_step(state)


def _of_step(state: State) -> NodeName:
    plan, cursor = plan_of(state), state.get("cursor", 0)
    if cursor < len(plan.steps):
        return "researcher" if plan.steps[cursor].effect == "read" else "executor"
    return "planner" if plan.kind == "investigation" else "auditor"
