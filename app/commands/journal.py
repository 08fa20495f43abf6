"""Command group `journal`: show, verify, export, heads."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.terminal import (
    AsJson,
    RunFilter,
    ask,
    cell,
    emit_line,
    say,
    show,
)
from app.commands.verdicts import policy, rederive

_PLACES = {"seq": "entry", "number": "head", "position": "leaf"}
journal = typer.Typer(help="What happened, in an order that cannot be changed unseen.", no_args_is_help=True)
for command in (policy, rederive):
    journal.command()(command)


@journal.command("show")
def show_journal(run: Annotated[str, typer.Argument(help="Id of the run.")], as_json: AsJson = False) -> None:
    """Show what was recorded of a run."""

    async def read(api: Api) -> dict[str, Any]:
        items: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = await api.get(f"/api/runs/{segment(run)}/journal", after=after, limit=200)
            items += page["items"]
            after = page["next"]
        return {"run": run, "items": items}

    show(ask(read), as_json, _print_entries)


@journal.command()
def verify(run: RunFilter = None, as_json: AsJson = False) -> None:
    """Check chains, rows, log and heads; exit code 6 if something does not hold."""
    verification = ask(lambda api: api.get("/api/journal/verify", run=run))
    show(verification, as_json, _print_verification)
    if not verification["ok"]:
        raise typer.Exit(6)


@journal.command()
def heads(after: Annotated[int, typer.Option(min=0, help="Number of the last one that you have.")] = 0) -> None:
    """Print the signed heads of the log as lines of JSON: keep them where nobody of here can change them."""

    async def copy(api: Api) -> None:
        async for line in api.lines("/api/journal/heads", after=after):
            emit_line(line)

    ask(copy)


@journal.command()
def export(run: RunFilter = None) -> None:
    """Print every entry as a line of JSON."""

    async def copy(api: Api) -> None:
        async for line in api.lines("/api/journal/export", run=run):
            emit_line(line)

    ask(copy)


def _print_entries(answer: Mapping[str, Any]) -> None:
    for entry in answer["items"]:
        body: dict[str, Any] = dict(entry["body"])
        at, kind = body.pop("at"), body.pop("kind")
        details = ", ".join(f"{name}={cell(value)[:80]}" for name, value in body.items() if value not in (None, [], {}))
        say(f"{entry['seq']:>4}  {at[11:23]}  {kind:<10} {details}")


def _print_verification(verification: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{verification[name]:,} {name}" for name in ("entries", "runs", "rows", "leaves", "heads"))
    say(f"{counts}: {'everything holds' if verification['ok'] else 'BROKEN'}")
    for breach in verification["broken"]:
        place = ", ".join(
            f"{_PLACES.get(name, name)} {cell(value)}" for name, value in breach.items() if name != "what"
        )
        say(f"{place}: {breach['what']}")
    for note in verification["notes"]:
        say(f"note: {note}")
