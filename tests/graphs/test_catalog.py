"""Catalogue of flows: every file of a folder is one, and none of them can end a run around the auditor."""

from pathlib import Path

import pytest

from graphs.catalog import Flow, FlowCatalog
from graphs.flows import governed
from memory.errors import Permanent

HEAD = """
from langgraph.graph import END, START, StateGraph

from graphs.adapter import adapt
from graphs.nodes.auditor import make_auditor
from graphs.nodes.executor import make_executor
from graphs.state import State
from memory.runs.leases import Lease

async def lead(state: State, invocation):
    return {}

def nodes(deps):
    graph = StateGraph(State, context_schema=Lease)
    graph.add_node("act", adapt(make_executor(deps.perform, deps.rows, deps.binder, deps.amount)))
    graph.add_node("auditor", adapt(make_auditor(deps.entries, deps.record)))
    graph.add_edge(START, "act")
    return graph

"""
SOUND = """
def build(deps):
    graph = nodes(deps)
    graph.add_edge("act", "auditor")
    graph.add_edge("auditor", END)
    return graph
"""
UNSOUND = {
    "around the auditor": (
        "'act' to the end",
        """
def build(deps):
    graph = nodes(deps)
    graph.add_conditional_edges("act", lambda state: "auditor", ["auditor", END])
    graph.add_edge("auditor", END)
    return graph
""",
    ),
    "a router that may lead anywhere": (
        "'act' to the end",
        """
def build(deps):
    graph = nodes(deps)
    graph.add_conditional_edges("act", lambda state: "auditor")
    graph.add_edge("auditor", END)
    return graph
""",
    ),
    "a node where runs end by themselves": (
        "'rest' to the end",
        """
def build(deps):
    graph = nodes(deps)
    graph.add_node("rest", adapt(lead))
    graph.add_conditional_edges("act", lambda state: "auditor", ["auditor", "rest"])
    graph.add_edge("auditor", END)
    return graph
""",
    ),
    "from the start": (
        "'__start__' to the end",
        """
def build(deps):
    graph = nodes(deps)
    graph.add_edge(START, END)
    graph.add_edge("act", "auditor")
    return graph
""",
    ),
    "another auditor": (
        "no node 'auditor' made by",
        """
def build(deps):
    graph = StateGraph(State, context_schema=Lease)
    graph.add_node("auditor", adapt(lead))
    graph.add_edge(START, "auditor")
    return graph
""",
    ),
    "a bare node": (
        "'bare' is not wrapped",
        """
def build(deps):
    graph = nodes(deps)
    graph.add_node("bare", lambda state: {})
    graph.add_edge("act", "bare")
    graph.add_edge("bare", "auditor")
    return graph
""",
    ),
    "no auditor": (
        "no node 'auditor'",
        """
def build(deps):
    graph = StateGraph(State, context_schema=Lease)
    graph.add_node("act", adapt(lead))
    graph.add_edge(START, "act")
    return graph
""",
    ),
    "an unknown target": (
        "cannot be built",
        """
def build(deps):
    graph = nodes(deps)
    graph.add_edge("act", "nowhere")
    return graph
""",
    ),
}


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return folder


def test_a_file_in_a_folder_of_ones_own_is_a_flow_beside_the_shipped_ones(tmp_path: Path) -> None:
    assert FlowCatalog.discover(put(tmp_path, "short.py", HEAD + SOUND)).names == ("governed", "short")


@pytest.mark.parametrize("name", UNSOUND)
def test_a_flow_that_can_end_around_the_auditor_is_refused_when_it_is_loaded(tmp_path: Path, name: str) -> None:
    """Whatever acts is accounted for, in flows of one's own too."""
    reason, text = UNSOUND[name]
    with pytest.raises(Permanent, match=reason) as error:
        FlowCatalog.discover(put(tmp_path, "own.py", HEAD + text))
    assert (error.value.code, "'own'" in str(error.value)) == ("configuration", True)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("broken.py", "import nothing_of_that_name", "cannot be imported: ModuleNotFoundError"),
        ("broken.py", "def build(deps", "cannot be imported: SyntaxError"),
        ("empty.py", "", "has no function `build"),
        ("governed.py", HEAD + SOUND, "two flows are named 'governed'"),
        ("Two-Words.py", HEAD + SOUND, "names no flow"),
    ],
)
def test_a_file_that_is_no_flow_is_refused_by_name(tmp_path: Path, name: str, text: str, reason: str) -> None:
    with pytest.raises(Permanent, match=reason) as error:
        FlowCatalog.discover(put(tmp_path, name, text))
    assert error.value.code == "configuration"


def test_a_file_that_begins_with_an_underscore_is_left_alone(tmp_path: Path) -> None:
    assert FlowCatalog.discover(put(tmp_path, "_notes.py", "this is no Python")).names == ("governed",)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="does not exist; make it or mend COUNTERSIGN_FLOWS_DIR"):
        FlowCatalog.discover(tmp_path / "none")


def test_an_unknown_flow_is_answered_with_those_there_are() -> None:
    with pytest.raises(Permanent, match="there is no flow 'other'; there are governed"):
        FlowCatalog([Flow("governed", governed.build)]).get("other")
