"""Command group `keys`, for administrators."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.terminal import AsJson, ask, fields, note, say, settings, show, table

keys = typer.Typer(help="Who may come in; for administrators.", no_args_is_help=True)


@keys.command()
def create(  # one option per field of a key
    person: Annotated[str | None, typer.Argument(help="Who gets the key; unset means oneself.")] = None,
    *,
    recipient: Annotated[str | None, typer.Option("--for", help="The same, as an option.")] = None,
    label: str = "",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 90,
    bootstrap: Annotated[
        bool, typer.Option(help="With the database owner's authority, before anybody has a key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key; its secret is printed once. For somebody else that is a code, which they claim."""
    person = _recipient(person, recipient)
    body = {"person": person, "label": label, "days": days}
    new_key = _bootstrap(person, label, days) if bootstrap else ask(lambda api: api.post("/api/keys", body))
    show(new_key, as_json, _print_key)


@keys.command()
def claim(
    code: Annotated[str, typer.Argument(help="The code that an administrator gave you.")], as_json: AsJson = False
) -> None:
    """Take the key that somebody made for you; it is printed once, and the code is worth nothing afterwards."""
    show(ask(lambda api: api.post("/api/keys/claim", {"code": code}), client=Api.of_nobody), as_json, _print_key)


@keys.command("ls")
def list_keys(as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    columns = ("id", "person", "label", "made_by", "created", "claimed", "refused_claims", "expires", "revoked")
    show(ask(lambda api: api.get("/api/keys")), as_json, lambda page: table(page["items"], columns, "no keys"))


@keys.command()
def revoke(key: Annotated[str, typer.Argument(help="Id of the key.")], as_json: AsJson = False) -> None:
    """End a key at once."""
    answer = ask(lambda api: api.post(f"/api/keys/{segment(key)}/revoke", {}))
    show(answer, as_json, lambda view: fields(view, ("id", "revoked")))


def _recipient(argument: str | None, option: str | None) -> str | None:
    if argument and option and argument != option:
        raise typer.BadParameter(f"the key is either for {argument!r} or for {option!r}; name one")
    return argument or option


def _print_key(key: Mapping[str, Any]) -> None:
    say(key["secret"])
    if key.get("claim_until"):
        # Beside the code, so that a pipe gets the code alone.
        note(f"a code for {key['person']!r}, good once: `countersign keys claim CODE` until {key['claim_until']}")


def _bootstrap(person: str | None, label: str, days: int) -> dict[str, Any]:
    from app.addresses import addresses_of
    from app.bootstrap import first_key

    if person is None:
        raise typer.BadParameter("--bootstrap needs to know for whom; name a person")
    options = settings()
    with addresses_of(options) as addresses:
        return asdict(asyncio.run(first_key(options, addresses, person, label=label or "bootstrap", days=days)))
