"""Shape of the code: inside the limits of `measures`."""

import ast

import pytest

from tests.contracts import measures
from tests.contracts.measures import LIMITS, Module, modules

MODULES = [*modules(world=True), *measures.tests()]
MOCKS = {"mock", "pytest_" + "mock", "resp" + "x", "responses", "freezegun", "time_machine"}
"""Put together, because a file that names one counts as using it."""


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    return measures.figures()


@pytest.mark.parametrize("name", LIMITS)
def test_figure_stays_within_its_limit(figures: dict[str, float], name: str) -> None:
    assert figures[name] <= LIMITS[name]


def test_no_file_is_too_long_to_read() -> None:
    files = [module for module in MODULES if module.path != measures.CARRIED]
    assert [module.name for module in files if module.lines > LIMITS["file max"]] == []


def test_functions_are_typed_and_fit_a_screen() -> None:
    functions = [(module.name, function) for module in MODULES for function in module.functions]
    without_types = [f"{name}.{function.name}" for name, function in functions if not measures.is_typed(function)]
    long = [
        f"{name}.{function.name}" for name, function in functions if measures.length(function) > LIMITS["function max"]
    ]
    assert without_types + long == []


def test_no_module_imports_itself_through_others() -> None:
    assert measures.cycles(MODULES) == []


def test_nothing_of_ours_is_replaced_by_a_mock() -> None:
    patch = "monkeypatch" + ".setattr"
    assert [module.name for module in MODULES if patch in module.text or _imports(module, MOCKS)] == []
    assert [module.name for module in MODULES if "unittest" + ".mock" in module.imports()] == []


def test_the_unmaintained_http_client_is_never_imported() -> None:
    assert [module.name for module in MODULES if _imports(module, {"httpx"})] == []


def _imports(module: Module, packages: set[str]) -> bool:
    return any(name.split(".")[0] in packages for name in module.imports())


def test_only_discovery_imports_by_name() -> None:
    """Import contracts cannot see such imports; a constant name is a lazy import like any other."""
    assert [module.name for module in modules() if _imports_by_name(module)] == ["tools.discovery"]


def _imports_by_name(module: Module) -> bool:
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    by_name = (
        "import_module" in ast.unparse(call.func) and not isinstance(call.args[0], ast.Constant) for call in calls
    )
    return any(by_name) or any(ast.unparse(call.func).endswith("exec_module") for call in calls)


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {module.path.parent for module in measures.tests()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
