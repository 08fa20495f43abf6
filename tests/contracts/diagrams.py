"""Drawing of the governed flow from its own code into `docs/flow.md`: `python -m tests.contracts.diagrams`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from graphs.deps import Deps
from graphs.flows.governed import build
from tests.contracts.measures import ROOT

PAGE = ROOT / "docs" / "flow.md"
Edge = tuple[str, str]
_HEAD = """# The governed flow

Drawn from `graphs/flows/governed.py`; a test compares. A node says in the state what it found; the router that bears
its name (`after_planner`, `after_executor` …, in the same file) reads from the state where that leads. Each
line below is one answer of a router.

The story: the **planner** reads the request and proposes a plan, first one that only looks. The **researcher** performs
its reads, the planner then plans the repair, the **executor** performs the repair's effects one by one. An effect that
people must agree to waits at the **gate**. The **auditor** compares the plan with the journal; every way to the end
passes it. Only researcher and executor reach tools, and only through the gateway, which enforces policy in any flow.
"""
NODES: Mapping[str, str] = {
    "__start__": "start",
    "planner": "planner<br/>request to plan",
    "researcher": "researcher<br/>performs a read",
    "executor": "executor<br/>performs an effect",
    "gate": "gate<br/>waits for people: interrupt()",
    "auditor": "auditor<br/>plan against journal",
    "__end__": "end",
}
EDGES: Mapping[Edge, str] = {
    ("__start__", "planner"): "a request",
    ("__start__", "researcher"): "a client's plan, first step reads",
    ("__start__", "executor"): "a client's plan, first step acts",
    ("__start__", "auditor"): "a client's plan, no step due",
    ("planner", "researcher"): "a plan, first step reads",
    ("planner", "executor"): "a plan, first step acts",
    ("planner", "gate"): "a question to the requester",
    ("planner", "auditor"): "nothing to do",
    ("researcher", "researcher"): "next read",
    ("researcher", "planner"): "investigation complete",
    ("researcher", "executor"): "next step acts, or take back",
    ("researcher", "auditor"): "last step, or a failure",
    ("executor", "executor"): "next batch, next effect, or take back",
    ("executor", "researcher"): "next step reads",
    ("executor", "gate"): "held: people must agree",
    ("executor", "planner"): "knowledge went stale",
    ("executor", "auditor"): "last step, denied, or nothing left to take back",
    ("gate", "gate"): "not decided yet",
    ("gate", "executor"): "approved, or edited",
    ("gate", "planner"): "answered, or knowledge went stale",
    ("gate", "researcher"): "a read accepted as it is",
    ("gate", "auditor"): "rejected, or too late",
    ("auditor", "executor"): "checked, next step acts",
    ("auditor", "researcher"): "checked, next step reads",
    ("auditor", "gate"): "not as expected: people decide",
    ("auditor", "__end__"): "accounted for",
}
"""What each line means; the lines themselves come from the compiled graph."""


def edges() -> list[Edge]:
    """Return the edges of the compiled flow."""
    nobody: Any = object()
    deps = Deps(**{field.name: nobody for field in fields(Deps)})
    return [(edge.source, edge.target) for edge in build(deps).compile().get_graph().edges]


def page() -> str:
    """Return the page as it should be; an edge without a meaning is drawn bare."""
    order = list(NODES)
    lines = ["graph TD"]
    lines += [f"  {name}{_box(name, label)}" for name, label in NODES.items()]
    for source, target in sorted(edges(), key=lambda edge: [order.index(name) for name in edge]):
        label = EDGES.get((source, target))
        lines.append(f"  {source} -->|{label}| {target}" if label else f"  {source} --> {target}")
    drawing = "\n".join(lines)
    return f"{_HEAD}\n```mermaid\n{drawing}\n```\n"


def _box(name: str, label: str) -> str:
    return f'(["{label}"])' if name.startswith("__") else f'["{label}"]'


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
