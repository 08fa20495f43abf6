"""Command group `memory`: add, list, search, history, export and import."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands import memory_archive
from app.commands.terminal import (
    AsJson,
    CursorOption,
    LimitOption,
    ask,
    emit,
    emit_line,
    fields,
    note,
    print_page,
    say,
    show,
    table,
)
from memory.errors import ControlError

memory = typer.Typer(help="What is remembered for you.", no_args_is_help=True)
_ITEM = ("id", "scope", "key", "body", "trust", "created", "expires")
_TIMES = ("valid_from", "valid_to", "known_to", "superseded_by", "covered_until")
_LONGEST = 10 * 365 * 86400


def _require_text(text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise typer.BadParameter("this may not be empty")
    return text


def _subject(text: str | None) -> str | None:
    if text is not None and len(text) > 200:
        raise typer.BadParameter(f"{len(text)} characters; use at most 200")
    return _require_text(text)


def _moment(text: str | datetime) -> datetime:
    try:
        # What names no zone is meant as the clock on the wall says.
        return (datetime.fromisoformat(text) if isinstance(text, str) else text).astimezone()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-03-01 or 2026-03-01T09:30+01:00") from error


SubjectKey = Annotated[str, typer.Argument(help="Subject.", callback=_subject)]
MemoryId = Annotated[str, typer.Argument(help="Id of the memory.")]


@memory.command("ls")
def list_memories(limit: LimitOption = 20, cursor: CursorOption = None, as_json: AsJson = False) -> None:
    """List your memories and the shared ones, newest first."""
    answer = ask(lambda api: api.get("/api/memory", limit=limit, cursor=cursor))
    show(answer, as_json, lambda page: print_page(page, _ITEM, "nothing is remembered"))


@memory.command()
def search(
    query: Annotated[str, typer.Argument(callback=_require_text)], limit: LimitOption = 10, as_json: AsJson = False
) -> None:
    """Find similar memories; says what each score is made of, and how many were left out."""
    answer = ask(lambda api: api.get("/api/memory/search", q=query, limit=limit))
    show(answer, as_json, _print_hits)


@memory.command("show")
def show_memory(
    memory: MemoryId,
    history: Annotated[bool, typer.Option("--history", help="All values of its subject that are kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one memory: where it comes from, since when it holds, who told it again."""
    path = f"/api/memory/{segment(memory)}"
    if history:
        answer = ask(lambda api: api.get(f"{path}/history"))
        show(
            answer, as_json, lambda view: table(view["items"], ("id", "body", "created", *_TIMES, "expires"), "nothing")
        )
    else:
        show(ask(lambda api: api.get(path)), as_json, _print_memory)


