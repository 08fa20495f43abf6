"""Command group `knowledge`: list, search, show, publish and approve."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.client import segment
from app.commands.terminal import (
    AsJson,
    CursorOption,
    LimitOption,
    ask,
    cell,
    note,
    print_page,
    quote,
    say,
    show,
    table,
)
from memory.errors import Permanent

knowledge = typer.Typer(help="What plans rest on.", no_args_is_help=True)
KindName = Literal["runbook", "fact", "config"]


@knowledge.command("ls")
def list_knowledge(
    id: Annotated[str | None, typer.Option(help="List the versions of this item.")] = None,
    kind: Annotated[KindName | None, typer.Option(help="Only these.")] = None,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    as_json: AsJson = False,
) -> None:
    """List what is known, in its newest version."""
    answer = ask(lambda api: api.get("/api/knowledge", id=id, kind=kind, limit=limit, cursor=cursor))
    columns = ("id", "version", "kind", "title", "owner", "review_by", "overdue")
    show(answer, as_json, lambda page: print_page(page, columns, "nothing is known"))


@knowledge.command("search")
def search_knowledge(
    query: str,
    kind: KindName = "runbook",
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many at most.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Find the runbooks, facts or configuration that a text resembles most."""
    answer = ask(lambda api: api.get("/api/knowledge/search", q=query, kind=kind, limit=limit))
    show(answer, as_json, lambda page: table(page["items"], ("score", "id", "version", "title"), "nothing is similar"))


@knowledge.command("show")
def show_knowledge(
    id: str, version: Annotated[int | None, typer.Option(min=1)] = None, as_json: AsJson = False
) -> None:
    """Print an item, the newest or one version; into a file exactly as it was published."""
    answer = ask(lambda api: api.get(f"/api/knowledge/{segment(id)}", version=version))
    show(answer, as_json, lambda item: _print(item["body"]))


@knowledge.command()
def publish(  # one option per field of an item
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A runbook, or any text.")],
    *,
    id: Annotated[str | None, typer.Option(help="For texts that are no runbook.")] = None,
    kind: Annotated[Literal["fact", "config"], typer.Option(help="For texts that are no runbook.")] = "fact",
    title: str | None = None,
    owner: str | None = None,
    review_by: Annotated[str | None, typer.Option(help="YYYY-MM-DD")] = None,
    message: Annotated[str, typer.Option("--note", help="Why this version.")] = "",
    as_json: AsJson = False,
) -> None:
    """Publish a version; what was asked on the strength of an older one is void."""
    body = _text(file)
    about = {"title": title, "owner": owner, "review_by": review_by}
    item = {**_runbook(body), **about} if id is None else {"kind": kind, "id": id, **about}
    if id is not None and (missing := [name for name, value in about.items() if not value]):
        raise typer.BadParameter(f"give --{', --'.join(missing).replace('_', '-')}")
    answer = ask(lambda api: api.post("/api/knowledge", {**item, "body": body, "note": message}))
    show(answer, as_json, _print_publication)


@knowledge.command()
def approve(
    id: str,
    version: Annotated[int, typer.Argument(min=1)],
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; recorded with your name.")] = "",
    as_json: AsJson = False,
) -> None:
    """Agree that plans rest on a version that somebody else published."""
    path = f"/api/knowledge/{segment(id)}/versions/{version}/approve"
    show(ask(lambda api: api.post(path, {"reason": reason})), as_json, _print_approval)


def _print_approval(approval: Mapping[str, Any]) -> None:
    about = "is approved" if approval["fresh"] else "was approved by you before"
    say(f"{approval['id']} version {approval['version']} {about}; {approval['published_by']} may decide what it asks")


def _print_publication(publication: Mapping[str, Any]) -> None:
    status = (
        f"is published; {len(publication['woken'])} run(s) plan again"
        if publication["fresh"]
        else "is there already, with this text"
    )
    say(f"{publication['id']} version {publication['version']} {status}")
    if not publication["countersigned"]:
        name = f"{publication['id']} {publication['version']}"
        note(f"until another person approves it, {publication['published_by']} does not decide what its plans ask: "
             f"{cell(publication['may_approve'])} may, by `countersign knowledge approve {name}`")  # fmt: skip


def _print(body: str) -> None:
    # A file gets the published bytes; a screen gets no control characters.
    if sys.stdout.isatty():
        quote(body)
    else:
        sys.stdout.buffer.write(body.encode())


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise typer.BadParameter(f"{str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{str(file)!r} is no UTF-8 text ({error.reason} at byte {error.start})") from error


def _runbook(body: str) -> dict[str, Any]:
    from graphs.planning.runbooks import parse

    try:
        return {"kind": "runbook", "id": parse(body).runbook.id}
    except Permanent as error:
        raise typer.BadParameter(f"{error}; for other texts give --id, --title, --owner and --review-by") from error
