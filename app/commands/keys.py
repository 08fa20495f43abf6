"""Command group `keys`, for administrators."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from app.client import segment
from app.commands.terminal import AsJson, ask, fields, say, settings, show, table

keys = typer.Typer(help="Who may come in; for administrators.", no_args_is_help=True)


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
        new_key = _bootstrap(person, label or "bootstrap", days)
    else:
        new_key = ask(lambda api: api.post("/api/keys", {"person": person, "label": label, "days": days}))
    show(new_key, as_json, lambda view: say(view["secret"]))


@keys.command("ls")
def list_keys(as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    columns = ("id", "person", "label", "created", "expires", "revoked")
    show(ask(lambda api: api.get("/api/keys")), as_json, lambda page: table(page["items"], columns, "no keys"))


@keys.command()
def revoke(key: Annotated[str, typer.Argument(help="Id of the key.")], as_json: AsJson = False) -> None:
    """End a key at once."""
    answer = ask(lambda api: api.post(f"/api/keys/{segment(key)}/revoke", {}))
    show(answer, as_json, lambda view: fields(view, ("id", "revoked")))


def _bootstrap(person: str, label: str, days: int) -> dict[str, Any]:
    from app.addresses import addresses_of
    from app.bootstrap import first_key

    options = settings()
    with addresses_of(options) as addresses:
        return asdict(asyncio.run(first_key(options, addresses, person, label=label, days=days)))
