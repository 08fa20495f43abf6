"""Batches of actions that one question to people covers: all steps that share a gate, resolved, with their sum.

The executor asks when it first reaches such a step, and again under each new lease, because only then may a question
have to be put again. In between no slice but the current one is looked at.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphs.execution.action_names import step_name
from graphs.execution.binding import BoundStep
from graphs.execution.capabilities import Invocation
from graphs.execution.cuts import Cuts
from graphs.planning.plan import Step
from tools.action import Action, Json
from tools.money import Money, total

_MOST_EVIDENCE = 20


@dataclass(frozen=True, slots=True)
class ActionBatch:
    """The actions of one question, the current one first."""

    actions: tuple[Action, ...]
    exposure: Money | None
    """Sum of all amounts; every action carries it."""
    steps: tuple[str, ...]
    """Steps whose actions are all in here."""


async def gather(
    current: BoundStep,
    action: Action,
    invocation: Invocation,
    cuts: Cuts,
    *,
    amount: Callable[[Action], Money | None],
    exposure: Money | None,
) -> ActionBatch:
    """Return what people are asked together with the current action; a sum from an earlier question stays.

    A step that cannot be resolved yet, or is not due, gets a question of its own when the run reaches it. Raises
    Permanent("plan_invalid") if amounts of different currencies share the gate.
    """
    actions, steps = [action], [current.step.id]
    for step in _with_same_gate(current):
        siblings = await current.sibling_actions(step, invocation, cuts)
        if siblings is not None:
            actions += siblings
            steps.append(step.id)
    stake = exposure or total(map(amount, actions), _name(current.step))
    return ActionBatch(tuple(replace(action, exposure=stake) for action in actions), stake, tuple(dict.fromkeys(steps)))


def _name(step: Step) -> str:
    return f"gate {step.gate!r}" if step.gate else f"step {step.id!r}"


def _with_same_gate(current: BoundStep) -> Sequence[Step]:
    """Return the current step and those after it that share its gate."""
    steps = current.plan.steps
    gate, position = current.step.gate, steps.index(current.step)
    return [current.step, *(step for step in steps[position + 1 :] if gate and step.gate == gate)]


def describe(batch: ActionBatch, current: BoundStep) -> dict[str, Json]:
    """Return what people see of a question besides its actions: why, on what evidence, and the way back."""
    plan = current.plan
    backout: dict[str, Json] = {step.id: step.backout for step in plan.steps if step.id in batch.steps}
    evidence: dict[str, Json] = dict(list(current.values.results.items())[-_MOST_EVIDENCE:])
    cites: list[Json] = [citation.model_dump() for citation in plan.cites]
    return {
        "goal": plan.goal,
        "plan_id": plan.id,
        "plan_source": plan.source,
        "plan_backout": plan.backout,
        "cites": cites,
        "backout": backout,
        "evidence": evidence,
        "steps": _counts(batch),
    }


def _counts(batch: ActionBatch) -> list[Json]:
    """Return how many actions each step has in the question."""
    counts = Counter((step_name(action.step), action.tool) for action in batch.actions)
    return [{"step": step, "tool": tool, "actions": count} for (step, tool), count in counts.items()]
