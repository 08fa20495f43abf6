"""Tampering with tables as whoever owns them, with triggers off; used by tests of the log and of receipts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.conftest import Connect, Connection

_TRIGGERS = "select tgname, tgenabled from pg_trigger where tgrelid = %s::regclass and not tgisinternal"


@asynccontextmanager
async def untriggered(superuser: Connect, table: str) -> AsyncGenerator[Connection]:
    """Lend a connection that neither triggers of the table nor foreign keys stop; all comes back with its commit."""
    async with superuser() as connection, connection.transaction():
        triggers = await (await connection.execute(_TRIGGERS, [table])).fetchall()
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(f"alter table {table} disable trigger user".encode())
        yield connection
        for trigger in triggers:
            when = "always" if trigger["tgenabled"] in ("A", b"A") else ""
            await connection.execute(f"alter table {table} enable {when} trigger {trigger['tgname']}".encode())
