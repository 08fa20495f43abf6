"""Tables of the demo business: loading a story, and counts of what really happened, past every API.

The service loads them; demo and tests call `true_counts` and `actual_counts` as the world's own database role.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from app.world.billing_sql import RETRIES
from app.world.generator import Row, Situation, tell
from app.world.scenery import TABLES, TICKETS, VOLUMES

WorldConnection = AsyncConnection[DictRow]

RETRY_JOB = "retry-2026-11-20"
INVOICE_JOB = "invoices-2026-11-20"
_SCHEMA = Path(__file__).with_name("schema.sql")
_TABLES = {
    "billing": ("operations", "requests", "customers", "invoices", "charges", "refunds", "jobs", "labels", "retries"),
    "tickets": ("tickets", "comments", "notifications"),
    "cloud": ("volumes", "tables"),
}
_TRUE_COUNTS = """
  select count(*) filter (where label = 'clean_duplicate') as refunds,
         0::bigint as duplicate_effects,
         count(*) filter (where label = 'disputed') as escalated,
         count(*) filter (where label = 'closed') as manual,
         0::bigint as lookalikes_touched,
         0::bigint as harm,
         count(*) filter (where label = 'lookalike') as lookalikes,
         coalesce(sum(c.amount) filter (where label = 'clean_duplicate'), 0)::bigint as amount
    from {i}_billing.labels l join {i}_billing.charges c on c.id = l.charge"""
_ACTUAL_COUNTS = """
  with done as (
    select r.charge, l.label, count(*) as times, count(*) filter (where not r.by_support) as ours
      from {i}_billing.refunds r join {i}_billing.labels l on l.charge = r.charge group by r.charge, l.label)
  select (select count(*) from {i}_billing.refunds where not by_support) as refunds,
         (select coalesce(sum(times - 1), 0)::bigint from done) as duplicate_effects,
         (select count(distinct ref) from {i}_tickets.tickets where kind = 'escalation') as escalated,
         (select count(distinct ref) from {i}_tickets.tickets where kind = 'manual') as manual,
         (select count(*) from done where label = 'lookalike' and ours > 0) as lookalikes_touched,
         (select count(*) from done where label <> 'clean_duplicate' and ours > 0) as harm,
         (select count(*) from {i}_billing.labels where label = 'lookalike') as lookalikes,
         (select coalesce(sum(amount), 0)::bigint from {i}_billing.refunds where not by_support) as amount,
         (select count(*) from {i}_billing.charges) as charges,
         (select count(*) - count(distinct invoice) from {i}_billing.charges) as double_charges,
         (select count(*) from {i}_tickets.notifications) as notifications,
         (select count(*) from {i}_tickets.comments) as comments,
         (select count(*) from {i}_cloud.volumes where extended > 0) as extended,
         (select count(*) from {i}_cloud.tables where dropped) as dropped"""


def name(instance: str) -> str:
    """Return the instance's name if it may stand in SQL; raises ValueError otherwise."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,20}", instance):
        raise ValueError(f"{instance!r} is no instance name; use lower-case letters, digits and _")
    return instance


async def connect(url: str) -> WorldConnection:
    """Open a connection as the world's role."""
    return await WorldConnection.connect(url, autocommit=True, row_factory=dict_row)


async def load(url: str, instance: str, seed: int, customers: int, situation: Situation = "double_charge") -> None:
    """Create the instance's tables if needed and replace their contents with the story of a seed."""
    i, story = name(instance), tell(seed, customers, situation)
    running = "running" if situation == "double_charge" else "finished"
    jobs = [
        (RETRY_JOB, "retry failed invoice charges", "charge_retry", running),
        (INVOICE_JOB, "invoice run", "invoice_run", "finished"),
    ]
    async with await connect(url) as connection:
        async with connection.transaction():
            await _prepare(connection, i)
            tables = [f"{i}_{service}.{table}" for service, names in _TABLES.items() for table in names]
            await connection.execute(f"truncate {', '.join(tables)} restart identity".encode())
            for table, columns, rows in (
                ("billing.customers", "id, name, email, account", story.customers),
                ("billing.invoices", "id, customer, amount", story.invoices),
                ("billing.charges", "id, customer, invoice, amount, at, disputed", story.charges),
                ("billing.refunds", "charge, amount, key, by_support", story.refunds),
                ("billing.labels", "charge, label", story.labels),
                ("billing.jobs", "id, name, kind, status", jobs),
                ("tickets.tickets", "id, kind, subject, body, customer", TICKETS),
                ("cloud.volumes", "id, service, environment, size_gb, used_gb, price_cents_per_gb", VOLUMES),
                ("cloud.tables", "name, volume, environment, rows, size_gb", TABLES),
            ):
                await _copy(connection, f"{i}_{table} ({columns})", rows)
            await connection.execute(RETRIES.replace("{i}", i).encode())
        # The planner must know the sizes before the first question, not after the next autovacuum.
        await connection.execute(f"analyze {', '.join(tables)}".encode())


async def prepare(url: str, instance: str) -> None:
    """Bring the tables of an instance that holds a story to the present shape."""
    async with await connect(url) as connection, connection.transaction():
        await _prepare(connection, name(instance))


async def true_counts(url: str, instance: str) -> dict[str, int]:
    """Return the counts of a right repair, from the labels."""
    return await _counts(url, instance, _TRUE_COUNTS)


async def actual_counts(url: str, instance: str) -> dict[str, int]:
    """Return the counts of what was done to the business, from its tables alone."""
    return await _counts(url, instance, _ACTUAL_COUNTS)


async def _prepare(connection: WorldConnection, i: str) -> None:
    await connection.execute(_SCHEMA.read_text(encoding="utf-8").replace("{i}", i).encode())


async def _copy(connection: WorldConnection, table: str, rows: Iterable[Sequence[object] | Row]) -> None:
    async with connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin".encode()) as copy:
        for row in rows:
            await copy.write_row(row)


async def _counts(url: str, instance: str, statement: str) -> dict[str, int]:
    async with await connect(url) as connection:
        cursor = await connection.execute(statement.replace("{i}", name(instance)).encode())
        return await cursor.fetchone() or {}
