"""Whether a database has the shape that this release needs; readiness, doctor and the demo business ask."""

import psycopg
from psycopg.rows import dict_row

from memory.errors import Temporary
from memory.postgres.database import Connection
from memory.postgres.migrate import MIGRATIONS


async def missing(connection: Connection) -> list[str]:
    """Return the migrations of this release that the database lacks, in order."""
    cursor = await connection.execute("select to_regclass('public.schema_migrations') is not null as there")
    row = await cursor.fetchone() or {}
    shipped = sorted(path.stem for path in MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    if not row["there"]:
        return shipped
    cursor = await connection.execute(
        "select s.name from unnest(%s::text[]) with ordinality s (name, ord) "
        "where not exists (select 1 from schema_migrations m where m.name = s.name) order by s.ord",
        [shipped],
    )
    return [found["name"] for found in await cursor.fetchall()]


async def holds(url: str, schema: str) -> bool:
    """Return whether a database has a schema; raises Temporary("unavailable") if nobody answers."""
    try:
        async with await Connection.connect(url, row_factory=dict_row, connect_timeout=10) as connection:
            cursor = await connection.execute("select to_regnamespace(%s) is not null as there", [schema])
            row = await cursor.fetchone() or {}
    except psycopg.OperationalError as error:
        raise Temporary("unavailable", f"cannot look for schema {schema!r}: {error}; check the database") from error
    return bool(row["there"])


async def seconds_apart(connection: Connection, here: float) -> float:
    """Return by how many seconds the database's clock is ahead of `here`, a Unix time."""
    cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8 as there")
    row = await cursor.fetchone() or {}
    return row["there"] - here
