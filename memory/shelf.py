"""What was pruned and can still be taken back: looked at and restored by people, held for the law, swept in the end."""

from dataclasses import dataclass
from datetime import datetime

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder
from memory.errors import Permanent
from memory.porting import put
from memory.remembered import Memory
from memory.scope import Access


@dataclass(frozen=True, slots=True)
class Shelved:
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


async def ls(database: Database, access: Access, *, limit: int = 100) -> list[Shelved]:
    """Return what was pruned from the access's scopes, newest first, with the tombstones."""
    async with database.transaction(access) as connection:
        found = await connection.execute(
            """
            select id::text, scope, content ->> 'body' as body, reason, policy, pruned_by, pruned, retained_until, hold
              from memory_archive order by memory_archive.pruned desc, memory_archive.id limit %s
            """,
            [limit],
        )
        return [Shelved(**row) for row in await found.fetchall()]


async def restore(database: Database, access: Access, id: str, *, embedder: Embedder = LEXICAL) -> Memory:
    """Put a row back into the access's write scope as it was, and record it.

    Raises Permanent: `not_found` if it is not there or its retention has ended, `conflict` if its subject has another
    value by now.
    """
    async with database.transaction(access) as connection:
        content = await _content(connection, access, id)
        memory = await put(connection, access, content, embedder=embedder)
        await connection.execute("select unshelve_memory(%s)", [id])
        return memory


async def hold(database: Database, access: Access, id: str, *, on: bool) -> None:
    """Keep an archived row beyond its retention, or let it go again; raises Permanent("not_found")."""
    row = await database.call(access, "hold_memory", id, on)
    if not row["hold_memory"]:
        raise _missing(id)


async def _content(connection: Connection, access: Access, id: str) -> dict[str, object]:
    found = await connection.execute(
        """
        select content, exists (select 1 from memories m where m.key = a.content ->> 'key' and m.scope = a.scope
                                   and m.superseded_by is null and a.content ->> 'superseded_by' is null) as taken
          from memory_archive a where a.id::text = %s and a.scope = %s and a.content is not null
        """,
        [id, str(access.writes)],
    )
    row = await found.fetchone()
    if row is None:
        raise _missing(id)
    if row["taken"]:
        raise Permanent("conflict", f"the subject of {id!r} has another value now; forget that one first")
    return row["content"]


def _missing(id: str) -> Permanent:
    return Permanent("not_found", f"nothing that was pruned here can be restored as {id!r}; its retention may be over")
