"""The governed flow: plan, research, gate, execute, audit; every way to the end leads through the auditor.

The worker compiles it once per process; each run comes with its lease. The nodes only say what they found, and
`next_stop` reads from the state where it leads.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from graphs.deps import Deps
from graphs.execution.capabilities import Invocation, Node
from graphs.flows.routing import next_stop
from graphs.nodes.adoption import make_planning
from graphs.nodes.auditor import make_auditor
from graphs.nodes.executor import make_executor
from graphs.nodes.gate import make_gate
from graphs.nodes.researcher import make_researcher
from graphs.state import State, Update
from memory.runs.records import Lease

Graph = Any
"""A compiled graph; its types are too open to be checked here."""
STEPS_LIMIT = 10_000
"""Super-steps of one drive; budgets and the no-progress rule end a run long before."""


def build(deps: Deps, saver: BaseCheckpointSaver[str] | None = None) -> Graph:
    """Return the compiled flow; invoke it with a lease as context and `checkpoints.leading(lease)` as configuration."""
    graph: Any = StateGraph(State, context_schema=Lease)
    graph.add_node("planner", _led(make_planning(deps.planner, deps.adopt, deps.record, deps.cite)))
    graph.add_node("researcher", _led(make_researcher(deps.perform, deps.rows, deps.cards)))
    graph.add_node("gate", _led(make_gate(deps.standing, deps.answers)))
    graph.add_node("executor", _led(make_executor(deps.perform, deps.rows, deps.cards, deps.amount)))
    graph.add_node("auditor", _led(make_auditor(deps.entries, deps.record)))
    graph.add_conditional_edges(START, next_stop, ["planner", "researcher", "executor", "auditor"])
    graph.add_conditional_edges("planner", next_stop, ["researcher", "executor", "gate", "planner", "auditor"])
    graph.add_conditional_edges("researcher", next_stop, ["researcher", "executor", "planner", "auditor"])
    graph.add_conditional_edges("gate", next_stop, ["gate", "planner", "executor", "auditor"])
    graph.add_conditional_edges("executor", next_stop, ["researcher", "executor", "gate", "planner", "auditor"])
    graph.add_conditional_edges("auditor", _after_audit, ["researcher", "executor", END])
    return graph.compile(checkpointer=saver)


def _after_audit(state: State) -> str:
    return END if state.get("end") else next_stop(state)


def _led(node: Node) -> Callable[..., Awaitable[Update]]:
    """Return the node as LangGraph calls it; the lease is data and comes with the run."""

    async def led(state: State, *, runtime: Runtime[Lease]) -> Update:
        info = runtime.execution_info
        return await node(state, Invocation(runtime.context, info.checkpoint_id if info else ""))

    return led
