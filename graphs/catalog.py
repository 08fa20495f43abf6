"""Catalogue of flows: found by walking one folder, held to the auditor, compiled once per process.

The worker leads runs through it; the API asks it which flows there are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START

import graphs.flows
from graphs.adapter import AdaptedNode, Graph
from graphs.deps import Deps
from graphs.execution.capabilities import Node
from graphs.nodes import auditor
from memory.errors import Permanent
from memory.runs.run_store import RunStore
from tools import discovery

STEPS_LIMIT = 10_000
"""Super-steps of one drive; budgets and the no-progress rule end a run long before."""
SETTING = "COUNTERSIGN_FLOWS_DIR"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
AUDITOR = "auditor"
"""Name of the node that every flow ends with."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow: a name that runs bear, and how its graph is built."""

    name: str
    build: Callable[[Deps], Graph]
    single_task: bool = False
    """Whether every step is one task, so that the saver may store writes with the checkpoint after them."""
    writers: tuple[str, ...] = ()
    """Nodes that may write to the store; all others read it."""

    def compile(
        self, deps: Deps, saver: BaseCheckpointSaver[str] | None = None, store: RunStore | None = None
    ) -> Graph:
        """Return the compiled flow; invoke it with a lease as context and `checkpoints.leading(lease)` as config."""
        memory = store.with_writers(*self.writers) if store else None
        return self.build(deps).compile(checkpointer=saver, store=memory)


class FlowCatalog:
    """All flows by name; none of them can end a run around the auditor."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._flows: dict[str, Flow] = {}
        for flow in flows:
            if flow.name in self._flows:
                raise Permanent("configuration", f"two flows are named {flow.name!r}; rename the file of one of them")
            if problems := _problems(flow):
                raise Permanent("configuration", f"flow {flow.name!r} cannot be led: {'; '.join(problems)}")
            self._flows[flow.name] = flow

    @classmethod
    def discover(cls, folder: Path | None = None) -> "FlowCatalog":
        """Import the shipped flows and those of a folder of one's own; each file is a flow of its name."""
        modules = [*discovery.package_modules(graphs.flows)]
        if folder:
            modules += discovery.folder_modules(folder, SETTING)
        return cls(map(_flow, modules))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all flows, sorted."""
        return tuple(sorted(self._flows))

    def get(self, name: str) -> Flow:
        """Return a flow; raises Permanent("not_found") naming what exists."""
        if name not in self._flows:
            raise Permanent("not_found", f"there is no flow {name!r}; there are {', '.join(self.names)}")
        return self._flows[name]

    def __iter__(self) -> Iterator[Flow]:
        return iter(self._flows.values())


def _flow(module: ModuleType) -> Flow:
    path, build = Path(str(module.__file__)), getattr(module, "build", None)
    if not callable(build):
        raise Permanent("configuration", f"{str(path)!r} is no flow: it has no function `build(deps)`")
    if not _NAME.fullmatch(path.stem):
        raise Permanent("configuration", f"{str(path)!r} names no flow: small letters, digits, _; at most 40")
    single_task, writers = getattr(module, "SINGLE_TASK", False), getattr(module, "WRITERS", ())
    return Flow(path.stem, build, single_task, tuple(writers))


def _problems(flow: Flow) -> list[str]:
    """Return what is wrong with a flow, tried without anything that could act.

    This catches mistakes, not malice: a flow is code of the installation, like a tool.
    """
    nobody: Any = _Nobody()
    try:
        graph = flow.build(Deps(**{field.name: nobody for field in fields(Deps)}))
        graph.compile()
    except Exception as error:
        raise Permanent("configuration", f"flow {flow.name!r} cannot be built: {error!r}; mend or move it") from error
    problems = [f"node {name!r} is not wrapped in `adapt`" for name in graph.nodes if _node(graph, name) is None]
    if getattr(_node(graph, AUDITOR), "__module__", "") != auditor.__name__:
        problems.append(f"it has no node {AUDITOR!r} made by `make_auditor`")
    return problems + [
        f"a way leads from {name!r} to the end around the auditor; lead it to {AUDITOR!r}, and give a router a return "
        "type that names its targets"
        for name in (START, *graph.nodes)
        if name != AUDITOR and END in _targets(graph, name)
    ]


def _node(graph: Graph, name: str) -> Node | None:
    """Return the node behind an adapter, or None for any other callable."""
    if name not in graph.nodes:
        return None
    adapter = graph.nodes[name].runnable.afunc
    return adapter.node if isinstance(adapter, AdaptedNode) else None


def _targets(graph: Graph, source: str) -> set[str]:
    """Return where a node leads; a router that does not say so may lead anywhere, and a node without edges ends."""
    targets = {target for name, target in graph.edges if name == source}
    targets |= {target for names, target in graph.waiting_edges if source in names}
    for branch in graph.branches[source].values():
        targets |= set(branch.ends.values()) if branch.ends else {END}
    return targets or {END}


class _Nobody:
    """Stands for every capability while a flow is tried; whatever is called or read answers with itself."""

    def __call__(self, *_: object, **__: object) -> "_Nobody":
        return self

    def __getattr__(self, name: str) -> "_Nobody":
        return self

    def __getitem__(self, name: object) -> "_Nobody":
        return self
