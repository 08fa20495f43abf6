"""Page of guarantees: `docs/guarantees.md` from the numbers that tests cite in their docstrings.

Run it as `python -m tests.guarantees` after citing a number; a test fails while the page is out of date.
"""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PAGE = ROOT / "docs" / "guarantees.md"
_NUMBER = re.compile(r"\b[PR]\d+\b")
_HEAD = """# Guarantees

Each sentence is shown by the tests below it; a promise that no test shows does not stand here. The numbers are only
names. This page is generated (`python -m tests.guarantees`) and checked by the tests.
"""


def promises() -> dict[str, dict[str, str]]:
    """Return the sentence of every promise by its number, in sections."""
    return tomllib.loads((TESTS / "guarantees.toml").read_text())


def citations() -> Mapping[str, list[str]]:
    """Return the tests that cite each number, as `file::test`, in a stable order."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for number, citation in sorted(set(_citations_of(path)), key=lambda pair: pair[1]):
            places[number].append(citation)
    return places


def _citations_of(path: Path) -> Iterator[tuple[str, str]]:
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in (tree, *ast.walk(tree)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            citation = name if isinstance(node, ast.Module) else f"{name}::{node.name}"
            for number in _NUMBER.findall(ast.get_docstring(node) or ""):
                yield number, citation


def page() -> str:
    """Return the page as it should be; a promise appears once a test cites it."""
    numbers = citations()
    lines = [_HEAD]
    for section, rows in promises().items():
        sentences = {number: sentence for number, sentence in rows.items() if number in numbers}
        if sentences:
            lines += [f"## {section}", ""]
        for number, sentence in sentences.items():
            lines += [f"**{number}** {sentence}", "", *(_line(citation) for citation in numbers[number]), ""]
    return "\n".join(lines)


def _line(citation: str) -> str:
    path, _, test = citation.partition("::")
    words = test.removeprefix("test_").replace("_", " ") or "the whole file"
    return f"- [{words}](../{path})"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
