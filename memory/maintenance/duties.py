"""Log of the workers' housekeeping, duty by duty; written in every round of it, read by `doctor`."""

from dataclasses import dataclass

from memory.postgres.database import Database
from memory.store.pruning import STANDARD, PruningPolicy

_COUNT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Duty:
    """One duty of housekeeping, with the time since it was last done and last failed."""

    name: str
    seconds_since_success: float | None
    seconds_since_failure: float | None
    trouble: str
    """The kind of the last error; empty if it was done since."""


async def note(database: Database, duty: str, trouble: str = "") -> None:
    """Note that a duty was done just now, or that it failed; `trouble` names the kind of error, never a text."""
    async with database.worker() as connection:
        await connection.execute("select note_duty(%s, %s)", [duty, trouble])


async def ls(database: Database) -> list[Duty]:
    """Return every duty that any worker ever noted."""
    async with database.worker() as connection:
        cursor = await connection.execute("select * from noted_duties()")
        return [Duty(row["duty"], row["done"], row["failed"], row["trouble"]) for row in await cursor.fetchall()]


async def count_full_scopes(database: Database, policy: PruningPolicy = STANDARD) -> int:
    """Count scopes of any tenant with more memories than the policy allows, up to a thousand; pins are never pruned."""
    async with database.worker() as connection:
        cursor = await connection.execute(
            "select count(*) as n from crowded_scopes(%s, %s, %s)", [policy.facts, policy.episodes, _COUNT_LIMIT]
        )
        return int((await cursor.fetchone() or {})["n"])
