"""Draws the flow from its own code into `docs/flow.md`: `python -m tests.contracts.diagrams` after changing edges."""

from dataclasses import fields
from typing import Any

from graphs.deps import Deps
from graphs.flows.governed import build
from tests.contracts.measures import ROOT

PAGE = ROOT / "docs" / "flow.md"
_HEAD = """# The governed flow

Drawn from `graphs/flows/governed.py`; a test compares. Solid and dotted lines mean the same: a node says what it found,
and one function reads from the state where that leads. Every way to the end passes the auditor.
"""


def page() -> str:
    """Return the page as it should be."""
    nobody: Any = object()
    deps = Deps(**{field.name: nobody for field in fields(Deps)})
    return f"{_HEAD}\n```mermaid\n{build(deps).get_graph().draw_mermaid().rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
