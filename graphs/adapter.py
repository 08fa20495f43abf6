"""Adapter from a node to LangGraph's calling convention; flows wrap every node in it.

The lease comes with the run as LangGraph's runtime context, so that a node needs to know nothing of LangGraph.
"""

from dataclasses import dataclass, replace
from typing import Any

from langgraph.runtime import Runtime

from graphs.execution.capabilities import Invocation, Node
from graphs.state import State, Update
from memory.errors import Permanent
from memory.runs.leases import Lease

Graph = Any
"""A graph, compiled or not; LangGraph's types are too open to be checked here."""


@dataclass(frozen=True, slots=True)
class AdaptedNode:
    """A node as LangGraph calls it."""

    node: Node

    async def __call__(self, state: State, *, runtime: Runtime[Lease]) -> Update:
        """Call the node with what it may know of its execution.

        Raises Permanent("configuration") for an answer that is no part of the state: edges lead a run, nodes do not.
        """
        execution = runtime.execution_info
        lease = replace(runtime.context, checkpoint=execution.checkpoint_id if execution else "")
        answer = await self.node(state, Invocation(lease))
        if not _is_update(answer):
            raise Permanent("configuration", f"a node answered with {type(answer).__name__}, which is no part of state")
        return answer


def adapt(node: Node) -> AdaptedNode:
    """Return the node as LangGraph calls it."""
    return AdaptedNode(node)


def _is_update(answer: object) -> bool:
    # A flow of one's own may be written without types; a `Command` would lead the run past the edges.
    return isinstance(answer, dict)
