"""Stop switches: under a pulled one nothing is claimed or sent again; called by the API, for people."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from memory.errors import Permanent, Temporary
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.scope import Access

Reach = Literal["all", "run", "agent", "tool", "user"]

_REACHES: tuple[Reach, ...] = get_args(Reach)
_DRAIN_CODES: tuple[Literal["ok", "busy"], ...] = ("ok", "busy")
_ROUNDS = 3
"""Waits for claims that began before: each but the first comes after an end of those who hold the lock."""
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


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """An effect that was claimed before the switch: its send under way may still arrive, and no later one."""

    id: str
    run: str
    step: str
    tool: str
    attempts: int
    """Sends so far."""
    claimed: datetime


@dataclass(frozen=True, slots=True)
class KillReport:
    """What a switch left behind when it answered."""

    open: tuple[OpenClaim, ...]
    sessions: tuple[int, ...]
    """Processes of the database that hold the lock of all claims and may not be ended; an administrator must."""


async def kill(database: Database, access: Access, reach: Reach, name: str = "", reason: str = "") -> KillReport:
    """Stop everything within reach, and say what was claimed before and is not settled.

    The switch commits first. Then claims that began before are waited for, half a second at most; sessions that hold
    the lock after that are ended. Raises Temporary: `lock_timeout` if it could not be written, `unavailable` if the
    claims could not be waited for all the same.
    """
    await _pull(database, access, reach, name, reason)
    sessions: tuple[int, ...] = ()
    for _ in range(_ROUNDS):
        if await _drain(database, access, reach, name):
            break
        sessions = tuple(row["pid"] for row in await database.rows(access, "select * from end_authority_holders()"))
        if sessions:
            break
    else:
        message = "the switch is pulled and holds, but claims that began before it still run; pull it again to wait"
        raise Temporary("unavailable", message)
    return KillReport(await open_claims(database, access, reach, name), sessions)


async def _pull(database: Database, access: Access, reach: Reach, name: str, reason: str) -> None:
    """Write the switch; whoever stands in its way with a transaction of theirs is ended."""
    try:
        await database.call(access, "kill", reach, name, reason)
    except Temporary as error:
        if error.code != "lock_timeout":
            raise
        await database.call(access, "end_writers")
        await database.call(access, "kill", reach, name, reason)


async def _drain(database: Database, access: Access, reach: Reach, name: str) -> bool:
    try:
        row = await database.call(access, "drain_claims", reach, name)
    except Temporary:
        # Another pulled switch may have ended this session for waiting: the next round is another session's.
        return False
    return member(_DRAIN_CODES, row["code"], "drain_claims") == "ok"


async def open_claims(database: Database, access: Access, reach: Reach, name: str = "") -> tuple[OpenClaim, ...]:
    """Return the effects within reach that are claimed and not settled, the oldest first."""
    rows = await database.rows(access, "select * from open_claims(%s, %s)", reach, name)
    return tuple(OpenClaim(**row) for row in rows)


async def unkill(database: Database, access: Access, reach: Reach, name: str = "") -> None:
    """Release a switch; raises Permanent("not_found") if it is not pulled."""
    row = await database.call(access, "unkill", reach, name)
    if member(_RELEASE_CODES, row["code"], "unkill") == "not_found":
        raise Permanent("not_found", f"nothing of kind {reach!r} named {name!r} is stopped")


async def ls(database: Database, access: Access) -> list[KillSwitch]:
    """Return the pulled switches, the oldest first."""
    rows = await database.rows(access, "select kind, name, reason, by, at from kills order by at")
    return [KillSwitch(kind=member(_REACHES, row.pop("kind"), "kills"), **row) for row in rows]
