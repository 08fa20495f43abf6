"""Scrubbing after a person was forgotten: rewrites table files and lets go of old log, as far as a role may.

Deleted rows stay readable in files until their pages are used again, and in the write-ahead log until its files are.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import AsyncConnection, sql

from memory.postgres import limits
from memory.postgres.refusals import one_line, owner_unreachable

_MOST_SEGMENTS = 200
_OWN_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm') and c.relowner = current_user::regrole order by 1, 2
"""
_SEGMENTS_AHEAD = """
select count(*) from pg_ls_waldir() where name > pg_walfile_name(pg_current_wal_lsn()) and name ~ '^[0-9A-F]{24}$'
"""
_KEEPERS = "select count(*) from pg_replication_slots"
Session = AsyncConnection[tuple[object, ...]]


@dataclass(slots=True)
class ScrubReport:
    """What was rewritten, and what could not be."""

    tables: int = 0
    failures: list[str] = field(default_factory=list[str])
    """Tables that stay as they are, and why."""
    log: str = ""
    """Why the log was not let go of; empty if it was."""


async def scrub(owner_url: str, superuser_url: str | None) -> ScrubReport:
    """Rewrite every table of the owner's, and with a superuser's address the catalogues too; then the log."""
    report = ScrubReport()
    async with _session(superuser_url or owner_url) as connection:
        if superuser_url:
            await _rewrite(connection, sql.SQL("vacuum (full, analyze)"), "the database", report)
        else:
            for schema, name in await (await connection.execute(_OWN_TABLES)).fetchall():
                table = sql.Identifier(str(schema), str(name))
                statement = sql.SQL("vacuum (full, analyze) {}").format(table)
                await _rewrite(connection, statement, f"{schema}.{name}", report)
        report.log = await _renew_log(connection, is_superuser=superuser_url is not None)
    return report


async def _rewrite(connection: Session, statement: sql.SQL | sql.Composed, name: str, report: ScrubReport) -> None:
    try:
        await connection.execute(statement)
        report.tables += 1
    except psycopg.errors.LockNotAvailable as error:
        report.failures.append(f"{name} ({one_line(error)})")


async def _renew_log(connection: Session, *, is_superuser: bool) -> str:
    """Have the server write over, and then remove, what is before now; returns why it does not."""
    try:
        if not is_superuser:
            await connection.execute("select pg_switch_wal()")
            await connection.execute("checkpoint")
            return "files that the server keeps for later use are not written over: that takes a superuser"
        async with _without_reuse(connection):
            await _pass_segments(connection)
            await connection.execute("checkpoint")
    except psycopg.errors.InsufficientPrivilege as error:
        return f"this role may not ({one_line(error)})"
    (slots,) = await (await connection.execute(_KEEPERS)).fetchone() or (0,)
    return f"{slots} replication slot(s) keep it" if slots else ""


@asynccontextmanager
async def _without_reuse(connection: Session) -> AsyncGenerator[None]:
    """Have files of the log removed instead of kept for later use, with all that they hold."""
    await connection.execute("alter system set wal_recycle = off")
    await connection.execute("select pg_reload_conf()")
    try:
        yield
    finally:
        await connection.execute("alter system reset wal_recycle")
        await connection.execute("select pg_reload_conf()")


async def _pass_segments(connection: Session) -> None:
    """Go through every file that is kept for later use: what is left of a file is zeroed when the next one begins."""
    (ahead,) = await (await connection.execute(_SEGMENTS_AHEAD)).fetchone() or (0,)
    for _ in range(min(int(str(ahead)) + 1, _MOST_SEGMENTS)):
        await connection.execute("select pg_logical_emit_message(false, 'scrub', '')")
        await connection.execute("select pg_switch_wal()")


@asynccontextmanager
async def _session(url: str) -> AsyncGenerator[Session]:
    try:
        connection = await AsyncConnection.connect(
            url, autocommit=True, connect_timeout=10, options=f"-c lock_timeout={limits.LOCK_SECONDS}s"
        )
    except psycopg.OperationalError as error:
        raise owner_unreachable(error) from error
    async with connection:
        yield connection
