"""What was so, and what was believed to be so, at a moment; for people who look back, never for a run's context."""

from datetime import datetime

from memory.database import Database
from memory.remembered import ROW, Memory, from_row
from memory.scope import Access


async def versions(database: Database, access: Access, key: str) -> list[Memory]:
    """Return the values that a subject has or had in the access's scopes and that are kept, newest belief first."""
    async with database.transaction(access) as connection:
        found = await connection.execute(
            f"select {ROW} from memories where key = %s order by memories.created desc, memories.id desc".encode(),
            [key],
        )
        return [from_row(row) for row in await found.fetchall()]


async def as_of(
    database: Database, access: Access, key: str, *, valid: datetime, known: datetime | None = None
) -> Memory | None:
    """Return the value of a subject that held at `valid`, as far as it was `known` then; None means as known now.

    A value that was pruned since is not found.
    """
    async with database.transaction(access) as connection:
        found = await connection.execute(
            f"""
            select {ROW} from memories
             where key = %(key)s and created <= coalesce(%(known)s, clock_timestamp()) and valid_from <= %(valid)s
               and (valid_to is null or valid_to > %(valid)s
                    or coalesce((select s.created from memories s
                                  where s.id = memories.superseded_by and s.created > memories.created),
                                known_to, valid_to) > coalesce(%(known)s, clock_timestamp()))
             order by valid_from desc, memories.created desc, memories.id desc limit 1
            """.encode(),
            {"key": key, "valid": valid, "known": known},
        )
        row = await found.fetchone()
    return None if row is None else from_row(row)
