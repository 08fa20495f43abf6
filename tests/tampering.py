"""Edits of tables and chains by whoever owns them, with triggers and foreign keys off, as who hides them would do."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from tests.conftest import Connect

Rewrite = Callable[[dict[str, Any], dict[str, Any]], None]

VALUES: Mapping[str, str] = {
    "text": "'forged'",
    "integer": "7654321",
    "bigint": "7654321",
    "boolean": "false",
    "jsonb": """'{"forged": true}'""",
    "ARRAY": "array['forged']",
    "timestamp with time zone": "'2020-02-02 02:02:02+00'",
}
"""Another value of each type."""


async def forge(superuser: Connect, table: str, column: str, where: str, *, value: str = "") -> None:
    """Set a column to another value in all rows of a table that the condition names."""
    async with superuser() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        cursor = await connection.execute(
            "select data_type from information_schema.columns "
            "where table_schema = 'public' and table_name = %s and column_name = %s",
            [table, column],
        )
        kind = (await cursor.fetchone() or {})["data_type"]
        statement = f"update {table} set {column} = {value or VALUES[kind]} where {where}"
        assert (await connection.execute(statement.encode())).rowcount > 0


async def delete(superuser: Connect, table: str, where: str) -> None:
    """Delete rows that others refer to."""
    async with superuser() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        for trigger in ("journal_no_change",) if table == "journal" else ():
            await connection.execute(f"alter table journal disable trigger {trigger}".encode())
        assert (await connection.execute(f"delete from {table} where {where}".encode())).rowcount > 0
        if table == "journal":
            await connection.execute("alter table journal enable always trigger journal_no_change")


async def columns(superuser: Connect, table: str) -> set[str]:
    """Return the names of a table's columns."""
    async with superuser() as connection:
        cursor = await connection.execute(
            "select column_name as name from information_schema.columns "
            "where table_schema = 'public' and table_name = %s",
            [table],
        )
        return {row["name"] for row in await cursor.fetchall()}


async def rewrite(superuser: Connect, run: str, change: Rewrite, *, rehash: bool = True) -> None:
    """Let `change` edit facts and words of each entry of a run; with `rehash` the whole chain is made to hold again."""
    async with superuser() as connection, connection.transaction():
        await connection.execute("alter table journal disable trigger journal_no_change")
        rows = await (await connection.execute("select * from journal where run = %s order by seq", [run])).fetchall()
        head = hashlib.sha256(f"countersign journal {run}".encode()).digest()
        for row in rows:
            facts, words = json.loads(row["body"]), json.loads(row["words"] or "{}")
            change(facts, words)
            text = json.dumps(words) if words else None
            salt: UUID | None = row["salt"] if words else None
            if rehash:
                facts = {name: value for name, value in facts.items() if name != "sealed"}
                facts |= {"sealed": hashlib.sha256(salt.bytes + text.encode()).hexdigest()} if text and salt else {}
            is_same = (facts, words) == (json.loads(row["body"]), json.loads(row["words"] or "{}"))
            body = row["body"] if is_same else json.dumps(facts)
            hash = _hash(head, run, row["seq"], body) if rehash else row["hash"]
            values = [body, row["words"] if is_same else text, salt, head if rehash else row["prev"], hash]
            head = hash
            await connection.execute(
                "update journal set body = %s, words = %s, salt = %s, prev = %s, hash = %s where run = %s and seq = %s",
                [*values, run, row["seq"]],
            )
        if rehash:
            await connection.execute("update runs set head = %s where id = %s", [head, run])
        await connection.execute("alter table journal enable always trigger journal_no_change")


def _hash(prev: bytes, run: str, seq: int, body: str) -> bytes:
    return hashlib.sha256(prev + run.encode() + seq.to_bytes(4, "big") + body.encode()).digest()
