"""Scheduled checks of every tenant's journal, and when each last held; done by housekeeping, told by doctor."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memory.evidence.check import Check, check
from memory.governance.policy_version import installation
from memory.postgres.database import Database


@dataclass(frozen=True, slots=True)
class CheckStanding:
    """How it stands with one tenant's journal; times are seconds ago."""

    tenant: str
    checked: float | None
    """When it was last looked at; None if the row names a time that is still to come."""
    held: float | None
    """When it last held; None if it never did."""
    broken: float | None
    """When it was first found that it does not hold; None if it does."""
    problems: int
    first: str
    """Place and kind of the first problem; empty if there is none."""


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """Standing of all journals together; times are seconds ago, of the worst one."""

    tenants: int
    checked: float | None
    """When all were last looked at; None before every one was."""
    broken: float | None
    """Since when one does not hold; None if all do."""


async def check_due(database: Database) -> Check | None:
    """Check one tenant's journal that is due, by whichever worker asks first; returns None if none is."""
    async with database.worker() as connection:
        row = await (await connection.execute("select tenant from take_due_check()")).fetchone()
    if row is None:
        return None
    access, begin = installation(row["tenant"]), time.monotonic()
    async with database.snapshot(access) as connection:
        result = await check(connection)
    body = {
        "seconds": time.monotonic() - begin,
        "leaves": result.counts["leaves"],
        "problems": len(result.problems),
        "first": _sentence(result.problems[0]) if result.problems else "",
    }
    await database.call(access, "note_check", body)
    return result


async def standings(database: Database) -> list[CheckStanding]:
    """Return how it stands with every tenant's journal that was ever checked."""
    async with database.worker() as connection:
        cursor = await connection.execute("select * from check_standings()")
        return [CheckStanding(**row) for row in await cursor.fetchall()]


async def health(database: Database) -> JournalHealth:
    """Return how it stands with the journals of this installation as a whole."""
    async with database.system() as connection:
        cursor = await connection.execute("select * from journal_health()")
        return JournalHealth(**(await cursor.fetchone() or {}))


def _sentence(problem: Mapping[str, Any]) -> str:
    location = {name: value for name, value in problem.items() if name != "what"}
    return f"{json.dumps(location)}: {problem['what']}"
