"""The journal on the command line: show, verify, export."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.terminal import (
    AsJson,
    ask,
    cell,
    say,
    show,
)

journal = typer.Typer(help="What happened, in an order that cannot be changed unseen.", no_args_is_help=True)
Run = Annotated[str | None, typer.Option(help="Of this run only.")]


@journal.command("show")
def show_journal(run: Annotated[str, typer.Argument(help="Id of the run.")], as_json: AsJson = False) -> None:
    """Show what was recorded of a run."""

    async def read(api: Api) -> dict[str, Any]:
        found: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = await api.get(f"/api/runs/{segment(run)}/journal", after=after, limit=200)
            found += page["items"]
            after = page["next"]
        return {"run": run, "items": found}

    show(ask(read), as_json, _print_entries)


@journal.command()
def verify(run: Run = None, as_json: AsJson = False) -> None:
    """Recompute the chains; exit code 6 if one does not hold."""
    found = ask(lambda api: api.get("/api/journal/verify", run=run))
    show(found, as_json, _print_verification)
    if not found["ok"]:
        raise typer.Exit(6)


@journal.command()
def export(run: Run = None) -> None:
    """Print every entry as a line of JSON."""

    async def copy(api: Api) -> None:
        async for line in api.lines("/api/journal/export", run=run):
            sys.stdout.write(line + "\n")

    ask(copy)


def _print_entries(found: Mapping[str, Any]) -> None:
    for entry in found["items"]:
        body: dict[str, Any] = dict(entry["body"])
        at, kind = body.pop("at"), body.pop("kind")
        told = ", ".join(f"{name}={cell(value)[:80]}" for name, value in body.items() if value not in (None, [], {}))
        say(f"{entry['seq']:>4}  {at[11:23]}  {kind:<10} {told}")


def _print_verification(found: Mapping[str, Any]) -> None:
    say(f"{found['entries']:,} entries of {found['runs']:,} run(s): {'every chain holds' if found['ok'] else 'BROKEN'}")
    for broken in found["broken"]:
        say(f"run {broken['run']}, entry {broken['seq']}: {broken['what']}")
