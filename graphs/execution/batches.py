"""Everything that people are asked about together: the actions of all steps that share a gate, resolved; and its sum.

The executor asks when it first reaches such a step, and again under each new lease, because only then may a question
have to be put again. In between no slice but the current one is looked at.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphs.execution import binding
from graphs.execution.binding import CutOut, Slice
from graphs.execution.capabilities import Cuts, Invocation
from graphs.execution.steps import BoundStep
from graphs.planning.plan import Plan, Step
from memory.errors import Permanent
from tools.action import Action, Json

_MOST_EVIDENCE = 20


@dataclass(frozen=True, slots=True)
class ActionBatch:
    """The actions of one question, the current one first."""

    actions: tuple[Action, ...]
    exposure: int
    """Sum of all amounts, minor units; every action carries it."""
    steps: tuple[str, ...]
    """Steps whose actions are all in here."""


async def gathered(
    current: BoundStep,
    turn: Invocation,
    first: Action,
    rows: Cuts,
    *,
    amount: Callable[[Action], int],
    exposure: int | None,
) -> ActionBatch:
    """Return what is asked together with `first`; a sum known from an earlier question is kept."""
    actions, steps = [first], [current.step.id]
    for step in _gate(current.plan, current.step):
        found = await _actions(replace_step(current, step), turn, rows, skip=current.item + 1)
        if found is not None:
            actions += found
            steps.append(step.id)
    total = sum(map(amount, actions)) if exposure is None else exposure
    return ActionBatch(tuple(replace(action, exposure=total) for action in actions), total, tuple(dict.fromkeys(steps)))


def replace_step(current: BoundStep, step: Step) -> BoundStep:
    """Return another step of the same plan as if the run stood at its beginning."""
    if step.id == current.step.id:
        return current
    of = binding.batches(step, current.plan.inputs, current.results)
    return replace(current, step=step, item=-1, of=of)


def shown(bundle: ActionBatch, current: BoundStep) -> dict[str, Json]:
    """Return what people see of a question besides its actions: why, on what evidence, and the way back."""
    covered = [step for step in current.plan.steps if step.id in bundle.steps]
    backout: dict[str, Json] = {step.id: step.backout for step in covered}
    evidence: dict[str, Json] = dict(list(current.results.items())[-_MOST_EVIDENCE:])
    cites: list[Json] = [cited.model_dump() for cited in current.plan.cites]
    return {
        "goal": current.plan.goal,
        "plan_id": current.plan.id,
        "plan_source": current.plan.source,
        "plan_backout": current.plan.backout,
        "cites": cites,
        "backout": backout,
        "evidence": evidence,
        "steps": _counted(bundle),
    }


def _counted(bundle: ActionBatch) -> list[Json]:
    """Return how many actions each step has in the question."""
    counts = Counter((action.step.split("#")[0], action.tool) for action in bundle.actions)
    return [{"step": step, "tool": tool, "actions": count} for (step, tool), count in counts.items()]


def _gate(plan: Plan, step: Step) -> Sequence[Step]:
    """Return the step and those after it that share its gate."""
    position = plan.steps.index(step)
    return [each for each in plan.steps[position:] if each.id == step.id or (step.gate and each.gate == step.gate)]


async def _actions(current: BoundStep, turn: Invocation, rows: Cuts, *, skip: int) -> list[Action] | None:
    """Return the actions of a step from where it stands; None if they cannot be known yet or the step is not due."""
    try:
        if current.item < 0 and not binding.is_due(current.plan, current.step, current.results).is_true:
            return None
        if current.of is None:
            if current.item >= 0:
                return []
            return [current.action(turn, "executor", 0, await current.arguments(rows.cut, 0))]
        cut = _ahead(rows)
        items = range(skip if current.item >= 0 else 0, current.of)
        return [current.action(turn, "executor", item, await current.arguments(cut, item)) for item in items]
    except Permanent as error:
        if error.code != "plan_invalid":
            raise
        return None


def _ahead(rows: Cuts) -> CutOut:
    """Return a cut that fetches all batches of a size with the first of them, so that a hundred cost one query."""
    known: dict[tuple[Json, Json], Slice] = {}

    async def cut(part: Slice, start: int, count: int) -> Slice:
        offset = part["start"] if isinstance(part["start"], int) else 0
        wanted = (part["handle"], offset + start)
        if wanted not in known:
            for found in await rows.cuts(part, start, count):
                known[found["handle"], found["start"]] = found
        found = known[wanted]
        return found if found["count"] == count else await rows.cut(part, start, count)

    return cut
