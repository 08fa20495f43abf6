"""The researcher node: performs one read of the plan through the gateway, and remembers its result in small."""

from collections.abc import Callable

from graphs.execution.binding import Binder
from graphs.execution.capabilities import Invocation, Node, Perform
from graphs.execution.cursor import conclude
from graphs.execution.cuts import Cuts
from graphs.state import State, Update
from memory.runs.leases import Lease


def make_researcher(perform: Perform, rows: Callable[[Lease], Cuts], binder: Binder) -> Node:
    """Return the researcher node; whatever the plan says, the gateway lets this role read only."""

    async def researcher(state: State, invocation: Invocation) -> Update:
        current = await binder.bind(state, rows(invocation.lease).cut)
        outcome = await perform(invocation.lease, current.action(invocation, "researcher"))
        return conclude(state, current, outcome)

    return researcher
