"""Archive of pruned memories: listed and restored by their owner, held by administrators; called by the API."""

from dataclasses import dataclass, replace
from datetime import datetime

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres import locks
from memory.postgres.database import Database
from memory.scope import Access
from memory.store.models import Memory
from memory.store.transfer import put

# The lock of pruning and forgetting, which move and delete the same row.
_CONTENT = """
select a.hold, n.id is not null as superseded,
       a.content || case
         when n.id is null then '{"superseded_by": null, "covered_until": null, "valid_to": null, "known_to": null}'
         else jsonb_build_object(
           'superseded_by', n.id,
           'covered_until', case when n.waits then n.expires end,
           'known_to', case when not n.waits then coalesce(a.content ->> 'known_to', n.created::text) end,
           'valid_to', case when not n.waits then coalesce(a.content ->> 'valid_to', n.since::text) end) end as content
  from memory_archive a
  left join lateral (
    select m.id, m.expires, m.created, greatest(m.valid_from, (a.content ->> 'valid_from')::timestamptz) as since,
           m.expires < coalesce((a.content ->> 'expires')::timestamptz, 'infinity')
             and not exists (select 1 from memories o where o.scope = m.scope and o.key = m.key and o.id <> m.id
                                and o.covered_until is not null) as waits
      from memories m
     where m.scope = a.scope and m.key = a.content ->> 'key'
       and (m.superseded_by is null or m.covered_until <= clock_timestamp())
       and (m.expires is null or m.expires > clock_timestamp())
     order by m.created desc limit 1) n on true
 where a.id::text = %(id)s and a.scope = %(scope)s and a.content is not null
"""


@dataclass(frozen=True, slots=True)
class ArchivedMemory:
    """An archived row; `body` is None once its retention has ended and only the tombstone is left."""

    id: str
    scope: str
    body: str | None
    reason: str
    policy: str
    pruned_by: str
    pruned: datetime
    retained_until: datetime
    hold: bool


async def ls(
    database: Database, access: Access, *, limit: int = 100, after: tuple[datetime, str] | None = None
) -> list[ArchivedMemory]:
    """Return what was pruned from the access's scopes, newest first, with the tombstones.

    `after` is the time of pruning and the id of the last row of the page before.
    """
    at, last = after or (None, None)
    older = "and (pruned, id) < (%(at)s, %(last)s::uuid)" if after else ""
    page = "order by pruned desc, memory_archive.id desc limit %(limit)s"
    async with database.transaction(access) as connection:
        rows = await connection.execute(
            f"""
            select id::text, scope, content ->> 'body' as body, reason, policy, pruned_by, pruned, retained_until, hold
              from (select a.* from unnest(%(scopes)s::text[]) as given (scope) cross join lateral (
                select * from memory_archive where memory_archive.scope = given.scope {older} {page}) a) memory_archive
             {page}
            """.encode(),
            {"at": at, "last": last, "limit": limit, "scopes": sorted({*map(str, access.reads), str(access.writes)})},
        )
        return [ArchivedMemory(**row) for row in await rows.fetchall()]


async def restore(database: Database, access: Access, id: str, *, embedder: Embedder = LEXICAL) -> Memory:
    """Put a row back into the access's write scope, and journal it.

    If its subject has a current value, it comes back as a past one (`is_history`), which is current again when that
    value expires; otherwise it is current. Raises Permanent: `not_found` if it is not there or its retention has ended,
    `conflict` while it is under legal hold.
    """
    async with database.transaction(access) as connection:
        await locks.hold_scope(connection, access.writes)
        cursor = await connection.execute(_CONTENT, {"id": id, "scope": str(access.writes)})
        row = await cursor.fetchone()
        if row is None:
            raise _missing(id)
        if row["hold"]:
            raise Permanent("conflict", f"{id!r} is under legal hold; have an administrator lift that first")
        memory = await put(connection, access, row["content"], embedder=embedder)
        await connection.execute("select unshelve_memory(%s)", [id])
        return replace(memory, is_history=row["superseded"])


async def set_legal_hold(database: Database, access: Access, id: str, *, on: bool) -> None:
    """Put an archived row under legal hold, beyond its retention, or lift the hold; raises Permanent("not_found")."""
    row = await database.call(access, "hold_memory", id, on)
    if not row["hold_memory"]:
        raise _missing(id)


def _missing(id: str) -> Permanent:
    return Permanent("not_found", f"nothing that was pruned here can be restored as {id!r}; its retention may be over")


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """An archived memory of another person, without its text."""

    id: str
    scope: str
    reason: str
    pruned: datetime
    retained_until: datetime
    hold: bool


async def entries_of(database: Database, access: Access, person: str, *, limit: int = 100) -> list[ArchiveEntry]:
    """Return a person's archived memories, newest first; the database refuses all but administrators."""
    return [
        ArchiveEntry(**row) for row in await database.rows(access, "select * from archive_of(%s, %s)", person, limit)
    ]
