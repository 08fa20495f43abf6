"""Stop switches: under a pulled one no claim commits; called by the API, where people pull and release them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from memory.errors import Permanent
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.scope import Access

Reach = Literal["all", "run", "agent", "tool", "user"]

_REACHES: tuple[Reach, ...] = get_args(Reach)
_RELEASE_CODES: tuple[Literal["ok", "not_found"], ...] = ("ok", "not_found")


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """A pulled switch; field names are those of its columns."""

    kind: Reach
    name: str
    """The run, agent role, tool or person; empty for all."""
    reason: str
    by: str
    at: datetime


async def kill(database: Database, access: Access, reach: Reach, name: str = "", reason: str = "") -> None:
    """Stop everything within reach; permits without a call yet are void in the same commit."""
    await database.call(access, "kill", reach, name, reason)


async def unkill(database: Database, access: Access, reach: Reach, name: str = "") -> None:
    """Release a switch; raises Permanent("not_found") if it is not pulled."""
    row = await database.call(access, "unkill", reach, name)
    if member(_RELEASE_CODES, row["code"], "unkill") == "not_found":
        raise Permanent("not_found", f"nothing of kind {reach!r} named {name!r} is stopped")


async def ls(database: Database, access: Access) -> list[KillSwitch]:
    """Return the pulled switches, the oldest first."""
    rows = await database.rows(access, "select kind, name, reason, by, at from kills order by at")
    return [KillSwitch(kind=member(_REACHES, row.pop("kind"), "kills"), **row) for row in rows]
