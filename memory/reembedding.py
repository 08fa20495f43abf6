"""How an installation changes to another embedder, while searches go on; the worker calls it in the background.

What has not been reached yet is found by its words; vectors of two embedders are never compared. Every bite commits on
its own, so that a killed worker leaves the rest to the next, and only one worker of all does this at a time.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from memory.database import Database
from memory.embedding import Embedder, literal
from memory.scope import Access, Principal, Scope

BITE = 100
KEEPER = "embedding"
_LOCK = 7700
_SCOPES = 10


@dataclass(frozen=True, slots=True)
class Waiting:
    """What still has the vectors of another embedder."""

    memories: int


async def waiting(database: Database, embedder: str, *, tenant: str | None = None) -> Waiting:
    """Count what waits for vectors of the embedder with this id, in one tenant or in all."""
    async with database.system() as connection:
        found = await connection.execute("select * from count_foreign(%s, %s)", [embedder, tenant])
        return Waiting(**(await found.fetchone() or {}))


async def advance(database: Database, embedder: Embedder, *, limit: int = BITE) -> int:
    """Give at least one and about `limit` memories of any tenants the vectors of `embedder`; returns how many.

    Returns 0 if none waits, or if another worker is at it. Raises Temporary("unavailable") if the embedder is away.
    """
    async with _alone(database) as alone:
        return await _memories(database, embedder, limit) if alone else 0


async def reembed(database: Database, access: Access, embedder: Embedder, *, limit: int = BITE) -> int:
    """Give up to `limit` memories of the write scope the vectors of `embedder`; returns how many there were.

    Repeat until it returns 0. A memory that changes hands meanwhile is left to the next call.
    """
    about = {"scope": str(access.writes), "embedder": embedder.id, "limit": limit}
    async with database.transaction(access) as connection:
        found = await connection.execute(
            """
            select id, embedder, concat(speaker || ': ', body) as text from memories
             where scope = %(scope)s and embedder <> %(embedder)s order by created, id limit %(limit)s
            """,
            about,
        )
        rows = await found.fetchall()
    vectors = await embedder.embed([row["text"] for row in rows])
    async with database.transaction(access) as connection:
        await connection.cursor().executemany(
            "update memories set embedder = %s, embedding = %s::vector where id = %s and embedder = %s",
            [
                (embedder.id, literal(vector), row["id"], row["embedder"])
                for row, vector in zip(rows, vectors, strict=True)
            ],
        )
    return len(rows)


async def _memories(database: Database, embedder: Embedder, limit: int) -> int:
    async with database.system() as connection:
        found = await connection.execute("select * from foreign_scopes(%s, %s)", [embedder.id, _SCOPES])
        scopes = await found.fetchall()
    done = 0
    for row in scopes:
        scope = Scope.parse(row["scope"])
        access = Access(Principal(row["tenant"], KEEPER), (scope,), scope)
        done += await reembed(database, access, embedder, limit=limit - done)
        if done >= limit:
            break
    return done


@asynccontextmanager
async def _alone(database: Database) -> AsyncGenerator[bool]:
    """Hold the lock of this work, unless another worker has it; the server lets go of a dead worker's."""
    async with database.system() as connection, connection.transaction():
        found = await connection.execute("select pg_try_advisory_xact_lock(%s) as alone", [_LOCK])
        yield bool((await found.fetchone() or {})["alone"])
