"""Writes the contract documents anew: `python -m tests.app.api.openapi`; a test compares them with the app."""

import json
from pathlib import Path

from app.api.problems import PROBLEMS
from app.api.server import create_app

DOCS = Path(__file__).parents[3] / "docs"
_HEAD = """# Codes

Every refusal and every ending that is not plain success carries one of these. The list is closed: a new code is a
change of the contract. Over HTTP the code stands in a problem document (`application/problem+json`).

| code | HTTP | what it means | what to do next |
|---|---|---|---|
"""


def main() -> None:
    """Write `docs/openapi.json` and `docs/codes.md`."""
    (DOCS / "openapi.json").write_text(json.dumps(create_app().openapi(), indent=1, sort_keys=True) + "\n")
    rows = [f"| `{code}` | {kind.status} | {kind.title} | {kind.next} |" for code, kind in PROBLEMS.items()]
    (DOCS / "codes.md").write_text(_HEAD + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
