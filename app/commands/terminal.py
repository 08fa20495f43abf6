"""Terminal input and output of commands: settings in, JSON or readable text out, exit codes."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from app.client import Api, ApiRefusal
from app.client_settings import ClientSettings, load_client
from app.commands.signs import indented, json_line, visible
from app.exit_codes import BAD_JOURNAL, BUDGET, DENIAL, FAILURE, OK, UNAVAILABLE, USAGE, WAITING
from memory.errors import Code, ControlError

# Both take as long to import as most commands to run.
if TYPE_CHECKING:
    from rich.console import Console

    from app.settings import Settings

_OF_CODE: Mapping[Code, int] = {
    "unavailable": UNAVAILABLE,
    "lock_timeout": UNAVAILABLE,
    "database_full": UNAVAILABLE,
    "database_read_only": UNAVAILABLE,
    "approval_required": WAITING,
    "budget_exceeded": BUDGET,
    "journal_broken": BAD_JOURNAL,
    "fact_missing": DENIAL,
    "policy_denied": DENIAL,
    "policy_error": DENIAL,
    "no_capability": DENIAL,
    "role_scope": DENIAL,
    "agent_scope": DENIAL,
    "tainted": DENIAL,
    "forged_authority": DENIAL,
    "approval_rejected": DENIAL,
}
_USAGE_CODES = frozenset({"bad_request", "invalid_arguments"})
_OF_STATUS = {"done": OK, "denied": DENIAL, "waiting": WAITING}

INVALID = 422
"""HTTP status of a request that does not fit its schema: a usage error that only the API could see."""
_AMOUNTS = ("amount", "exposure", "price", "total", "sum")
"""Fields in minor units, of which a `currency` beside them says what they are."""
_FIRST, _LONG = 10, 500
"""Rows of a result that are printed, and signs of a text in them."""
_HANGING, _NARROW = "    ", 10
_WIDE = 400
"""Columns where nobody looks at a screen: what reads us then wants whole ids."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
RunId = Annotated[str, typer.Argument(help="Id of the run.")]
RunFilter = Annotated[str | None, typer.Option(help="Of this run only.")]
LimitOption = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
CursorOption = Annotated[str | None, typer.Option(help="Where the page before ended.")]


def settings(**flags: Any) -> "Settings":
    """Return the settings, flags over everything else."""
    from app.settings import load

    return load(flags)


def ask(work: Callable[[Api], Awaitable[Any]], *, client: Callable[[ClientSettings], Api] = Api.of) -> Any:
    """Run `work` with a client of the API, by default one that has the configured key, and return its answer."""

    async def run() -> Any:
        async with client(load_client()) as api:
            return await work(api)

    return asyncio.run(run())


def out() -> "Console":
    """Return the console of answers: the standard output, wide where it is no terminal."""
    return _console(sys.stdout)


def say(text: str = "") -> None:
    """Print one line for people; whatever is in it neither begins another nor steers the terminal."""
    _print(sys.stdout, visible(text))


def quote(text: str) -> None:
    """Print a text from outside with lines of its own, all of them indented."""
    for line in indented(text):
        say(line)


def note(text: str) -> None:
    """Print a remark on the standard error, so that the output holds the answer alone."""
    _print(sys.stderr, visible(text))


def emit(value: object) -> None:
    """Print one JSON object."""
    emit_line(json.dumps(value, default=str, ensure_ascii=False))


def emit_line(line: str) -> None:
    """Print a line of JSON: the same value, with escapes for signs that steer terminals or that the output lacks."""
    sys.stdout.write(f"{json_line(line, sys.stdout.encoding)}\n")


def _console(file: TextIO) -> "Console":
    from rich.console import Console

    is_terminal = file.isatty()
    return Console(
        file=file, highlight=False, emoji=False, soft_wrap=not is_terminal, width=None if is_terminal else _WIDE
    )


def _print(file: TextIO, line: str) -> None:
    """Print a line; where the screen is narrower, what follows is indented, or it would begin a line of its own."""
    if not file.isatty():
        file.write(f"{line}\n")
        return
    from rich.cells import cell_len
    from rich.text import Text

    console, text = _console(file), line.lstrip(" ")
    if cell_len(line) <= console.width:
        console.print(Text(line), soft_wrap=True)
        return
    first = len(line) - len(text)
    width = max(_NARROW, console.width - first - len(_HANGING))
    for number, part in enumerate(Text(text).wrap(console, width, overflow="fold")):
        part.rstrip()
        console.print(Text(" " * first + (_HANGING if number else "")) + part, soft_wrap=True)


def show(value: Mapping[str, Any], as_json: bool, people: Callable[[Mapping[str, Any]], None]) -> None:
    """Print an answer as JSON, or by `people` as readable text."""
    if as_json:
        emit(value)
    else:
        people(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty_text: str) -> None:
    """Print rows as a table, or say that there are none."""
    if not rows:
        say(empty_text)
        return
    head = [visible(column.replace("_", " ")) for column in columns]
    lines = [[visible(cell(row.get(column))) for column in columns] for row in rows]
    if sys.stdout.isatty() or not _print_plain([head, *lines]):
        _print_grid(head, lines)


