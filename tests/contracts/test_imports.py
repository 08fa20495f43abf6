"""The import contracts hold, and each of them really catches what it forbids."""

from copy import deepcopy
from typing import Any

import grimp
import pytest
from importlinter import api
from importlinter.contracts import acyclic_siblings, forbidden, independence, layers, protected

from tests.contracts.measures import ROOT

LINTER: Any = api
"""Its types are too open to be checked here."""
OPTIONS: dict[str, Any] = LINTER.read_configuration(str(ROOT / "pyproject.toml"))
CONTRACTS: dict[str, Any] = {options["name"]: options for options in OPTIONS["contracts_options"]}
TYPES: dict[str, Any] = {
    "acyclic_siblings": acyclic_siblings.AcyclicSiblingsContract,
    "forbidden": forbidden.ForbiddenContract,
    "independence": independence.IndependenceContract,
    "layers": layers.LayersContract,
    "protected": protected.ProtectedContract,
}
VIOLATIONS = {
    "Four rooms": ("memory.planted", "tools.action"),
    "Memory in four floors": ("memory.store.search", "memory.governance.journal"),
    "Graphs in six floors": ("graphs.execution.binding", "graphs.nodes.executor"),
    "Effects are claimed": ("tools.planted", "tools.effects"),
    "Calls are made": ("graphs.planted", "tools.calls"),
    "Adapters are discovered": ("app.planted", "tools.adapters.billing"),
    "Who plans": ("graphs.planning.drafting", "tools.gateway"),
    "Adapters do not know": ("tools.adapters.billing", "tools.adapters.cloud"),
    "Nodes do not know": ("graphs.nodes.gate", "graphs.nodes.planner"),
    "No cycles": ("memory.scope", "memory.governance.journal"),
    "The demo business": ("app.settings", "app.world"),
    "SQL is spoken": ("graphs.planted", "psycopg"),
    "Vectors in the types": ("tools.planted", "pgvector"),
    "LangGraph is met": ("tools.gateway", "langgraph"),
    "Cedar judges": ("tools.gateway", "cedarpy"),
    "CEL computes": ("graphs.execution.binding", "cel_expr_python"),
    "HTTP is served": ("app.worker", "fastapi"),
    "Screens belong": ("app.worker", "rich"),
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Return all imports of the product, lazy ones too."""
    return grimp.build_graph(
        *OPTIONS["session_options"]["root_packages"], include_external_packages=True, cache_dir=None
    )


def _is_kept(name: str, graph: grimp.ImportGraph) -> bool:
    options = CONTRACTS[name]
    contract = TYPES[options["type"]](name=name, session_options=OPTIONS["session_options"], contract_options=options)
    return bool(contract.check(deepcopy(graph), verbose=False).kept)


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_is_kept(graph: grimp.ImportGraph, name: str) -> None:
    assert _is_kept(name, graph)


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_planted_violation_breaks_its_contract(graph: grimp.ImportGraph, name: str) -> None:
    """R5: nothing that plans can reach anything that acts, not even through other modules."""
    (violation,) = [names for start, names in VIOLATIONS.items() if name.startswith(start)]
    planted = deepcopy(graph)
    planted.add_import(importer=violation[0], imported=violation[1])
    assert not _is_kept(name, planted)
