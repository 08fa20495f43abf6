"""Where the demo business keeps its data, and what really happened to it, counted past every API.

The service loads and opens it; demo and tests call `expected` and `observed` as the world's own database role.
"""

import re
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from app.world.generator import Situation, Story, tell
from app.world.scenery import TABLES, TICKETS, VOLUMES

Connection = AsyncConnection[DictRow]

RETRY_JOB = "retry-2026-11-20"
_SCHEMA = Path(__file__).with_name("schema.sql")
_TABLES = {
    "billing": ("operations", "requests", "customers", "invoices", "charges", "refunds", "jobs", "labels"),
    "tickets": ("tickets", "comments", "notifications"),
    "cloud": ("volumes", "tables"),
}


def name(instance: str) -> str:
    """Return the instance's name if it may stand in SQL; raises ValueError otherwise."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,20}", instance):
        raise ValueError(f"{instance!r} is no instance name; use lower-case letters, digits and _")
    return instance


async def connect(url: str) -> Connection:
    """Open a connection as the world's role."""
    return await Connection.connect(url, autocommit=True, row_factory=dict_row)


async def load(url: str, instance: str, seed: int, customers: int, situation: Situation = "double_charge") -> None:
    """Create the instance's tables if needed and replace their contents with the story of a seed."""
    i, story = name(instance), tell(seed, customers, situation)
    async with await connect(url) as connection, connection.transaction():
        await connection.execute(_SCHEMA.read_text(encoding="utf-8").replace("{i}", i).encode())
        tables = [f"{i}_{service}.{table}" for service, names in _TABLES.items() for table in names]
        await connection.execute(f"truncate {', '.join(tables)} restart identity".encode())
        await _copy(connection, i, story)
        running = "running" if situation == "double_charge" else "finished"
        await _many(connection, f"insert into {i}_billing.jobs values (%s, %s, %s)", [
            (RETRY_JOB, "retry failed invoice charges", running), ("invoices-2026-11-20", "invoice run", "finished"),
        ])  # fmt: skip
        await _many(connection, f"insert into {i}_tickets.tickets (id, kind, subject, body, customer) "
                    "values (%s, 'customer', %s, %s, %s)", TICKETS)  # fmt: skip
        await _many(connection, f"insert into {i}_cloud.volumes values (%s, %s, %s, %s, %s, %s)", VOLUMES)
        await _many(connection, f"insert into {i}_cloud.tables values (%s, %s, %s, %s, %s)", TABLES)
    async with await connect(url) as connection:
        await connection.execute(f"analyze {i}_billing.charges, {i}_billing.refunds".encode())


async def expected(url: str, instance: str) -> dict[str, int]:
    """Return what a right repair would come to, from the labels."""
    i = name(instance)
    row = await _row(url, f"""
        select count(*) filter (where label = 'clean_duplicate') as refunds,
               0::bigint as duplicate_effects,
               count(*) filter (where label = 'disputed') as escalated,
               count(*) filter (where label = 'closed') as manual,
               0::bigint as lookalikes_touched,
               count(*) filter (where label = 'lookalike') as lookalikes,
               coalesce(sum(c.amount) filter (where label = 'clean_duplicate'), 0)::bigint as amount
          from {i}_billing.labels l join {i}_billing.charges c on c.id = l.charge""")  # fmt: skip
    return dict(row)


async def observed(url: str, instance: str) -> dict[str, int]:
    """Return what has been done to the business, whoever says what about it."""
    i = name(instance)
    row = await _row(url, f"""
        with done as (select r.charge, count(*) as times, sum(r.amount) as amount,
                             count(*) filter (where not r.by_support) as ours
                        from {i}_billing.refunds r group by r.charge)
        select (select count(*) from {i}_billing.refunds where not by_support) as refunds,
               (select coalesce(sum(times - 1), 0)::bigint from done where times > 1) as duplicate_effects,
               (select count(distinct ref) from {i}_tickets.tickets where kind = 'escalation') as escalated,
               (select count(distinct ref) from {i}_tickets.tickets where kind = 'manual') as manual,
               (select count(*) from done join {i}_billing.labels l using (charge)
                 where l.label = 'lookalike' and ours > 0) as lookalikes_touched,
               (select count(*) from {i}_billing.labels where label = 'lookalike') as lookalikes,
               (select coalesce(sum(amount), 0)::bigint from {i}_billing.refunds where not by_support) as amount,
               (select count(*) from done join {i}_billing.labels l using (charge)
                 where l.label <> 'clean_duplicate' and ours > 0) as harm,
               (select count(*) from {i}_billing.charges) as charges,
               (select count(*) - count(distinct invoice) from {i}_billing.charges) as double_charges,
               (select count(*) from {i}_tickets.notifications) as notifications""")  # fmt: skip
    return dict(row)


async def _copy(connection: Connection, i: str, story: Story) -> None:
    columns = {
        "customers": ("id, name, email, account", story.customers),
        "invoices": ("id, customer, amount", story.invoices),
        "charges": ("id, customer, invoice, amount, at, disputed", story.charges),
        "refunds": ("charge, amount, key, by_support", story.refunds),
        "labels": ("charge, label", story.labels),
    }
    async with connection.cursor() as cursor:
        for table, (names, rows) in columns.items():
            async with cursor.copy(f"copy {i}_billing.{table} ({names}) from stdin".encode()) as copy:
                for row in rows:
                    await copy.write_row(row)


async def _many(connection: Connection, statement: str, rows: Any) -> None:  # rows of the scenery, by table
    async with connection.cursor() as cursor:
        await cursor.executemany(statement.encode(), rows)


async def _row(url: str, statement: str) -> DictRow:
    async with await connect(url) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchone() or {}
