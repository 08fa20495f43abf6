"""How commands speak: settings in, one object or readable text out, exit codes by what happened."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.client import Api, Refused
from app.settings import Settings, load
from memory.errors import Code, ControlError

OK, FAILED, USAGE, WAITING, DENIED, BUDGET, BROKEN, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 69, 130
_OF_CODE: Mapping[Code, int] = {
    "unavailable": UNAVAILABLE,
    "approval_required": WAITING,
    "budget_exceeded": BUDGET,
    "journal_broken": BROKEN,
    "policy_denied": DENIED,
    "policy_error": DENIED,
    "no_capability": DENIED,
    "role_scope": DENIED,
    "agent_scope": DENIED,
    "tainted": DENIED,
    "forged_authority": DENIED,
    "approval_rejected": DENIED,
}
_USED_WRONGLY = frozenset({"bad_request", "invalid_arguments"})
_OF_STATUS = {"done": OK, "denied": DENIED, "waiting": WAITING}

INVALID = 422
"""HTTP status of a request that does not fit its schema: a usage error that only the API could see."""
_FIRST, _LONG = 10, 500
"""Rows of a result that are printed, and signs of a text in them."""
_WIDE = 400
"""Columns where nobody looks at a screen: what reads us then wants whole ids."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
RunId = Annotated[str, typer.Argument(help="Id of the run.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(help="Where the page before ended.")]


def settings(**flags: Any) -> Settings:
    """Return the settings, flags over everything else."""
    return load(flags)


def ask(work: Callable[[Api], Awaitable[Any]]) -> Any:
    """Do something with the API, as the person of the configured key."""

    async def run() -> Any:
        async with Api.of(settings()) as api:
            return await work(api)

    return asyncio.run(run())


def out() -> Console:
    """Return where answers go."""
    seen = sys.stdout.isatty()
    return Console(file=sys.stdout, highlight=False, emoji=False, soft_wrap=not seen, width=None if seen else _WIDE)


def say(text: str = "") -> None:
    """Print a line for people; text from outside never becomes markup, nor moves the cursor."""
    out().print(_plain(text))


def note(text: str) -> None:
    """Print what is not the answer itself."""
    Console(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True).print(_plain(text))


def emit(value: object) -> None:
    """Print one JSON object."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")


def show(value: Mapping[str, Any], as_json: bool, people: Callable[[Mapping[str, Any]], None]) -> None:
    """Print an answer as JSON, or as `people` like it."""
    if as_json:
        emit(value)
    else:
        people(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> None:
    """Print rows as a table, or say that there are none."""
    if not rows:
        say(nothing)
        return
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        found.add_row(*(_plain(cell(row.get(column))) for column in columns))
    out().print(found)


def more(page: Mapping[str, Any], columns: Sequence[str], nothing: str) -> None:
    """Print a page of a list, and how to go on if it is not the last."""
    table(page["items"], columns, nothing)
    if page["next"]:
        note(f"there are more; repeat with --cursor {page['next']}")


def cell(value: object) -> str:
    """Return a value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        if not value:
            return "-"
        return ", ".join(map(cell, value))  # pyright: ignore[reportUnknownArgumentType]  # JSON of the API
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def outline(value: Mapping[str, Any], indent: str, *, rows: Mapping[str, Any] | None = None, place: str = "") -> None:
    """Print nested values, one per line; results by reference are told by what they hold and their first `rows`."""
    for name, item in value.items():
        inner: Mapping[str, Any] = cast(Mapping[str, Any], item) if isinstance(item, Mapping) else {}
        many: list[object] = cast(list[object], item) if isinstance(item, list) else []
        if "handle" in inner:
            _result(name, inner, indent, (rows or {}).get(place + name))
        elif inner:
            say(f"{indent}{name}:")
            outline(inner, indent + "  ", rows=rows, place=f"{place}{name}.")
        elif any(isinstance(each, dict) for each in many):
            for each in many:
                say(f"{indent}{name}: {cell(each)}")
        else:
            say(f"{indent}{name}: {cell(cast(object, item))}")


def recalled(memory: Mapping[str, Any]) -> str:
    """Return by id which memories a planner was shown and which its plans rest on; empty where it saw none."""
    rests = f"; plans rest on {cell(memory['cited'])}" if memory["cited"] else ""
    return f"shown {cell(memory['shown'])}{rests}" if memory["shown"] else ""


def _result(name: str, part: Mapping[str, Any], indent: str, rows: Sequence[Mapping[str, Any]] | None) -> None:
    """Print how much a result holds, a sum only of what has amounts, and its first rows, each on one line."""
    money_in = f", {money(part['total'])} in all" if part["total"] or any("amount" in row for row in rows or ()) else ""
    many = "row" if part["count"] == 1 else "rows"
    say(f"{indent}{name}: {part['count']:,} {many}{money_in} ({part['handle']})")
    for row in (rows or ())[:_FIRST]:
        say(f"{indent}  - {_short(row)}")
    if rows and (left := part["count"] - len(rows[:_FIRST])) > 0:
        say(f"{indent}  and {left:,} more")


def _short(row: Mapping[str, Any]) -> str:
    text = _cut(" ".join(str(row.get("text", "")).split()))
    told = {**row, "amount": money(row["amount"])} if isinstance(row.get("amount"), int) else row
    about = _cut(", ".join(f"{name} {cell(item)}" for name, item in told.items() if name != "text"))
    return f"{text} ({about})" if text else about


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _plain(text: str) -> str:
    return escape("".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text))


def fields(value: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print some fields, one per line."""
    width = max(map(len, names))
    for name in names:
        say(f"{name.replace('_', ' '):<{width}}  {cell(value.get(name))}")


def money(minor: int) -> str:
    """Return minor units as an amount with two decimals."""
    return f"{minor // 100:,}.{minor % 100:02}"


def leave(status: str, reason: str | None) -> None:
    """End the command with the exit code that a run's status stands for."""
    by_reason = next((code for name, code in _OF_CODE.items() if name == reason), FAILED)
    if code := _OF_STATUS.get(status, by_reason):
        raise typer.Exit(code)


def exit_code(error: ControlError) -> int:
    """Return the exit code that an error stands for."""
    if isinstance(error, Refused) and error.code in _USED_WRONGLY and error.problem["status"] == INVALID:
        return USAGE
    return _OF_CODE.get(error.code, FAILED)
