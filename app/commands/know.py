"""Memory, knowledge, the stop switch and keys on the command line."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.client import Api, segment
from app.commands import pieces
from app.commands.terminal import AsJson, ask, fields, note, say, settings, show, table
from memory.errors import Permanent

memory = typer.Typer(help="What is remembered for you.", no_args_is_help=True)
knowledge = typer.Typer(help="What plans rest on.", no_args_is_help=True)
keys = typer.Typer(help="Who may come in; for administrators.", no_args_is_help=True)

Kind = Annotated[str, typer.Argument(help="all, run, agent, tool or user")]
Name = Annotated[str, typer.Argument(help="Which one; nothing for all.")]
_ITEM = ("id", "scope", "key", "body", "trust", "created", "expires")


@memory.command("ls")
def list_memories(limit: int = 20, as_json: AsJson = False) -> None:
    """List your memories and the shared ones, newest first."""
    found = ask(lambda api: api.get("/api/memory", limit=limit))
    show(found, as_json, lambda page: table(page["items"], _ITEM, "nothing is remembered"))


@memory.command()
def search(query: str, limit: int = 10, as_json: AsJson = False) -> None:
    """Find similar memories; says what each score is made of, and how many were left out."""
    found = ask(lambda api: api.get("/api/memory/search", q=query, limit=limit))
    show(found, as_json, _found)


@memory.command()
def embedder(as_json: AsJson = False) -> None:
    """Show what memory is searched with besides words, and how much waits for its vectors after a change."""
    found = ask(lambda api: api.get("/api/memory/embedder"))
    show(found, as_json, lambda it: fields({**it, **it["waiting"]}, ("embedder", *it["waiting"])))


@memory.command()
def add(
    text: str,
    key: Annotated[str | None, typer.Option(help="Subject; replaces what was said of it.")] = None,
    ttl: Annotated[int | None, typer.Option(help="Seconds until it is forgotten.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remember a text for you."""
    kept = ask(lambda api: api.post("/api/memory", {"body": text, "key": key, "ttl_seconds": ttl}))
    show(kept, as_json, lambda it: say(f"remembered as {it['id']} in {it['scope']}"))


@memory.command()
def forget(
    memory: Annotated[str | None, typer.Argument(help="Id of the memory.")] = None,
    person: Annotated[str | None, typer.Option(help="A whole person: you, or for administrators any.")] = None,
    as_json: AsJson = False,
) -> None:
    """Forget one memory of yours, or all that is remembered of a person."""
    if (memory is None) == (person is None):
        raise typer.BadParameter("give either the id of a memory or --person NAME")
    if person is None:
        gone = ask(lambda api: api.delete(f"/api/memory/{segment(memory or '')}"))
        show(gone, as_json, lambda it: say(f"forgot {it['forgotten']} row(s)"))
        return
    receipt = ask(lambda api: api.delete(f"/api/memory?person={quote(person)}"))
    show(receipt, as_json, lambda it: fields({**it["counts"], "receipt": it["person"]}, (*it["counts"], "receipt")))


