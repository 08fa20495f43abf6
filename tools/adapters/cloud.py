"""Cloud tools: volumes, tables on them, and the effects that cost money or data; discovered by the catalogue."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools.action import Json
from tools.facts import Fact
from tools.money import Money
from tools.services import SETTLES_WITHIN, lookup_in, request_body
from tools.tool import Call, Observation, tool

PRICED_IN = "EUR"
"""What the demo business pays for its volumes in."""
ResourceName = Annotated[str, Field(pattern=r"^(prod|staging)/[a-z][a-z0-9_-]{0,39}$")]
"""The environment is part of every name here, so that nobody can claim another one."""


class CloudArguments(BaseModel):
    """Base of all arguments here: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class VolumesArguments(CloudArguments):
    """One volume by name, or all."""

    volume: Annotated[str, Field(pattern=r"^((prod|staging)/[a-z][a-z0-9_-]{0,39})?$")] = ""


class VolumeArguments(CloudArguments):
    """One volume."""

    volume: ResourceName


class ExtensionArguments(VolumeArguments):
    """How much to add, the size before it, and the price in cents at which it was offered."""

    size: int = Field(ge=1)
    """What it has now: it only grows, so this says which of its extensions is meant, whoever asks for it."""
    gigabytes: int = Field(ge=1, le=100_000)
    price: int = Field(ge=0)


class TableArguments(CloudArguments):
    """One database table."""

    table: ResourceName


def _environment(name: str) -> str:
    return name.partition("/")[0]


_ENVIRONMENTS = ("prod", "staging")


@tool("cloud.volumes", effect="read")
async def volumes(args: VolumesArguments, call: Call) -> Mapping[str, Json]:
    """Look at volumes: how many there are, how many are over 90 % full, and the fullest with an offer to extend it."""
    return await call.services.get("cloud", "volumes", args.model_dump())


@tool("cloud.tables", effect="read")
async def tables(args: VolumeArguments, call: Call) -> Mapping[str, Json]:
    """Look at the tables on a volume: how many there are, and the largest."""
    return await call.services.get("cloud", "tables", args.model_dump())


async def _volume_has_grown(args: ExtensionArguments, call: Call, report: Mapping[str, Json]) -> Observation:
    volume = (await call.services.get("cloud", "volumes", {"volume": args.volume}))["fullest"]
    facts = {name: volume[name] for name in ("volume", "size", "used_percent")}
    return Observation(volume["size"] >= args.size + args.gigabytes, {**facts, "price": args.price})


async def _table_is_gone(args: TableArguments, call: Call, report: Mapping[str, Json]) -> Observation:
    count = (await call.services.get("cloud", "table", {"table": args.table}))["tables"]
    return Observation(count == 0, {"table": args.table, "dropped": 1 - count})


@tool(
    "cloud.extend_volume",
    effect="write",
    key=lambda args: f"cloud.extend_volume:{args.volume}:{args.size}",
    target=lambda args: f"volume/{args.volume}",
    facts=(Fact("environment", lambda args: _environment(args.volume), _ENVIRONMENTS),),
    amount=lambda args: Money(args.price, PRICED_IN),
    observe=_volume_has_grown,
    lookup=lookup_in("cloud"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="db.disk-full",
    failures=(
        "price_changed: look again and ask again",
        "size_changed: somebody was faster, look again",
        "not_found: no such volume",
    ),
)
async def extend_volume(args: ExtensionArguments, call: Call) -> Mapping[str, Json]:
    """Add space to a volume at the price offered; volumes never shrink again."""
    return await call.services.post("cloud", "extend_volume", await request_body(args, call))


@tool(
    "cloud.drop_table",
    effect="destructive",
    key=lambda args: f"cloud.drop_table:{args.table}",
    target=lambda args: f"table/{args.table}",
    observe=_table_is_gone,
    sets_state=True,
    facts=(Fact("environment", lambda args: _environment(args.table), _ENVIRONMENTS),),
    inapplicable=("amount",),
    lookup=lookup_in("cloud"),
    keyed=True,
    settles_within=SETTLES_WITHIN,
    reversible=False,
    playbook="db.disk-full",
    failures=("not_found: no such table",),
)
async def drop_table(args: TableArguments, call: Call) -> Mapping[str, Json]:
    """Delete a table with all its rows."""
    return await call.services.post("cloud", "drop_table", await request_body(args, call))
