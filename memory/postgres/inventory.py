"""What a database holds, counted from outside; the demo wants an empty one and proves what it left behind."""

import psycopg
from psycopg.rows import dict_row

from memory.errors import Temporary
from memory.postgres import locks
from memory.postgres.database import Connection
from memory.postgres.refusals import one_line

_TABLES = """
  select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
   where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
     and not exists (select 1 from pg_depend d where d.objid = c.oid and d.deptype = 'e') order by 1"""
_CHECKPOINTS = """
  select coalesce((select sum(pg_column_size(c.*)) from checkpoints c where c.thread_id = %(thread)s), 0)
       + coalesce((select sum(pg_column_size(b.*)) from checkpoint_blobs b where thread_id = %(thread)s), 0)
       + coalesce((select sum(pg_column_size(w.*)) from checkpoint_writes w where thread_id = %(thread)s), 0)
       as bytes"""
_MATCHES = """
  select coalesce(max(regexp_count(value, %(pattern)s)), 0) as most from (
    select checkpoint::text || metadata::text as value from checkpoints where thread_id = %(thread)s
    union all select encode(blob, 'escape') from checkpoint_blobs where thread_id = %(thread)s
    union all select encode(blob, 'escape') from checkpoint_writes where thread_id = %(thread)s) v"""
_WORKERS = """
  select count(*) as workers from pg_locks
   where locktype = 'advisory' and classid = %(lock)s and objsubid = 2 and granted
     and database = (select oid from pg_database where datname = current_database())"""


async def tables(url: str) -> list[str]:
    """Return the names of all tables that no extension brought."""
    async with await _connect(url) as connection:
        cursor = await connection.execute(_TABLES.encode())
        return [row["name"] for row in await cursor.fetchall()]


async def workers(url: str) -> int:
    """Return how many workers are alive, by the locks that they hold."""
    return await _number(url, _WORKERS, "workers", lock=locks.WORKER)


async def checkpoint_bytes(url: str, tenant: str, thread: str) -> int:
    """Return what the checkpoints of a thread take in all three tables, as stored."""
    return await _number(url, _CHECKPOINTS, "bytes", tenant=tenant, thread=thread)


async def most_matches(url: str, tenant: str, thread: str, pattern: str) -> int:
    """Return how often a regular expression matches in the one checkpoint value where it matches most."""
    return await _number(url, _MATCHES, "most", tenant=tenant, thread=thread, pattern=pattern)


async def _number(url: str, statement: str, name: str, tenant: str = "", **values: object) -> int:
    async with await _connect(url) as connection, connection.transaction():
        await connection.execute("select enter(%s, 'inventory', '{}', '{}')", [tenant])
        cursor = await connection.execute(statement.encode(), values)
        row = await cursor.fetchone() or {}
        return int(row[name])


async def _connect(url: str) -> Connection:
    try:
        return await Connection.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Temporary("unavailable", f"cannot reach the database: {one_line(error)}; check its URL") from error
