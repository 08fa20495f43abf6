"""Governed rows, which people read in tables and the journal agrees with: adopted once, when a release brings stamps.

Every function that changes such a row puts it into the entry that says so (`rows.sql`), where its stamp is made.
"""

import psycopg

from memory.postgres.refusals import owner_unreachable


async def adopt(owner_url: str) -> int:
    """Stamp all rows that were written before there were stamps; returns of how many runs, later of none."""
    try:
        async with await psycopg.AsyncConnection.connect(owner_url, connect_timeout=10) as connection:
            cursor = await connection.execute("select adopt_rows()")
            return int((await cursor.fetchone() or (0,))[0])
    except psycopg.OperationalError as error:
        raise owner_unreachable(error) from error
