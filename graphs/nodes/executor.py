"""The executor node: performs one effect of the plan through the gateway, or takes one back after a failure."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from graphs.execution import batches
from graphs.execution.binding import Binder
from graphs.execution.capabilities import Invocation, Node, Perform
from graphs.execution.cursor import conclude
from graphs.execution.cuts import Cuts
from graphs.execution.recovery import bind_undo
from graphs.state import Obstacle, Question, State, Update
from memory.errors import Permanent
from memory.runs.leases import Lease
from tools.action import Action, Outcome
from tools.money import Money


def make_executor(
    perform: Perform, rows: Callable[[Lease], Cuts], binder: Binder, amount: Callable[[Action], Money | None]
) -> Node:
    """Return the executor node: one action per invocation, put before people together with all that share its gate."""

    async def executor(state: State, invocation: Invocation) -> Update:
        cuts = rows(invocation.lease)
        if state.get("undo"):
            return await _take_back(state, invocation, perform, cuts)
        return await _perform(state, invocation, perform, cuts, binder=binder, amount=amount)

    return executor


async def _perform(
    state: State,
    invocation: Invocation,
    perform: Perform,
    cuts: Cuts,
    *,
    binder: Binder,
    amount: Callable[[Action], Money | None],
) -> Update:
    """Perform the current action; together with it goes what people would be asked about, if they must be."""
    current = await binder.bind(state, cuts.cut)
    action = current.action(invocation, "executor")
    question, lease = _question(state, current.step.id), invocation.lease
    if question and question["fence"] == lease.fence:
        return conclude(state, current, await perform(lease, replace(action, exposure=_exposure(question))))
    # A new lease puts the question again: the one before it may have ended before anybody was asked.
    try:
        batch = await batches.gather(current, action, invocation, cuts, amount=amount, exposure=_exposure(question))
    except Permanent as error:
        if error.code != "plan_invalid":
            raise
        return conclude(state, current, Outcome("denied", error.code, str(error)))
    first, *siblings = batch.actions
    outcome = await perform(lease, first, siblings, batches.describe(batch, current))
    covers = dict.fromkeys(batch.steps, _new_question(batch.exposure, lease.fence))
    return {"questions": {**state.get("questions", {}), **covers}, **conclude(state, current, outcome)}


def _question(state: State, step: str) -> Question | None:
    """Return the question that covers a step; what a release without currencies summed up is summed up anew."""
    question = cast(object, state.get("questions", {}).get(step))
    return cast(Question, question) if isinstance(question, dict) else None


def _new_question(exposure: Money | None, fence: int) -> Question:
    return Question(
        minor=exposure.minor if exposure else 0, currency=exposure.currency if exposure else None, fence=fence
    )


def _exposure(question: Question | None) -> Money | None:
    return Money(question["minor"], question["currency"]) if question and question["currency"] else None


async def _take_back(state: State, invocation: Invocation, perform: Perform, cuts: Cuts) -> Update:
    """Compensate one step; where that does not work it is left to people, and the next one is tried."""
    step, *steps = state.get("undo", [])
    try:
        action = await bind_undo(state, step, invocation, cuts.cut)
    except Permanent as error:
        outcome = Outcome("failed", error.code, str(error))
    else:
        outcome = await perform(invocation.lease, action)
    if outcome.state == "held":
        return {"outcome": Obstacle(state="held", approval=outcome.approval)}
    if outcome.state in ("done", "skipped"):
        return {"undo": steps, "undone": [*state.get("undone", []), step], "override": None}
    return {"undo": steps, "manual": [*state.get("manual", []), step], "override": None}
