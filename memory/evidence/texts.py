"""Texts by hash: the policies and descriptions of tools that entries of the journal name.

Kept by the wiring before a process judges anything, read by whoever asks what was in force.
"""

from typing import Literal

from memory.postgres.database import Database
from memory.scope import Access

TextKind = Literal["policy", "cards"]
"""`policy`: the files of a set of policies; `cards`: what they could know of the tools."""


async def keep(database: Database, access: Access, kind: TextKind, text: str) -> str:
    """Keep a text for good, once; returns its hash, by which entries name it."""
    row = await database.call(access, "keep_text", kind, text)
    return str(row["hash"])


async def read(database: Database, access: Access, kind: TextKind, hash: str) -> str | None:
    """Return the text of a hash; None if it was never kept, as before an upgrade."""
    rows = await database.rows(access, "select text from texts where kind = %s and hash = %s", kind, hash)
    return str(rows[0]["text"]) if rows else None