@memory.command()
def prune(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this, only look.")] = False,
    facts: Annotated[int | None, typer.Option(min=0, help="How many with a subject may stay.")] = None,
    episodes: Annotated[int | None, typer.Option(min=0, help="How many without one may stay.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which of your memories would leave, and why; with --apply, archive exactly those."""
    room = {name: count for name, count in (("facts", facts), ("episodes", episodes)) if count is not None}
    seen = ask(lambda api: api.post("/api/memory/prune", room))
    if apply:
        seen = ask(lambda api: api.post("/api/memory/prune", {**room, "expect": seen["digest"]}))
    show(seen, as_json, _pruned)


@memory.command()
def archive(limit: int = 20, as_json: AsJson = False) -> None:
    """List what was pruned and can still be taken back."""
    columns = ("id", "scope", "reason", "body", "pruned", "retained_until", "hold")
    found = ask(lambda api: api.get("/api/memory/archive", limit=limit))
    show(found, as_json, lambda page: table(page["items"], columns, "nothing is archived"))


@memory.command()
def restore(memory: Annotated[str, typer.Argument(help="Id in the archive.")], as_json: AsJson = False) -> None:
    """Take back one memory that was pruned."""
    back = ask(lambda api: api.post(f"/api/memory/archive/{segment(memory)}/restore", {}))
    show(back, as_json, lambda it: say(f"remembered again as {it['id']} in {it['scope']}"))


@memory.command("export")
def export_memories() -> None:
    """Print your own memories as lines of JSON."""

    async def copy(api: Api) -> None:
        async for line in api.lines("/api/memory/export"):
            sys.stdout.write(line + "\n")

    ask(copy)


@memory.command("import")
def import_memories(
    file: Annotated[Path, typer.Argument(help="What an export printed; - for the standard input.")],
    as_json: AsJson = False,
) -> None:
    """Take in exported memories; a large file goes in pieces, each whole or not at all. What is there already stays."""
    held = pieces.lines(file)
    done = ask(lambda api: pieces.send(api, held))
    show(done, as_json, lambda it: say(f"took in {it['imported']}, knew {it['known']}"))


@knowledge.command("ls")
def list_knowledge(
    id: Annotated[str | None, typer.Option(help="List the versions of this item.")] = None, as_json: AsJson = False
) -> None:
    """List what is known, in its newest version."""
    found = ask(lambda api: api.get("/api/knowledge", id=id))
    columns = ("id", "version", "kind", "title", "owner", "review_by", "overdue")
    show(found, as_json, lambda page: table(page["items"], columns, "nothing is known"))


@knowledge.command("search")
def search_knowledge(query: str, kind: str = "runbook", limit: int = 5, as_json: AsJson = False) -> None:
    """Find the runbooks, facts or configuration that a text resembles most."""
    found = ask(lambda api: api.get("/api/knowledge/search", q=query, kind=kind, limit=limit))
    show(found, as_json, lambda page: table(page["items"], ("score", "id", "version", "title"), "nothing is similar"))


@knowledge.command("show")
def show_knowledge(id: str, version: int | None = None, as_json: AsJson = False) -> None:
    """Print an item, the newest or one version."""
    shown = ask(lambda api: api.get(f"/api/knowledge/{segment(id)}", version=version))
    show(shown, as_json, lambda it: say(it["body"]))


@knowledge.command()
def publish(  # one option per field of an item
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A runbook, or any text.")],
    *,
    id: Annotated[str | None, typer.Option(help="For texts that are no runbook.")] = None,
    title: str | None = None,
    owner: str | None = None,
    review_by: Annotated[str | None, typer.Option(help="YYYY-MM-DD")] = None,
    message: Annotated[str, typer.Option("--note", help="Why this version.")] = "",
    as_json: AsJson = False,
) -> None:
    """Publish a version; what was asked on the strength of an older one is void."""
    body = file.read_text(encoding="utf-8")
    item = (
        _runbook(body)
        if id is None
        else {"kind": "fact", "id": id, "title": title, "owner": owner, "review_by": review_by}
    )
    if missing := [name for name in ("title", "owner", "review_by") if not item[name]]:
        raise typer.BadParameter(f"give --{', --'.join(missing).replace('_', '-')}")
    done = ask(lambda api: api.post("/api/knowledge", {**item, "body": body, "note": message}))
    show(
        done,
        as_json,
        lambda it: say(f"{it['id']} version {it['version']} is published; {len(it['woken'])} run(s) plan again"),
    )


def kill(
    kind: Kind = "all",
    name: Name = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why.")] = "stopped from the command line",
    pulled: Annotated[bool, typer.Option("--list", help="Only list what is stopped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop everything, or a run, agent role, tool or person; nothing within reach is permitted any more."""
    if pulled:
        found = ask(lambda api: api.get("/api/kills"))
        show(
            found,
            as_json,
            lambda page: table(page["items"], ("kind", "name", "reason", "by", "at"), "nothing is stopped"),
        )
        return
    done = ask(lambda api: api.post("/api/kills", {"kind": kind, "name": name, "reason": reason}))
    show(done, as_json, lambda it: say(f"stopped: {kind} {name}".rstrip() + "; release it with countersign unkill"))


def unkill(kind: Kind = "all", name: Name = "", as_json: AsJson = False) -> None:
    """Release the stop switch; stopped runs stay so until they are resumed."""
    place = "all" if kind == "all" else f"{segment(kind)}/{segment(name)}"
    done = ask(lambda api: api.delete(f"/api/kills/{place}"))
    show(done, as_json, lambda it: say(f"released: {kind} {name}".rstrip() + "; continue with countersign runs resume"))


@keys.command()
def create(
    person: Annotated[str, typer.Argument(help="Who gets the key.")],
    label: str = "",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 90,
    bootstrap: Annotated[
        bool, typer.Option(help="With the database owner's authority, before anybody has a key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key; its secret is printed once."""
    if bootstrap:
        issued = _bootstrap(person, label or "bootstrap", days)
    else:
        issued = ask(lambda api: api.post("/api/keys", {"person": person, "label": label, "days": days}))
    show(issued, as_json, lambda it: say(it["secret"]))


@keys.command("ls")
def list_keys(as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    columns = ("id", "person", "label", "created", "expires", "revoked")
    show(ask(lambda api: api.get("/api/keys")), as_json, lambda page: table(page["items"], columns, "no keys"))


@keys.command()
def revoke(key: Annotated[str, typer.Argument(help="Id of the key.")], as_json: AsJson = False) -> None:
    """End a key at once."""
    done = ask(lambda api: api.post(f"/api/keys/{segment(key)}/revoke", {}))
    show(done, as_json, lambda it: fields(it, ("id", "revoked")))


def _found(page: Mapping[str, Any]) -> None:
    rows = [{**item, "because": _because(item["explain"])} for item in page["items"]]
    table(rows, ("score", "because", *_ITEM), "nothing similar is remembered")
    if left := ", ".join(f"{count} {name}" for name, count in page["hidden"].items() if count):
        note(f"not shown: {left}")


def _because(explain: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:+.2f}" for name, value in explain.items())


def _pruned(it: Mapping[str, Any]) -> None:
    table(it["leaving"], ("id", "reason", "worth", "body"), "nothing has to leave")
    if it["done"]:
        say(f"{it['gone']} of {it['held']} left {it['scope']}; {it['archived']} can be restored")
    elif it["leaving"]:
        say(f"{len(it['leaving'])} of {it['held']} would leave {it['scope']}; repeat with --apply")


def _bootstrap(person: str, label: str, days: int) -> dict[str, Any]:
    from app.founding import first_key
    from app.places import located

    told = settings()
    with located(told) as places:
        return asdict(asyncio.run(first_key(told, places, person, label=label, days=days)))


def _runbook(body: str) -> dict[str, Any]:
    from graphs.runbooks import parse

    try:
        document = parse(body)
    except Permanent as error:
        raise typer.BadParameter(f"{error}; for other texts give --id, --title, --owner and --review-by") from error
    book = document.runbook
    return {
        "kind": "runbook",
        "id": book.id,
        "title": document.title,
        "owner": book.owner,
        "review_by": book.review_by.isoformat(),
        "version": book.version,
    }
