"""Stop switches: under a pulled one no claim commits; called by the API, where people pull and release them."""

from typing import Any, Literal

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access

Reach = Literal["all", "run", "agent", "tool", "user"]


async def kill(database: Database, access: Access, reach: Reach, name: str = "", reason: str = "") -> None:
    """Stop everything within reach; permits that were not used yet are void in the same commit."""
    await database.call(access, "kill", reach, name, reason)


async def unkill(database: Database, access: Access, reach: Reach, name: str = "") -> None:
    """Release a switch; raises Permanent("not_found") if it is not pulled."""
    row = await database.call(access, "unkill", reach, name)
    if row["code"] != "ok":
        raise Permanent("not_found", f"nothing of kind {reach!r} named {name!r} is stopped")


async def ls(database: Database, access: Access) -> list[dict[str, Any]]:
    """Return the switches that are pulled."""
    return await database.rows(access, "select kind, name, reason, by, at from kills order by at")