def _print_plain(lines: Sequence[Sequence[str]]) -> bool:
    """Print lines in columns and return True, or False if they are too wide, or hold signs of other widths."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if not all(text.isascii() for line in lines for text in line) or sum(widths) + 2 * len(widths) > _WIDE:
        return False
    for line in lines:
        parts = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        sys.stdout.write(f"  {'  '.join(parts)}\n")
    return True


def _print_grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
        grid.add_column(Text(name), overflow="fold")
    for line in lines:
        grid.add_row(*map(Text, line))
    # Indented, since the first column may hold text from outside, and be folded.
    out().print(Padding.indent(grid, 2))


def print_page(page: Mapping[str, Any], columns: Sequence[str], empty_text: str) -> None:
    """Print a page of a list, and how to go on if it is not the last."""
    table(page["items"], columns, empty_text)
    if page["next"]:
        note(f"there are more; repeat with --cursor {page['next']}")


def cell(value: object) -> str:
    """Return a JSON value as text for a table cell."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        if not value:
            return "-"
        return ", ".join(map(cell, value))  # pyright: ignore[reportUnknownArgumentType]  # JSON of the API
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def outline(value: Mapping[str, Any], indent: str, *, rows: Mapping[str, Any] | None = None, path: str = "") -> None:
    """Print nested values, one per line; of a result by reference its size and its first `rows`."""
    for name, item in in_words(value).items():
        inner: Mapping[str, Any] = cast(Mapping[str, Any], item) if isinstance(item, Mapping) else {}
        items: list[object] = cast(list[object], item) if isinstance(item, list) else []
        if "handle" in inner:
            _result(name, inner, indent, (rows or {}).get(path + name))
        elif inner:
            say(f"{indent}{name}:")
            outline(inner, indent + "  ", rows=rows, path=f"{path}{name}.")
        elif any(isinstance(entry, dict) for entry in items):
            for entry in items:
                words = in_words(cast(Mapping[str, Any], entry)) if isinstance(entry, Mapping) else entry
                say(f"{indent}{name}: {cell(words)}")
        else:
            say(f"{indent}{name}: {cell(cast(object, item))}")


def memory_line(memory: Mapping[str, Any]) -> str:
    """Return a line with the ids of memories in the planner's prompts and in its plans; empty if there are none."""
    rests = f"; plans rest on {cell(memory['cited'])}" if memory["cited"] else ""
    return f"shown {cell(memory['shown'])}{rests}" if memory["shown"] else ""


def checklist(manual: Sequence[object]) -> list[str]:
    """Return what people must do by hand, as lines."""
    return ["to do by hand:", *(f"  [ ] {cell(item)}" for item in manual)] if manual else []


def _result(name: str, part: Mapping[str, Any], indent: str, rows: Sequence[Mapping[str, Any]] | None) -> None:
    """Print the size of a result, its sum if its rows have amounts, and its first rows, each on one line."""
    money_in = _sum(part) if part["total"] or any("amount" in row for row in rows or ()) else ""
    unit = "row" if part["count"] == 1 else "rows"
    say(f"{indent}{name}: {part['count']:,} {unit}{money_in} ({part['handle']})")
    for row in (rows or ())[:_FIRST]:
        say(f"{indent}  - {_short(row)}")
    if rows and (remainder := part["count"] - len(rows[:_FIRST])) > 0:
        say(f"{indent}  and {remainder:,} more")


def _sum(part: Mapping[str, Any]) -> str:
    """Return what the rows of a result come to, unless their amounts have no sum."""
    currency = part.get("currency", "")
    return ", amounts without a common currency" if currency == "*" else f", {money(part['total'], currency)} in all"


def _short(row: Mapping[str, Any]) -> str:
    text = _cut(" ".join(str(row.get("text", "")).split()))
    about = _cut(", ".join(f"{name} {cell(item)}" for name, item in in_words(row).items() if name != "text"))
    return f"{text} ({about})" if text else about


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def warn(view: Mapping[str, Any]) -> None:
    """Print in which fields journal and tables disagree, and what to do, if a view says that they do."""
    if view.get("warning"):
        say(f"WARNING   {view['warning']}")


def fields(value: Mapping[str, Any], names: Sequence[str]) -> None:
    """Print some fields, one per line."""
    width = max(map(len, names))
    for name in names:
        say(f"{name.replace('_', ' '):<{width}}  {cell(value.get(name))}")


def money(minor: int, currency: str) -> str:
    """Return minor units as an amount of their currency, with its decimals."""
    from tools.money import text

    return text(minor, currency)


def in_words(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return fields with each amount as people read it, if they say in which currency it is."""
    names = [name for name in _AMOUNTS if type(value.get(name)) is int]
    currency = value.get("currency") if names else None
    return _replace_amounts(value, names, currency) if isinstance(currency, str) and currency else value


def _replace_amounts(value: Mapping[str, Any], names: Sequence[str], currency: str) -> Mapping[str, Any]:
    fields = {name: item for name, item in value.items() if name != "currency"}
    return {**fields, **{name: money(value[name], currency) for name in names}}


def leave(status: str, reason: str | None) -> None:
    """End the command with the exit code of a run's status and reason."""
    by_reason = next((code for name, code in _OF_CODE.items() if name == reason), FAILURE)
    if code := _OF_STATUS.get(status, by_reason):
        raise typer.Exit(code)


def exit_code(error: ControlError) -> int:
    """Return the exit code of an error."""
    if isinstance(error, ApiRefusal) and error.code in _USAGE_CODES and error.problem["status"] == INVALID:
        return USAGE
    return _OF_CODE.get(error.code, FAILURE)
