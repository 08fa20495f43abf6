"""The researcher: performs one read of the plan through the gateway, and remembers what it found in small."""

from collections.abc import Callable, Mapping

from graphs.execution.capabilities import Cuts, Invocation, Node, Perform
from graphs.execution.steps import BoundStep, concluded
from graphs.planning.validation import Card
from graphs.state import State, Update
from memory.runs.records import Lease


def make_researcher(perform: Perform, rows: Callable[[Lease], Cuts], cards: Mapping[str, Card]) -> Node:
    """Return the researcher node; whatever the plan says, the gateway lets this role read only."""

    async def researcher(state: State, turn: Invocation) -> Update:
        current = BoundStep.at(state, cards)
        args = await current.arguments(rows(turn.lease).cut, current.item)
        outcome = await perform(turn.lease, current.action(turn, "researcher", current.item, args))
        return concluded(state, current, outcome, args)

    return researcher
