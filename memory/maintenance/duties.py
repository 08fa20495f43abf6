"""What the workers' housekeeping last did and last failed at; written by every round of it, read by `doctor`."""

from dataclasses import dataclass

from memory.postgres.database import Database
from memory.store.pruning import STANDARD, PruningPolicy

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Duty:
    """One thing that housekeeping does again and again, and how many seconds ago it did."""

    duty: str
    done: float | None
    failed: float | None
    trouble: str
    """Why it failed last; empty if it was done since."""


async def note(database: Database, duty: str, trouble: str = "") -> None:
    """Note that a duty was done just now, or that it failed; `trouble` names the kind of error, never a text."""
    async with database.system() as connection:
        await connection.execute("select note_duty(%s, %s)", [duty, trouble])


async def ls(database: Database) -> list[Duty]:
    """Return every duty that any worker ever noted."""
    async with database.system() as connection:
        found = await connection.execute("select * from noted_duties()")
        return [Duty(**row) for row in await found.fetchall()]


async def count_full_scopes(database: Database, policy: PruningPolicy = STANDARD) -> int:
    """Count scopes of any tenant that hold more than their room, up to a thousand; those full of pins stay so."""
    async with database.system() as connection:
        found = await connection.execute(
            "select count(*) as n from crowded_scopes(%s, %s, %s)", [policy.facts, policy.episodes, _MOST]
        )
        return int((await found.fetchone() or {})["n"])
