"""CEL conditions of plans and runbooks: read-only, bounded, checked when compiled, and false after any error.

Called by plan validation, the executor's `when` and `expect`, probe conditions, and the split of results into cases.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from cel_expr_python import cel

from memory.errors import Permanent
from tools.action import Json

ValueType = Literal["any", "bool", "int", "text"]
"""Type of a variable; `any` postpones the check to evaluation."""

LIMIT = 500
"""Longest expression in characters; the binding itself bounds nesting (32) and iterations (under 10,000)."""

_TYPES: Mapping[ValueType, cel.Type] = {
    "any": cel.Type.DYN,
    "bool": cel.Type.BOOL,
    "int": cel.Type.INT,
    "text": cel.Type.STRING,
}
_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, SystemError)
_LITERAL = re.compile(r"'[^']*'|\"[^\"]*\"")
_MACRO = re.compile(r"\.\s*(all|exists|exists_?one|existsOne|map|filter|transform\w*)\s*\(")
_NAME = re.compile(r"(?<![\w.])([A-Za-z_]\w*)(?!\w|\s*\()")
_KEYWORDS = frozenset({"true", "false", "null", "in"})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Value of a condition; `reason` says why it could not be decided, which counts as false."""

    is_true: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CompiledExpression:
    """A compiled expression, mostly a condition."""

    text: str
    program: cel.Expression

    def evaluate(self, values: Mapping[str, Json]) -> Evaluation:
        """Return the evaluation for these variables; an error, an unknown or anything but a bool counts as false."""
        kind, plain = self._evaluate(values)
        if kind == cel.Type.BOOL and isinstance(plain, bool):
            return Evaluation(plain)
        return Evaluation(False, f"{self.text!r} gave {kind.name()}, not true or false: {str(plain)[:200]}")

    def value(self, values: Mapping[str, Json]) -> bool | int | str | None:
        """Return the flag, number or text that the expression comes to; None for an error or anything else."""
        kind, plain = self._evaluate(values)
        return plain if kind in (cel.Type.BOOL, cel.Type.INT, cel.Type.STRING) else None

    def _evaluate(self, values: Mapping[str, Json]) -> tuple[cel.Type, Any]:
        try:
            value = self.program.eval(data=values)
            return value.type(), value.value()
        except _ERRORS as error:
            return cel.Type.ERROR, _first_line(error)


def compile(text: str, variables: Mapping[str, ValueType], result_type: ValueType = "bool") -> CompiledExpression:
    """Check and compile an expression over the named variables (dots allowed in names); cached.

    Raises Permanent `plan_invalid` for an undeclared name, clashing types, another result type, or excess size.
    """
    return _compile(text, tuple(sorted(variables.items())), result_type)


def value_type(value: Json) -> ValueType:
    """Return the type under which a literal value is declared."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "text" if isinstance(value, str) else "any"


def parse_cases(cases: Sequence[str]) -> dict[str, str]:
    """Return `name: condition` entries by name, in their order; raises Permanent `plan_invalid` for another form.

    Cases travel as a list because their order matters: a JSON object may come back in another one.
    """
    pairs = [case.partition(": ") for case in cases]
    if bad := [name for name, colon, text in pairs if not (colon and text.strip() and name.isidentifier())]:
        raise Permanent("plan_invalid", f"case {bad[0]!r} is not of the form name: condition")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise Permanent("plan_invalid", "two cases have the same name; give each its own")
    return {name: text for name, _, text in pairs}


def case_fields(cases: Mapping[str, str]) -> frozenset[str]:
    """Return the row fields that the cases compare; raises Permanent `plan_invalid` for a text that is no case."""
    names: set[str] = set()
    for name, text in cases.items():
        if _MACRO.search(_bare(text)):
            raise Permanent("plan_invalid", f"case {name!r} loops over a list; a case compares the fields of one row")
        names |= set(_NAME.findall(_bare(text))) - _KEYWORDS
        compile(text, dict.fromkeys(names, "any"))
    return frozenset(names)


def classifier(cases: Mapping[str, str]) -> Callable[[Mapping[str, Json]], str | None]:
    """Return a function from a row to the first case that is true for it, in the order of the cases.

    A case that cannot be decided ends the search with None, so that a doubtful row never lands in a later case.
    The types of the row are used when compiling: comparing a flag with text is an error, not silently false.
    """
    fields = case_fields(cases)

    def classify(row: Mapping[str, Json]) -> str | None:
        values = {name: row[name] for name in sorted(fields & row.keys())}
        variables: dict[str, ValueType] = {name: value_type(value) for name, value in values.items()}
        for name, text in cases.items():
            answer = compile(text, variables).evaluate(values)
            if answer.is_true:
                return name
            if answer.reason:
                return None
        return None

    return classify


@lru_cache(maxsize=2048)
def _compile(text: str, variables: tuple[tuple[str, ValueType], ...], result_type: ValueType) -> CompiledExpression:
    _lint(text)
    try:
        program = _environment(variables).compile(text)
        actual_type: Any = program.return_type()
    except _ERRORS as error:
        raise Permanent("plan_invalid", f"condition {text!r} is not valid: {_first_line(error)}") from None
    if actual_type not in (_TYPES[result_type], cel.Type.DYN) and result_type != "any":
        raise Permanent(
            "plan_invalid", f"condition {text!r} gives {actual_type.name()}; write one that gives a {result_type}"
        )
    return CompiledExpression(text, program)


@lru_cache(maxsize=512)
def _environment(variables: tuple[tuple[str, ValueType], ...]) -> cel.Env:
    return cel.NewEnv(variables={name: _TYPES[kind] for name, kind in variables})


def _lint(text: str) -> None:
    if len(text) > LIMIT:
        raise Permanent("plan_invalid", f"a condition has {len(text)} characters; keep it within {LIMIT}")
    if "\\" in text or "\n" in text or "'''" in text or '"""' in text:
        raise Permanent("plan_invalid", f"condition {text!r}: write one line without escapes or triple quotes")
    if len(_MACRO.findall(_bare(text))) > 1:
        raise Permanent("plan_invalid", f"condition {text!r} loops more than once; one all/exists/filter/map is enough")


def _bare(text: str) -> str:
    return _LITERAL.sub("''", text)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
