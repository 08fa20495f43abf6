"""The executor node: performs one effect of the plan through the gateway, or takes one back after a failure."""

from collections.abc import Callable
from dataclasses import replace

from graphs.execution import batches
from graphs.execution.binding import Binder
from graphs.execution.capabilities import Invocation, Node, Perform
from graphs.execution.cursor import conclude
from graphs.execution.cuts import Cuts
from graphs.execution.recovery import bind_undo
from graphs.state import Obstacle, State, Update
from memory.errors import Permanent
from memory.runs.records import Lease
from tools.action import Action, Outcome


def make_executor(
    perform: Perform, rows: Callable[[Lease], Cuts], binder: Binder, amount: Callable[[Action], int]
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
    amount: Callable[[Action], int],
) -> Update:
    """Perform the current action; together with it goes what people would be asked about, if they must be."""
    current = await binder.bind(state, cuts.cut)
    action = current.action(invocation, "executor")
    questions, lease = state.get("questions", {}), invocation.lease
    exposure, fence = questions.get(current.step.id, (None, None))
    if exposure is not None and fence == lease.fence:
        return conclude(state, current, await perform(lease, replace(action, exposure=exposure)))
    # A new lease puts the question again: the one before it may have ended before anybody was asked.
    batch = await batches.gather(current, action, invocation, cuts, amount=amount, exposure=exposure)
    first, *siblings = batch.actions
    outcome = await perform(lease, first, siblings, batches.describe(batch, current))
    covers = {step: [batch.exposure, lease.fence] for step in batch.steps}
    return {"questions": {**questions, **covers}, **conclude(state, current, outcome)}


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
