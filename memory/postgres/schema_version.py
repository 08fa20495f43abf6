"""Schema version of a database beside that of the release; asked by readiness, the doctor and the demo business."""

from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from memory.errors import Temporary
from memory.postgres.database import Connection
from memory.postgres.refusals import one_line
from memory.postgres.sql_files import SCHEMA, functions, migrations


async def missing(connection: Connection, folders: Iterable[Path], *, schema: Path = SCHEMA) -> list[str]:
    """Return the files of this release that the database never got as they are: numbered ones, then function files.

    One with the text of a later release has had ours before, so that our processes stay ready while it comes.
    """
    history = await _history(connection)
    files = [
        *((file.name, "") for file in migrations(schema)),
        *((file.name, file.hash) for file in functions(folders)),
    ]
    return [name for name, hash_ in files if (name, hash_) not in history]


async def _history(connection: Connection) -> set[tuple[str, str]]:
    cursor = await connection.execute("select to_regclass('public.schema_functions') is not null as present")
    row = await cursor.fetchone() or {}
    if not row["present"]:
        return set()
    cursor = await connection.execute(
        "select name, '' as hash from schema_migrations union all select name, hash from schema_functions"
    )
    return {(row["name"], row["hash"]) for row in await cursor.fetchall()}


async def holds(url: str, schema: str) -> bool:
    """Return whether a database has a schema; raises Temporary("unavailable") if nobody answers."""
    try:
        async with await Connection.connect(url, row_factory=dict_row, connect_timeout=10) as connection:
            cursor = await connection.execute("select to_regnamespace(%s) is not null as there", [schema])
            row = await cursor.fetchone() or {}
    except psycopg.OperationalError as error:
        message = f"cannot look for schema {schema!r}: {one_line(error)}; check the database"
        raise Temporary("unavailable", message) from error
    return bool(row["there"])


async def seconds_apart(connection: Connection, local_time: float) -> float:
    """Return by how many seconds the database's clock is ahead of `here`, a Unix time."""
    cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8 as there")
    row = await cursor.fetchone() or {}
    return row["there"] - local_time
