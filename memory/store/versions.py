"""Versions of a memory: its details, who told it again, past values of its subject, and its value at a moment.

Called by the API for people, never for a run's prompt. Expired memories are not shown here either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from memory.errors import Permanent
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.scope import Access, Scope, Trust
from memory.store.models import ROW, Memory, from_row

PINS = 200
"""Most memories of a scope that may be pinned at a time."""
_VERSION = f"""{ROW}, valid_from, valid_to, known_to, pinned, told,
  case when (covered_until <= clock_timestamp()) is not true then superseded_by::text end as superseded_by,
  case when covered_until > clock_timestamp() then covered_until end as covered_until"""
_PIN_CODES: tuple[Literal["done", "same", "full", "not_found"], ...] = ("done", "same", "full", "not_found")
_UNEXPIRED = "(expires is null or expires > clock_timestamp())"


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """A memory with both axes of time: when it was so, and when it was believed."""

    memory: Memory
    valid_from: datetime
    valid_to: datetime | None
    """End of the time in which it was so; None means still."""
    known_to: datetime | None
    """End of the time in which it was believed; None means still."""
    superseded_by: str | None
    covered_until: datetime | None
    """Expiry of the value that superseded it, after which this one is current again; None means never."""
    pinned: bool
    told: int
    """Number of times that it was told."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A later telling of a memory, by anybody."""

    trust: Trust
    principal: str
    run: str
    told: datetime


async def show(database: Database, access: Access, id: str) -> MemoryVersion:
    """Return one memory of the access's scopes, past values too; raises Permanent("not_found")."""
    rows = await database.rows(access, f"select {_VERSION} from memories where id::text = %s and {_UNEXPIRED}", id)
    if not rows:
        raise _missing(id)
    return _version(rows[0])


async def tellings(database: Database, access: Access, id: str, *, limit: int = 100) -> list[Telling]:
    """Return the later tellings of a memory, newest first."""
    rows = await database.rows(
        access,
        "select trust, provenance ->> 'principal' as principal, provenance ->> 'run' as run, told from memory_links "
        "where memory::text = %s order by memory_links.told desc, memory_links.id desc limit %s",
        id,
        limit,
    )
    return [Telling(**row) for row in rows]


async def versions(database: Database, access: Access, key: str, *, scope: Scope | None = None) -> list[MemoryVersion]:
    """Return the current and past values of a subject in the access's scopes, newest first, as far as they are kept."""
    rows = await database.rows(
        access,
        f"select {_VERSION} from memories where key = %s and (%s::text is null or scope = %s) and {_UNEXPIRED} "
        "order by memories.created desc, memories.id desc",
        key,
        scope and str(scope),
        scope and str(scope),
    )
    return [_version(row) for row in rows]


async def as_of(
    database: Database, access: Access, key: str, *, valid_at: datetime, known_at: datetime | None = None
) -> Memory | None:
    """Return the value that a subject had at `valid_at`, as it was believed at `known_at`; None means as believed now.

    A value that was pruned since is not found, nor is one that has expired or expires before `valid_at`.
    """
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            f"""
            select {ROW} from memories
             where key = %(key)s and created <= coalesce(%(known)s, clock_timestamp()) and valid_from <= %(valid)s
               and (expires is null or expires > greatest(clock_timestamp(), %(valid)s))
               and (valid_to is null or valid_to > %(valid)s
                    or coalesce((select s.created from memories s
                                  where s.id = memories.superseded_by and s.created > memories.created),
                                known_to, valid_to) > coalesce(%(known)s, clock_timestamp()))
             order by valid_from desc, memories.created desc, memories.id desc limit 1
            """.encode(),
            {"key": key, "valid": valid_at, "known": known_at},
        )
        row = await cursor.fetchone()
    return None if row is None else from_row(row)


async def pin(database: Database, access: Access, id: str, *, on: bool, limit: int = PINS) -> None:
    """Pin or unpin a live memory of the write scope, so that pruning spares it, and journal that.

    Raises Permanent: `not_found`, or `conflict` if `limit` others are pinned.
    """
    row = await database.call(access, "pin_memory", id, on, limit)
    code = member(_PIN_CODES, row["code"], "pin_memory")
    if code == "not_found":
        raise _missing(id)
    if code == "full":
        raise Permanent("conflict", f"{limit} memories are pinned here; unpin one of them before {id!r}")


def _version(row: Mapping[str, Any]) -> MemoryVersion:
    names = ("valid_from", "valid_to", "known_to", "superseded_by", "covered_until", "pinned", "told")
    return MemoryVersion(from_row(row), **{name: row[name] for name in names})


def _missing(id: str) -> Permanent:
    return Permanent("not_found", f"you have no memory {id!r}; `countersign memory ls` lists yours")
