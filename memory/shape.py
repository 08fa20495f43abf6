"""Whether a database has the shape that this release needs; readiness and doctor ask, as the app's role."""

from memory.database import Connection
from memory.migrate import MIGRATIONS


async def missing(connection: Connection) -> list[str]:
    """Return the migrations of this release that the database lacks, in order."""
    cursor = await connection.execute("select to_regclass('public.schema_migrations') is not null as there")
    row = await cursor.fetchone() or {}
    applied: set[str] = set()
    if row["there"]:
        cursor = await connection.execute("select name from schema_migrations")
        applied = {found["name"] for found in await cursor.fetchall()}
    shipped = sorted(path.stem for path in MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [name for name in shipped if name not in applied]
