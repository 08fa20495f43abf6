"""The executor: performs one effect of the plan through the gateway, or takes one back after a failure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from graphs.execution import batches, binding
from graphs.execution.capabilities import Cuts, Invocation, Node, Perform
from graphs.execution.cursor import UNDO, plan_of
from graphs.execution.steps import BoundStep, concluded
from graphs.planning.plan import Plan
from graphs.planning.validation import Card
from graphs.state import Obstacle, State, Update
from memory.errors import Permanent
from memory.runs.records import Lease
from tools.action import Action, Json, Outcome


def make_executor(
    perform: Perform, rows: Callable[[Lease], Cuts], cards: Mapping[str, Card], amount: Callable[[Action], int]
) -> Node:
    """Return the executor node: one action per turn, asked about together with all that share its gate."""

    async def executor(state: State, turn: Invocation) -> Update:
        if state.get("undo"):
            return await _take_back(state, turn, perform, rows(turn.lease))
        return await _perform(state, turn, perform, rows(turn.lease), cards=cards, amount=amount)

    return executor


async def _perform(
    state: State,
    turn: Invocation,
    perform: Perform,
    rows: Cuts,
    *,
    cards: Mapping[str, Card],
    amount: Callable[[Action], int],
) -> Update:
    current = BoundStep.at(state, cards)
    args = _edited(state, current.name(current.item)) or await current.arguments(rows.cut, current.item)
    action = current.action(turn, "executor", current.item, args)
    asked = state.get("asked", {})
    exposure, fence = asked.get(current.step.id, (None, None))
    if fence == turn.lease.fence:
        outcome = await perform(turn.lease, replace(action, exposure=exposure or 0))
        return concluded(state, current, outcome, args)
    bundle = await batches.gathered(current, turn, action, rows, amount=amount, exposure=exposure)
    first, *others = bundle.actions
    outcome = await perform(turn.lease, first, others, batches.shown(bundle, current))
    covered = {step: [bundle.exposure, turn.lease.fence] for step in bundle.steps}
    return {"asked": {**asked, **covered}, **concluded(state, current, outcome, args)}


async def _take_back(state: State, turn: Invocation, perform: Perform, rows: Cuts) -> Update:
    plan, (id, *rest) = plan_of(state), state.get("undo", [])
    try:
        action = await _reverse(state, plan, id, turn, rows)
    except Permanent as error:
        outcome = Outcome("failed", error.code, str(error))
    else:
        outcome = await perform(turn.lease, action)
    return _taken_back(state, outcome, id, rest)


def _taken_back(state: State, outcome: Outcome, id: str, rest: Sequence[str]) -> Update:
    """Return the state after one compensation; one that did not work is left to people, and the next is tried."""
    if outcome.state == "held":
        return {"outcome": Obstacle(state="held", approval=outcome.approval)}
    if outcome.state in ("done", "skipped"):
        return {"undo": list(rest), "undone": [*state.get("undone", []), id], "override": None}
    return {"undo": list(rest), "manual": [*state.get("manual", []), id], "override": None}


async def _reverse(state: State, plan: Plan, id: str, turn: Invocation, rows: Cuts) -> Action:
    """Return the compensation of a step as an action; it passes the gateway like any other."""
    step = next(step for step in plan.steps if step.id == id)
    if step.compensate is None:
        raise Permanent("plan_invalid", f"step {id!r} names no compensation; a person must take it back")
    results = {**state.get("results", {})}
    results.setdefault(id, state.get("tally", {}))
    effect = results[id].get("effect")
    args = _edited(state, id + UNDO) or await binding.undo(step, plan.inputs, results, cut=rows.cut)
    return Action(
        run=turn.lease.run,
        step=id + UNDO,
        role="executor",
        tool=step.compensate.tool,
        args=args,
        plan_hash=state.get("plan_hash", ""),
        user=turn.lease.access.principal.id,
        pins=plan.pins,
        compensates=effect if isinstance(effect, str) else None,
        checkpoint=turn.checkpoint,
    )


def _edited(state: State, step: str) -> dict[str, Json] | None:
    """Return the arguments that a person put in place of the planned ones, if they were for this action."""
    override = state.get("override")
    return override["args"] if override and override["step"] == step else None