@memory.command("as-of")
def as_of(
    key: SubjectKey,
    valid: Annotated[datetime, typer.Argument(parser=_moment, metavar="TIME", help="When it was so.")],
    known: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="TIME", help="As far as it was known then.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a subject was at a moment."""
    moments = {"valid": valid.isoformat(), "known": known and known.isoformat()}
    answer = ask(lambda api: api.get("/api/memory/as-of", key=key, **moments))
    show(answer, as_json, lambda view: fields(view, _ITEM))


@memory.command()
def embedder(as_json: AsJson = False) -> None:
    """Show what memory is searched with besides words, and how much waits for its vectors after a change."""
    answer = ask(lambda api: api.get("/api/memory/embedder"))
    show(answer, as_json, lambda view: fields({**view, **view["waiting"]}, ("embedder", *view["waiting"])))


@memory.command()
def add(
    text: Annotated[str, typer.Argument(callback=_require_text)],
    key: Annotated[str | None, typer.Option(callback=_subject, help="Subject; replaces what was said of it.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, max=_LONGEST, help="Seconds until it is forgotten.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remember a text for you."""
    answer = ask(lambda api: api.post("/api/memory", {"body": text, "key": key, "ttl_seconds": ttl}))
    show(answer, as_json, _print_addition)


@memory.command()
def pin(memory: MemoryId, as_json: AsJson = False) -> None:
    """Keep a memory of yours when others leave for want of room."""
    answer = ask(lambda api: api.post(f"/api/memory/{segment(memory)}/pin", {}))
    show(answer, as_json, lambda result: say(f"pinned {result['id']}"))


@memory.command()
def unpin(memory: MemoryId, as_json: AsJson = False) -> None:
    """Let a memory of yours leave again when room is wanted."""
    answer = ask(lambda api: api.delete(f"/api/memory/{segment(memory)}/pin"))
    show(answer, as_json, lambda result: say(f"unpinned {result['id']}"))


for command in (
    memory_archive.forget,
    memory_archive.prune,
    memory_archive.archive,
    memory_archive.restore,
    memory_archive.hold,
):
    memory.command()(command)


@memory.command("export")
def export_memories(as_json: AsJson = False) -> None:
    """Print your own memories as lines of JSON."""

    async def copy(api: Api) -> list[str]:
        lines: list[str] = []
        async for line in api.lines("/api/memory/export"):
            if as_json:
                lines.append(line)
            else:
                emit_line(line)
        return lines

    lines = ask(copy)
    if as_json:
        emit({"lines": lines})


@memory.command("import")
def import_memories(
    file: Annotated[Path, typer.Argument(help="What an export printed; - for the standard input.")],
    as_json: AsJson = False,
) -> None:
    """Take in exported memories; a large file goes in pieces, each whole or not at all. What is there already stays."""
    lines = _lines(file)
    counts = ask(lambda api: _send(api, lines))
    show(counts, as_json, lambda result: say(f"took in {result['imported']}, knew {result['known']}"))


def _print_addition(view: Mapping[str, Any]) -> None:
    if view["linked"]:
        say(f"known as {view['id']} in {view['scope']}, which says the same; linked to it, not stored again")
    else:
        say(f"remembered as {view['id']} in {view['scope']}")


def _print_hits(page: Mapping[str, Any]) -> None:
    rows = [{**item, "because": _because(item["explain"])} for item in page["items"]]
    table(rows, ("score", "because", *_ITEM), "nothing similar is remembered")
    if omissions := ", ".join(f"{count} {name}" for name, count in page["hidden"].items() if count):
        note(f"not shown: {omissions}")


def _because(explain: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:+.2f}" for name, value in explain.items())


def _print_memory(view: Mapping[str, Any]) -> None:
    origin = {name: value for name, value in view["provenance"].items() if value}
    fields({**view, "origin": origin}, (*_ITEM, *_TIMES, "origin", "pinned", "told", "uses"))
    if view["links"]:
        say("told again:")
        table(view["links"], ("told", "principal", "trust", "run"), "")


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, or of the standard input for `-`; a usage error, or Permanent("bad_request")."""
    try:
        text = (_read_stdin() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"{str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        message = f"{str(file)!r} is no UTF-8 text ({error.reason} at byte {error.start}); export the memories again"
        raise typer.BadParameter(message) from error
    return [*filter(str.strip, text.split("\n"))]


def _read_stdin() -> bytes:
    with open(0, "rb", closefd=False) as pipe:
        return pipe.read()


async def _send(api: Api, lines: Sequence[str]) -> dict[str, int]:
    """Import lines; returns the counts of new and of known ones. After an error the whole file may be sent again."""
    # Late, since it brings the models of all lines along.
    from memory.store.transfer_format import pieces

    counts = {"imported": 0, "known": 0}
    chunks = list(pieces(lines))
    tell: Callable[[str], object] = note if len(chunks) > 1 else str
    first = 2
    for number, piece in enumerate(chunks, 1):
        try:
            answer = await api.post("/api/memory/import", {"lines": piece})
        except ControlError:
            tell(f"piece {number} of {len(chunks)} is not in; its line 2 is line {first} of the file, blanks aside")
            raise
        counts = {name: count + answer[name] for name, count in counts.items()}
        first += len(piece) - 1
        tell(f"piece {number} of {len(chunks)} is in")
    return counts
