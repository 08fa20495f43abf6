"""The governed flow: plan, research, execute, ask at the gate, audit; every way to the end leads through the auditor.

The worker compiles it once per process; each run comes with its lease. A node says what it found, and the router that
bears its name reads from the state where that leads.
"""

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph

from graphs.deps import Deps
from graphs.flows import routing
from graphs.flows.adapter import Graph, adapt
from graphs.nodes.adoption import make_planning
from graphs.nodes.auditor import make_auditor
from graphs.nodes.executor import make_executor
from graphs.nodes.gate import make_gate
from graphs.nodes.researcher import make_researcher
from graphs.state import State
from memory.runs.records import Lease
from memory.runs.run_store import RunStore

SINGLE_TASK = True
"""Each step of this flow is one task, so that the saver may store what a node wrote with the checkpoint after it."""
STEPS_LIMIT = 10_000
"""Super-steps of one drive; budgets and the no-progress rule end a run long before."""


def build(deps: Deps, saver: BaseCheckpointSaver[str] | None = None, store: RunStore | None = None) -> Graph:
    """Return the compiled flow; invoke it with a lease as context and `checkpoints.leading(lease)` as configuration."""
    graph: Graph = StateGraph(State, context_schema=Lease)
    graph.add_node("planner", adapt(make_planning(deps.planner, deps.adopt, deps.record, deps.cite)))
    graph.add_node("researcher", adapt(make_researcher(deps.perform, deps.rows, deps.binder)))
    graph.add_node("executor", adapt(make_executor(deps.perform, deps.rows, deps.binder, deps.amount)))
    graph.add_node("gate", adapt(make_gate(deps.standing, deps.answers)))
    graph.add_node("auditor", adapt(make_auditor(deps.entries, deps.record)))
    graph.add_conditional_edges(START, routing.after_start)
    graph.add_conditional_edges("planner", routing.after_planner)
    graph.add_conditional_edges("researcher", routing.after_researcher)
    graph.add_conditional_edges("executor", routing.after_executor)
    graph.add_conditional_edges("gate", routing.after_gate)
    graph.add_conditional_edges("auditor", routing.after_auditor)
    # Planner, gate and auditor read memory through the store; whoever acts may note what it works with.
    memory = store.with_writers("researcher", "executor") if store else None
    return graph.compile(checkpointer=saver, store=memory)
