"""Command group `limits`: up to what sums people may approve, in each currency; for the owner of the database."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.terminal import AsJson, money, say, settings, show, table
from memory.errors import Permanent

if TYPE_CHECKING:
    from app.addresses import Addresses

limits = typer.Typer(help="Up to what sums people may approve; for the database's owner.", no_args_is_help=True)
_COLUMNS = ("person", "currency", "alone", "joint")


@limits.command("ls")
def list_limits(as_json: AsJson = False) -> None:
    """List the limits of all people; whoever has none in a currency may not approve amounts in it."""
    from app.addresses import addresses_of, demand_server

    options = settings()
    demand_server(options)
    with addresses_of(options) as addresses:
        rows = asyncio.run(_rows(addresses, options.tenant))
    show({"items": rows}, as_json, lambda page: table(list(map(_words, page["items"])), _COLUMNS, "nobody is here yet"))


@limits.command("set")
def set_limit(
    person: Annotated[str, typer.Argument(help="Whose limit it is.")],
    currency: Annotated[str, typer.Argument(help="Code of ISO 4217, such as JPY.")],
    alone: Annotated[int, typer.Argument(min=0, max=2**63 - 1, help="Up to what sum alone, in minor units.")],
    joint: Annotated[int, typer.Argument(min=0, max=2**63 - 1, help="Up to what sum with others, in minor units.")],
    as_json: AsJson = False,
) -> None:
    """Set up to what sums a person may approve in one currency, alone and together with others."""
    from app.addresses import addresses_of, demand_server
    from memory.governance.limits import Limit, put
    from tools.money import code

    try:
        limit = Limit(person, code(currency), alone, joint)
    except ValueError as error:
        raise Permanent("bad_request", str(error)) from None
    options = settings()
    demand_server(options)
    with addresses_of(options) as addresses:
        asyncio.run(put(addresses.owner_url, options.tenant, limit))
    show(asdict(limit), as_json, lambda row: say(_sentence(row)))


async def _rows(addresses: "Addresses", tenant: str) -> list[dict[str, Any]]:
    from memory.governance import limits as memory_limits
    from memory.governance.policy_version import installation
    from memory.postgres.database import Database

    database = await Database.open(addresses.app, size=1)
    try:
        return [asdict(limit) for limit in await memory_limits.ls(database, installation(tenant))]
    finally:
        await database.close()


def _sentence(row: Mapping[str, Any]) -> str:
    words = _words(row)
    return f"{row['person']} may approve {words['alone']} alone, {words['joint']} with others"


def _words(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{name: money(row[name], row["currency"]) for name in ("alone", "joint")}}
