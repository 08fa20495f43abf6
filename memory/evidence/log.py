"""Log of a tenant, from which no chain vanishes unseen; extended by housekeeping, and before evidence is shown.

Each extension appends a leaf for every chain that grew and a head over all leaves. Its signature comes in the same
transaction, so that no crash leaves a head that should have one without it.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory.errors import Permanent
from memory.evidence.signing_key import SigningKey
from memory.evidence.trees import Frontier
from memory.governance.policy_version import installation
from memory.postgres.database import Connection, Database
from memory.scope import Access

MOST_CHAINS, MOST_ENTRIES = 500, 20_000
"""What one transaction takes in, so that it is a matter of milliseconds."""
_ROUNDS = 20
_BEFORE = "select text, signature, text::jsonb ->> 'key' as key from log_heads where number = %s"
_HEADS = "select number, text, signature from log_heads where number > %s order by number"
_STANDING = """
select h.size, h.text::jsonb ->> 'key' as key,
       (select count(*) from log_heads u where u.signature is null) as unsigned_heads
  from log_heads h order by h.number desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Head:
    """One head: its number from 1, its text, and the signature of that text if a key was set."""

    number: int
    text: str
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class LogStanding:
    """How far a tenant's log has got."""

    size: int
    key: str
    """Id of the key that signed the last head; empty if none did."""
    unsigned_heads: int


async def extend(
    database: Database,
    tenant: str,
    key: SigningKey | None,
    *,
    most_chains: int = MOST_CHAINS,
    most_entries: int = MOST_ENTRIES,
) -> int:
    """Take in what is new in a tenant's chains; returns the number of heads made, 0 if nothing was new.

    Each of a few rounds is a transaction of its own, which takes in so many chains and entries at most; another process
    that is at it is waited for. Raises Permanent("journal_broken") rather than sign a log that was written anew.
    """
    count = 0
    for _ in range(_ROUNDS):
        is_new, has_more = await _extend_once(database, tenant, key, [most_chains, most_entries])
        count += is_new
        if not has_more:
            break
    return count


async def _extend_once(
    database: Database, tenant: str, key: SigningKey | None, bounds: Sequence[int]
) -> tuple[bool, bool]:
    """Run one round; returns whether there is a new head, and whether there may be more news."""
    async with database.transaction(installation(tenant)) as connection:
        values = [key.public if key else None, *bounds]
        row = await _row(connection, "select * from extend_log(%s, %s, %s)", values)
        tree = None if key is None or row["number"] is None else await _sign(connection, tenant, key, row)
    if key is not None and tree is not None:
        key.memory.keep(tenant, tree)
    return row["number"] is not None, bool(row["more"])


async def _sign(connection: Connection, tenant: str, key: SigningKey, row: Mapping[str, Any]) -> Frontier:
    """Sign a head of this transaction if it goes on from what the key signed before; returns its tree."""
    text = str(row["text"])
    tree = await key.memory.grow(connection, tenant, json.loads(text))
    cursor = await connection.execute(_BEFORE, [row["number"] - 1])
    before = await cursor.fetchone()
    if before and before["key"] == key.id and not key.has_signed(before["text"], bytes(before["signature"] or b"")):
        problem = f"head {row['number'] - 1} of tenant {tenant!r} names our key, which did not sign it"
        raise Permanent("journal_broken", problem)
    signature = await _row(connection, "select sign_head(%s, %s) as ok", [row["number"], key.sign(text)])
    assert signature["ok"], "a head that this transaction made takes its signature"
    return tree


async def tenants_with_news(database: Database) -> list[str]:
    """Return the tenants whose log has something to take in."""
    async with database.worker() as connection:
        cursor = await connection.execute("select tenant from tenants_with_news()")
        return [row["tenant"] for row in await cursor.fetchall()]


async def note_missed_news(database: Database) -> int:
    """Note chains that grew without news, as while a release is installed; returns how many."""
    async with database.worker() as connection:
        return int((await _row(connection, "select note_missed_news() as n", []))["n"])


async def heads(connection: Connection, after: int = 0) -> AsyncIterator[Head]:
    """Yield the heads after a number, in order, within the caller's transaction."""
    async with connection.cursor(name="log_heads") as cursor:
        await cursor.execute(_HEADS, [after])
        async for row in cursor:
            yield Head(row["number"], row["text"], row["signature"] and bytes(row["signature"]))


async def standing(database: Database, access: Access) -> LogStanding | None:
    """Return how far the log has got, or None before its first head."""
    rows = await database.rows(access, _STANDING)
    return LogStanding(**rows[0]) if rows else None


async def _row(connection: Connection, query: str, values: Sequence[object]) -> dict[str, Any]:
    row = await (await connection.execute(query.encode(), values)).fetchone()
    assert row is not None, "the function has one row"
    return row
