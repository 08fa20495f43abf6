"""Adapter from a node to LangGraph's calling convention; flows wrap every node in it.

The lease comes with the run as LangGraph's runtime context, so that a node needs to know nothing of LangGraph.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.runtime import Runtime

from graphs.execution.capabilities import Invocation, Node
from graphs.state import State, Update
from memory.runs.records import Lease

Graph = Any
"""A graph, compiled or not; LangGraph's types are too open to be checked here."""


def adapt(node: Node) -> Callable[..., Awaitable[Update]]:
    """Return the node as LangGraph calls it."""

    async def call(state: State, *, runtime: Runtime[Lease]) -> Update:
        execution = runtime.execution_info
        return await node(state, Invocation(runtime.context, execution.checkpoint_id if execution else ""))

    return call
