"""What a finished run went through, step by step: archived small, restorable for a while; no prompt ever holds it.

Housekeeping archives; people restore for a look or a replay. Later runs learn only the outcome, see `archive`.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from memory import packing
from memory.database import Database
from memory.errors import Permanent
from memory.scope import Access, Principal

KEEPER = "housekeeping"
AGE = timedelta(days=7)
"""How long a finished run stays as it is, for those who look into it or fork it."""
RETENTION = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Transcript:
    """An archived thread; `packed` is None once its retention has ended and only the tombstone is left."""

    thread: str
    size: int
    packed: int | None
    archived: datetime
    retained_until: datetime
    hold: bool


async def sweep(
    database: Database, *, age: timedelta = AGE, retention: timedelta = RETENTION, limit: int = 20
) -> list[str]:
    """Archive threads of any tenant whose runs ended that long ago, and end retentions; returns those archived."""
    async with database.system() as connection:
        found = await connection.execute("select * from due_transcripts(%s, %s)", [age, limit])
        due = await found.fetchall()
        await connection.execute("select sweep_transcripts(%s)", [limit])
    return [
        row["thread"]
        for row in due
        if await archive(database, Access(Principal(row["tenant"], KEEPER), ()), row["thread"], retention)
    ]


async def archive(database: Database, access: Access, thread: str, retention: timedelta = RETENTION) -> bool:
    """Move what a thread left behind into the archive; False if there is nothing or a run has not come to rest."""
    async with database.transaction(access) as connection:
        found = await connection.execute("select read_transcript(%s) as text", [thread])
        whole: str | None = (await found.fetchone() or {})["text"]
        if whole is None:
            return False
        text = whole.encode()
        packed = await asyncio.to_thread(packing.pack, text)
        digest = hashlib.sha256(text).hexdigest()
        done = await connection.execute(
            "select shelve_transcript(%s, %s, %s, %s) as done", [thread, packed, digest, retention]
        )
        return bool((await done.fetchone() or {})["done"])


async def restore(database: Database, access: Access, thread: str) -> None:
    """Put the rows of a thread back where they were; raises Permanent("not_found") after its retention."""
    async with database.transaction(access) as connection:
        found = await connection.execute("select content from transcripts where thread = %s", [thread])
        row = await found.fetchone()
        if row is None or row["content"] is None:
            raise _missing(thread)
        text = (await asyncio.to_thread(packing.unpack, row["content"])).decode()
        done = await connection.execute("select restore_transcript(%s, %s) as done", [thread, text])
        if not (await done.fetchone() or {})["done"]:
            raise _missing(thread)


async def hold(database: Database, access: Access, thread: str, *, on: bool) -> None:
    """Keep an archived thread beyond its retention, or let it go again; raises Permanent("not_found")."""
    row = await database.call(access, "hold_transcript", thread, on)
    if not row["hold_transcript"]:
        raise _missing(thread)


async def ls(database: Database, access: Access, *, limit: int = 100) -> list[Transcript]:
    """Return archived threads, newest first, with the tombstones."""
    async with database.transaction(access) as connection:
        found = await connection.execute(
            """
            select thread, size, length(content) as packed, archived, retained_until, hold
              from transcripts order by archived desc, thread limit %s
            """,
            [limit],
        )
        return [Transcript(**row) for row in await found.fetchall()]


def _missing(thread: str) -> Permanent:
    return Permanent("not_found", f"no transcript of {thread!r} is archived; its retention may be over")
