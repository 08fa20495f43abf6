import json
from pathlib import Path

from app.api.server import create_app
from memory.errors import CODES

DOCS = Path(__file__).parents[3] / "docs"


def test_the_committed_contract_is_that_of_the_app() -> None:
    """Write it anew with `python -m tests.app.api.openapi` and look at the difference."""
    assert json.loads((DOCS / "openapi.json").read_text()) == create_app().openapi()


def test_every_operation_has_a_name_and_says_how_it_fails() -> None:
    operations = [op for path in create_app().openapi()["paths"].values() for op in path.values()]
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert all("500" in op["responses"] for op in operations)


def test_every_code_is_documented() -> None:
    """R109."""
    text = (DOCS / "codes.md").read_text()
    assert {code for code in CODES if f"| `{code}` |" in text} == CODES
