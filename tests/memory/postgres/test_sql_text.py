"""SQL text: every function once, short, called, and beside the module that calls it; every advisory lock by name."""

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from app.bootstrap import FUNCTIONS
from memory.postgres import locks
from memory.postgres.sql_files import SqlFile, functions, migrations

HOUSE = Path(__file__).parents[3]
MOST_LINES = 60
ELSEWHERE = {"permits.consume": "app/world/requests.py"}
"""Called by the demo business alone, which is no neighbour of anything."""
_BEGIN = re.compile(r"^create (?:or replace )?function ([\w.]+)\(", re.MULTILINE)
_NUMBER = re.compile(r"\b7\d{3}\b")
_TRIGGER = re.compile(r"create or replace trigger \w+ (?:before|after) [\w, ]+? on (\w+)\b")


@dataclass(frozen=True)
class Function:
    """One definition: where it stands and its text, from `create` to its end."""

    name: str
    file: str
    text: str


def definitions(file: SqlFile) -> list[Function]:
    """Return the functions of a file."""
    return [Function(match[1], file.name, _text_of(file.text[match.start() :])) for match in _BEGIN.finditer(file.text)]


def _text_of(text: str) -> str:
    """Cut a definition at the semicolon after its body: a dollar-quoted one, or a single expression."""
    quote = text.find("$$")
    is_expression = re.search(r"^return\b", text[: quote if quote >= 0 else len(text)], re.MULTILINE)
    start = 0 if is_expression else text.index("$$", quote + 2)
    return text[: text.index(";\n", start) + 1]


@cache
def texts() -> dict[str, list[str]]:
    """Return the string constants of every module of the house, by path; docstrings speak, but do not call."""
    return {
        path.relative_to(HOUSE).as_posix(): list(_constants(ast.parse(path.read_text())))
        for room in ("app", "graphs", "tools", "memory")
        for path in (HOUSE / room).rglob("*.py")
    }


def _constants(tree: ast.Module) -> list[str]:
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def python_calls(path: str, name: str) -> bool:
    """Return whether a module names a function as a whole text, or calls it within one."""
    return any(
        text == name or re.search(rf"(?<![\w.])(?:public\.)?{re.escape(name)}\(", text)
        for text in texts().get(path, [])
    )


FILES = functions(FUNCTIONS)
FILE_FUNCTIONS = [function for file in FILES for function in definitions(file)]
SCHEMA_FUNCTIONS = [function for file in migrations() for function in definitions(file)]
ALL_FUNCTIONS = [*SCHEMA_FUNCTIONS, *FILE_FUNCTIONS]


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 20
    assert len(FILE_FUNCTIONS) > 100
    assert sum(file.text.count("create or replace function") for file in FILES) == len(FILE_FUNCTIONS)


def test_no_function_is_defined_twice() -> None:
    """`enter` has two forms, the owner's and the app's; `governed_row` has one for each governed table."""
    twice = [name for name, times in Counter(function.name for function in ALL_FUNCTIONS).items() if times > 1]
    assert sorted(twice) == ["enter", "governed_row"]


@pytest.mark.parametrize("function", ALL_FUNCTIONS, ids=lambda function: function.name)
def test_functions_are_short(function: Function) -> None:
    assert len(function.text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", sorted({function.name for function in ALL_FUNCTIONS}))
def test_every_function_is_called(name: str) -> None:
    """By the module beside it, by another function, or by a trigger, a policy, a default or a generated column."""
    call = re.compile(rf"(?<![\w.])(?:public\.)?{re.escape(name)}\(")
    beside = {function.file.replace(".sql", ".py") for function in FILE_FUNCTIONS if function.name == name}
    text = "\n".join(file.text for file in (*FILES, *migrations()))
    for function in ALL_FUNCTIONS:
        if function.name == name:
            text = text.replace(function.text, "")
    statements = re.sub(r"^(?:revoke|grant) execute[^;]*;|^--.*$", "", text, flags=re.MULTILINE)
    assert call.search(statements) or any(python_calls(path, name) for path in (*beside, ELSEWHERE.get(name, "")))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_function_file_stands_beside_the_module_that_calls_it(file: SqlFile) -> None:
    """At least one of its functions is called there; whoever greps for the others finds them here."""
    path = file.name.replace(".sql", ".py")
    assert any(python_calls(path, function.name) for function in definitions(file))
    header = file.text.partition("\n\n")[0].replace("\n-- ", " ")
    assert f"Called by {Path(path).name}" in header


@pytest.mark.parametrize("function", FILE_FUNCTIONS, ids=lambda function: function.name)
def test_what_python_calls_it_calls_from_beside(function: Function) -> None:
    callers = [path for path in texts() if python_calls(path, function.name)]
    assert not callers or {function.file.replace(".sql", ".py"), ELSEWHERE.get(function.name)} & set(callers)


def test_trigger_stands_beside_the_module_that_owns_its_table() -> None:
    tables = {(file.name, table) for file in FILES for table in _TRIGGER.findall(file.text)}
    assert tables == {
        ("memory/evidence/log.sql", "log_heads"),
        ("memory/evidence/log.sql", "log_leaves"),
        ("memory/evidence/log.sql", "signing_keys"),
        ("memory/evidence/texts.sql", "texts"),
        ("memory/governance/journal.sql", "journal"),
        ("memory/governance/principals.sql", "keys"),
        ("memory/governance/principals.sql", "principals"),
        ("memory/knowledge/versions.sql", "knowledge"),
        ("memory/knowledge/versions.sql", "knowledge_vectors"),
        ("memory/runs/results.sql", "results"),
        ("memory/store/write.sql", "memories"),
    }


def test_row_policies_are_written_whole() -> None:
    assert not [file.name for file in (*migrations(), *FILES) if "alter policy" in file.text]


def _register() -> dict[str, int]:
    return {name: number for name, number in vars(locks).items() if name.isupper() and isinstance(number, int)}


def test_locks_have_numbers_of_their_own_in_the_order_in_which_they_are_taken() -> None:
    numbers = list(_register().values())
    assert numbers == sorted(set(numbers))


def test_every_lock_number_in_sql_is_in_the_register_and_every_name_is_used() -> None:
    sql_numbers = {int(number) for function in ALL_FUNCTIONS for number in _NUMBER.findall(function.text)}
    modules = "\n".join(path.read_text() for path in (HOUSE / "memory").rglob("*.py"))
    py_numbers = {number for name, number in _register().items() if re.search(rf"locks\.{name}\b|, {name}\]", modules)}
    assert sql_numbers - set(_register().values()) == set()
    assert sql_numbers | py_numbers == set(_register().values())


def test_python_takes_locks_by_name() -> None:
    lock_texts = [text for constants in texts().values() for text in constants if "advisory" in text]
    assert lock_texts
    assert not [text for text in lock_texts if _NUMBER.search(text)]
