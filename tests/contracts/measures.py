"""Measures of the code's shape: lengths, branches, types, docstrings, escapes, cycles; for `make check` and tests.

Run it as `python -m tests.contracts.measures`: it prints each figure beside its limit and fails if one is over.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("app", "graphs", "tools", "memory")
WORLD = ROOT / "app" / "world"
"""The demo business: its style is checked like everything's, but it does not count as our code."""

CARRIED = ROOT / "memory" / "evidence" / "verifier.py"
"""The file that strangers take along, which therefore imports nothing of ours and cannot be split."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_FORKS = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
_PROSE = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_ESCAPE = re.compile(r"#\s*(?:type:\s*ignore|pyright:|noqa|mypy:)")
_SILENT = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)


@dataclass(frozen=True)
class Module:
    """One Python file of the repository."""

    path: Path

    @cached_property
    def name(self) -> str:
        """Return the dotted name under which it is imported."""
        names = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(names[:-1] if names[-1] == "__init__" else names)

    @cached_property
    def text(self) -> str:
        """Return the source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed source."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """Return the number of lines, blank ones included."""
        return len(self.text.splitlines())

    @cached_property
    def functions(self) -> list[Function]:
        """Return every function, nested ones too."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def sloc(self) -> int:
        """Return the number of lines with code on them: no blanks, comments or docstrings."""
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in _SILENT:
                lines.update(range(token.start[0], token.end[0] + 1))
        prose = (doc for node in ast.walk(self.tree) if (doc := _docstring(node)))
        return len(lines - {line for doc in prose for line in range(doc.lineno, (doc.end_lineno or 0) + 1)})

    @property
    def escapes(self) -> int:
        """Return how often a type checker or linter is told to look away."""
        return len(_ESCAPE.findall(self.text))

    @property
    def broad(self) -> int:
        """Return how many handlers catch everything."""
        handlers = (node for node in ast.walk(self.tree) if isinstance(node, ast.ExceptHandler))
        return sum(handler.type is None or _is_broad(handler.type) for handler in handlers)

    def imports(self) -> Iterator[str]:
        """Yield the names this module imports, lazily or for types only included, each also as `module.name`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
                yield node.module

    def public(self) -> Iterator[ast.AST]:
        """Yield what callers may use: the module, its classes, functions and methods without a leading underscore."""
        if not self.sloc or any(part.startswith("_") for part in self.name.split(".")):
            return
        yield self.tree
        open_nodes: list[ast.Module | ast.ClassDef] = [self.tree]
        while open_nodes:
            for node in open_nodes.pop().body:
                if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                    yield node
                    open_nodes += [node] if isinstance(node, ast.ClassDef) else []


def modules(*, world: bool = False) -> list[Module]:
    """Return the product's modules; `world` adds those of the demo business."""
    paths = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return [Module(path) for path in paths if world or WORLD not in path.parents]


def tests() -> list[Module]:
    """Return the modules of the tests."""
    return [Module(path) for path in sorted((ROOT / "tests").rglob("*.py"))]


def length(function: Function) -> int:
    """Return the lines of a function from `def` to its end, less its docstring."""
    doc = _docstring(function)
    prose = (doc.end_lineno or 0) - doc.lineno + 1 if doc else 0
    return (function.end_lineno or 0) - function.lineno + 1 - prose


def branches(function: Function) -> int:
    """Return one more than the places where the path through a function forks."""
    nodes = list(ast.walk(function))
    return 1 + sum(
        isinstance(node, _FORKS) + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0) for node in nodes
    )


def is_typed(function: Function) -> bool:
    """Return whether every argument but self and the result say what they are."""
    own = function.args
    arguments = [*own.posonlyargs, *own.args, *own.kwonlyargs, *(arg for arg in (own.vararg, own.kwarg) if arg)]
    if arguments and arguments[0].arg in {"self", "cls"}:
        del arguments[0]
    return function.returns is not None and all(arg.annotation for arg in arguments)


def percentile(values: Iterable[int], share: float) -> int:
    """Return the value that this share of all values does not exceed."""
    ranks = sorted(values)
    return ranks[min(len(ranks) - 1, int(share * len(ranks)))]


def cycles(code: Iterable[Module]) -> list[str]:
    """Return the modules that import themselves through others."""
    by_name = {module.name: module for module in code}
    graph = {name: {to for to in module.imports() if to in by_name and to != name} for name, module in by_name.items()}
    while ends := {name for name, targets in graph.items() if not targets} | (
        graph.keys() - set[str]().union(*graph.values())
    ):
        graph = {name: targets - ends for name, targets in graph.items() if name not in ends}
    return sorted(graph)


LIMITS: Mapping[str, float] = {
    "file p90": 250,
    "file max": 300,
    "carried file": 670,
    "function p90": 30,
    "function max": 50,
    "branches p90": 5,
    "untyped functions": 0,
    "undocumented %": 10,
    "modules in cycles": 0,
    "escapes per 1000": 2,
    "broad excepts per 1000": 0.8,
}


def figures() -> dict[str, float]:
    """Return the figures of the product's code, by the names of `LIMITS`."""
    code = modules()
    sloc = sum(module.sloc for module in code)
    functions = [function for module in code for function in module.functions]
    public = [node for module in code for node in module.public()]
    sizes = [length(function) for function in functions]
    files = [module.lines for module in code if module.sloc and module.path != CARRIED]
    return {
        "file p90": percentile(files, 0.9),
        "file max": max(files),
        "carried file": Module(CARRIED).lines,
        "function p90": percentile(sizes, 0.9),
        "function max": max(sizes),
        "branches p90": percentile(map(branches, functions), 0.9),
        "untyped functions": sum(not is_typed(function) for function in functions),
        "undocumented %": round(100 * sum(_docstring(node) is None for node in public) / len(public), 1),
        "modules in cycles": len(cycles(code)),
        "escapes per 1000": round(1000 * sum(module.escapes for module in code) / sloc, 2),
        "broad excepts per 1000": round(1000 * sum(module.broad for module in code) / sloc, 2),
    }


def _docstring(node: ast.AST) -> ast.stmt | None:
    if isinstance(node, _PROSE) and ast.get_docstring(node, clean=False) is not None:
        return node.body[0]
    return None


def _is_broad(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}


def main() -> int:
    """Print every figure beside its limit; return 1 if one is over."""
    values = figures()
    for name, limit in LIMITS.items():
        print(f"{name:24}{values[name]:8g}  limit {limit:g}{'' if values[name] <= limit else '  OVER'}")  # noqa: T201  # this is a command
    return int(any(values[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
