"""The governed flow: plan, research, execute, ask at the gate, audit; every way to the end leads through the auditor.

The catalogue of flows finds and compiles it, once per process; each run comes with its lease. A node says in the state
what it found; the router that bears its name reads from there where that leads.
"""

from typing import Literal

from langgraph.graph import START, StateGraph

from graphs.adapter import Graph, adapt
from graphs.deps import Deps
from graphs.execution.plans import plan_of, step_of
from graphs.nodes.adoption import make_planning
from graphs.nodes.auditor import make_auditor
from graphs.nodes.executor import make_executor
from graphs.nodes.gate import make_gate
from graphs.nodes.researcher import make_researcher
from graphs.state import State
from memory.runs.leases import Lease

SINGLE_TASK = True
"""Each step of this flow is one task, so that the saver may store what a node wrote with the checkpoint after it."""
WRITERS = ("researcher", "executor")
"""Nodes that may write to the store; all others read it."""


def build(deps: Deps) -> Graph:
    """Return the flow; the catalogue compiles it with a saver, and a run is invoked with its lease as context."""
    graph: Graph = StateGraph(State, context_schema=Lease)
    graph.add_node("planner", adapt(make_planning(deps.planner, deps.adopt, deps.record, deps.cite)))
    graph.add_node("researcher", adapt(make_researcher(deps.perform, deps.rows, deps.binder)))
    graph.add_node("executor", adapt(make_executor(deps.perform, deps.rows, deps.binder, deps.amount)))
    graph.add_node("gate", adapt(make_gate(deps.standing, deps.answers)))
    graph.add_node("auditor", adapt(make_auditor(deps.entries, deps.record, deps.ask_about_audit)))
    graph.add_conditional_edges(START, after_start)
    graph.add_conditional_edges("planner", after_planner)
    graph.add_conditional_edges("researcher", after_researcher)
    graph.add_conditional_edges("executor", after_executor)
    graph.add_conditional_edges("gate", after_gate)
    graph.add_conditional_edges("auditor", after_auditor)
    return graph


# LangGraph reads from a router's return type where it can lead. Routers are coroutines because it would send a plain
# function to another thread.


async def after_start(state: State) -> Literal["planner", "researcher", "executor", "auditor"]:
    """A request goes to the planner; a complete plan by a client goes past it, to its first step."""
    if not state.get("plan"):
        return "planner"
    return _at_step(state)


async def after_planner(state: State) -> Literal["gate", "researcher", "executor", "auditor"]:
    """A question goes to the requester, a verdict to the auditor, a plan to its first step."""
    if state.get("clarify"):
        return "gate"
    if state.get("verdict"):
        return "auditor"
    return _performer(state) or "auditor"


async def after_researcher(state: State) -> Literal["researcher", "planner", "executor", "auditor"]:
    """A read leads to the next step, after an investigation to the planner, if it failed to taking back."""
    if state.get("outcome"):
        return "auditor"
    if state.get("undo"):
        return "executor"
    if _is_audit_due(state):
        return "auditor"
    return "planner" if state.get("stale") else _at_step(state)


async def after_executor(state: State) -> Literal["gate", "executor", "researcher", "planner", "auditor"]:
    """A hold leads to the gate, stale knowledge to the planner, a failure to taking back, success to the next step."""
    if outcome := state.get("outcome"):
        return "gate" if outcome.get("state") == "held" else "auditor"
    if state.get("undo"):
        return "executor"
    if _is_audit_due(state):
        return "auditor"
    return "planner" if state.get("stale") else _at_step(state)


async def after_gate(state: State) -> Literal["gate", "researcher", "executor", "planner", "auditor"]:
    """An approval leads to the action, an answer to the planner, a refusal to the auditor; else the wait goes on."""
    if outcome := state.get("outcome"):
        return "gate" if outcome.get("state") == "held" else "auditor"
    if state.get("clarify"):
        return "planner" if state.get("answered") else "gate"
    if state.get("failure"):
        return "executor" if state.get("undo") else "auditor"
    return "planner" if state.get("stale") else _at_step(state)


async def after_auditor(state: State) -> Literal["__end__", "gate", "researcher", "executor"]:
    """The only way to the end; what failed goes before people, a check between two steps leads on to the next one."""
    if (state.get("outcome") or {}).get("state") == "held":
        return "gate"
    return "__end__" if state.get("end") else (_performer(state) or "__end__")


def _at_step(state: State) -> Literal["planner", "researcher", "executor", "auditor"]:
    """Return who comes next in the plan: its step's performer, and after the last step the planner or the auditor."""
    if performer := _performer(state):
        return performer
    return "planner" if plan_of(state).kind == "investigation" else "auditor"


def _performer(state: State) -> Literal["researcher", "executor"] | None:
    step = step_of(state)
    if step is None:
        return None
    return "researcher" if step.effect == "read" else "executor"


def _is_audit_due(state: State) -> bool:
    return bool(state.get("failure") or state.get("audit"))
