"""Entries of a tenant's runs in the order in which its log took them in; read by the feed of a tenant.

Transactions commit in any order, and the log gives what it takes in a place that never changes: so whoever has read up
to a place has missed nothing before it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from memory.errors import Permanent
from memory.governance.journal import JournalEntry
from memory.postgres.database import Database
from memory.scope import Access

_POSITION = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?")
_SIZE = "select size from log_heads order by number desc limit 1"
# Entries of a chain that is no run's are nobody's to follow; a leaf of them has a row without an entry.
_PAGE = """
select l.position, l.seq as last, e.*
  from (select position, run, seq from log_leaves where position >= %s order by position limit %s) l
  left join lateral (
    select j.run, j.seq, j.prev, j.hash, j.body, j.words, j.salt
      from journal j join runs r on r.id = j.run and r.kind = 'run'
     where j.run = l.run and j.seq <= l.seq and (l.position > %s or j.seq > %s)
       and j.seq > coalesce(
         (select p.seq from log_leaves p where p.run = l.run and p.seq < l.seq order by p.seq desc limit 1), 0)
     order by j.seq limit %s) e on true
 order by l.position, e.seq limit %s
"""


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has read: so many leaves whole, and of the next one the entries up to a number."""

    leaves: int
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.leaves}.{self.seq}" if self.seq else str(self.leaves)

    @classmethod
    def of(cls, text: str) -> Self:
        """Return a place by its text; raises Permanent("bad_request") for what is none."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise Permanent("bad_request", f"{text!r} is no id of an event of this stream; leave it out or send 0")
        return cls(int(match[1]), int(match[2] or 0))


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry, and the place up to which somebody has read who has read it; None for what others may not follow."""

    position: Position
    entry: JournalEntry | None


async def read(database: Database, access: Access, after: Position, limit: int) -> list[LogEntry]:
    """Return what comes after a place, at most so much; nothing only if there is nothing more."""
    values = (after.leaves, limit, after.leaves, after.seq, limit, limit)
    return [_log_entry(row) for row in await database.rows(access, _PAGE, *values)]


async def end(database: Database, access: Access) -> Position:
    """Return the place of somebody who has read everything."""
    rows = await database.rows(access, _SIZE)
    return Position(int(rows[0]["size"])) if rows else Position(0)


def _log_entry(row: Mapping[str, Any]) -> LogEntry:
    if row["run"] is None:
        return LogEntry(Position(row["position"] + 1), None)
    prev, hash = bytes(row["prev"]), bytes(row["hash"])
    entry = JournalEntry(row["run"], row["seq"], prev, hash, row["body"], row["words"], row["salt"])
    is_last = row["seq"] == row["last"]
    return LogEntry(Position(row["position"] + 1) if is_last else Position(row["position"], row["seq"]), entry)
