"""Memory on the command line: kept, listed, searched, looked back at, carried elsewhere."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands import memory_archive
from app.commands.terminal import AsJson, Cursor, Limit, ask, emit, fields, more, note, say, show, table
from memory.errors import ControlError

memory = typer.Typer(help="What is remembered for you.", no_args_is_help=True)
_ITEM = ("id", "scope", "key", "body", "trust", "created", "expires")
_TIMES = ("valid_from", "valid_to", "known_to", "superseded_by", "covered_until")
_LONGEST = 10 * 365 * 86400


def _filled(text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise typer.BadParameter("this may not be empty")
    return text


def _subject(text: str | None) -> str | None:
    if text is not None and len(text) > 200:
        raise typer.BadParameter(f"{len(text)} characters; use at most 200")
    return _filled(text)


def _moment(text: str | datetime) -> datetime:
    try:
        # What names no zone is meant as the clock on the wall says.
        return (datetime.fromisoformat(text) if isinstance(text, str) else text).astimezone()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-03-01 or 2026-03-01T09:30+01:00") from error


Key = Annotated[str, typer.Argument(help="Subject.", callback=_subject)]
Id = Annotated[str, typer.Argument(help="Id of the memory.")]


@memory.command("ls")
def list_memories(limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List your memories and the shared ones, newest first."""
    found = ask(lambda api: api.get("/api/memory", limit=limit, cursor=cursor))
    show(found, as_json, lambda page: more(page, _ITEM, "nothing is remembered"))


@memory.command()
def search(query: Annotated[str, typer.Argument(callback=_filled)], limit: Limit = 10, as_json: AsJson = False) -> None:
    """Find similar memories; says what each score is made of, and how many were left out."""
    found = ask(lambda api: api.get("/api/memory/search", q=query, limit=limit))
    show(found, as_json, _found)


@memory.command("show")
def show_memory(
    memory: Id,
    history: Annotated[bool, typer.Option("--history", help="All values of its subject that are kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one memory: where it comes from, since when it holds, who told it again."""
    place = f"/api/memory/{segment(memory)}"
    if history:
        found = ask(lambda api: api.get(f"{place}/history"))
        show(found, as_json, lambda it: table(it["items"], ("id", "body", "created", *_TIMES, "expires"), "nothing"))
    else:
        show(ask(lambda api: api.get(place)), as_json, _whole)


@memory.command("as-of")
def as_of(
    key: Key,
    valid: Annotated[datetime, typer.Argument(parser=_moment, metavar="TIME", help="When it was so.")],
    known: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="TIME", help="As far as it was known then.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a subject was at a moment."""
    then = {"valid": valid.isoformat(), "known": known and known.isoformat()}
    found = ask(lambda api: api.get("/api/memory/as-of", key=key, **then))
    show(found, as_json, lambda it: fields(it, _ITEM))


@memory.command()
def embedder(as_json: AsJson = False) -> None:
    """Show what memory is searched with besides words, and how much waits for its vectors after a change."""
    found = ask(lambda api: api.get("/api/memory/embedder"))
    show(found, as_json, lambda it: fields({**it, **it["waiting"]}, ("embedder", *it["waiting"])))


@memory.command()
def add(
    text: Annotated[str, typer.Argument(callback=_filled)],
    key: Annotated[str | None, typer.Option(callback=_subject, help="Subject; replaces what was said of it.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, max=_LONGEST, help="Seconds until it is forgotten.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remember a text for you."""
    kept = ask(lambda api: api.post("/api/memory", {"body": text, "key": key, "ttl_seconds": ttl}))
    show(kept, as_json, _kept)


@memory.command()
def pin(memory: Id, as_json: AsJson = False) -> None:
    """Keep a memory of yours when others leave for want of room."""
    done = ask(lambda api: api.post(f"/api/memory/{segment(memory)}/pin", {}))
    show(done, as_json, lambda it: say(f"pinned {it['id']}"))


@memory.command()
def unpin(memory: Id, as_json: AsJson = False) -> None:
    """Let a memory of yours leave again when room is wanted."""
    done = ask(lambda api: api.delete(f"/api/memory/{segment(memory)}/pin"))
    show(done, as_json, lambda it: say(f"unpinned {it['id']}"))


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
                sys.stdout.write(line + "\n")
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
    held = _lines(file)
    done = ask(lambda api: _send(api, held))
    show(done, as_json, lambda it: say(f"took in {it['imported']}, knew {it['known']}"))


def _kept(it: Mapping[str, Any]) -> None:
    if it["linked"]:
        say(f"known as {it['id']} in {it['scope']}, which says the same; linked to it, not stored again")
    else:
        say(f"remembered as {it['id']} in {it['scope']}")


def _found(page: Mapping[str, Any]) -> None:
    rows = [{**item, "because": _because(item["explain"])} for item in page["items"]]
    table(rows, ("score", "because", *_ITEM), "nothing similar is remembered")
    if left := ", ".join(f"{count} {name}" for name, count in page["hidden"].items() if count):
        note(f"not shown: {left}")


def _because(explain: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:+.2f}" for name, value in explain.items())


def _whole(it: Mapping[str, Any]) -> None:
    origin = {name: value for name, value in it["provenance"].items() if value}
    fields({**it, "origin": origin}, (*_ITEM, *_TIMES, "origin", "pinned", "told", "uses"))
    if it["links"]:
        say("told again:")
        table(it["links"], ("told", "principal", "trust", "run"), "")


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, or of the standard input for `-`; a usage error, or Permanent("bad_request")."""
    try:
        text = (_piped() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"{str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        message = f"{str(file)!r} is no UTF-8 text ({error.reason} at byte {error.start}); export the memories again"
        raise typer.BadParameter(message) from error
    return [*filter(str.strip, text.split("\n"))]


def _piped() -> bytes:
    with open(0, "rb", closefd=False) as pipe:
        return pipe.read()


async def _send(api: Api, held: Sequence[str]) -> dict[str, int]:
    """Import lines; returns how many went in and how many were there. What an error leaves in may be sent again."""
    # Late, since it brings the models of all lines along.
    from memory.store.transfer_format import pieces

    done = {"imported": 0, "known": 0}
    every = list(pieces(held))
    tell: Callable[[str], object] = note if len(every) > 1 else str
    first = 2
    for number, piece in enumerate(every, 1):
        try:
            answer = await api.post("/api/memory/import", {"lines": piece})
        except ControlError:
            tell(f"piece {number} of {len(every)} is not in; its line 2 is line {first} of the file, blanks aside")
            raise
        done = {name: count + answer[name] for name, count in done.items()}
        first += len(piece) - 1
        tell(f"piece {number} of {len(every)} is in")
    return done
