"""Change of an installation to another embedder; called by the workers' housekeeping, its backlog read by `doctor`.

Texts without new vectors are still found by their words; vectors of two embedders are never compared. Every batch
commits on its own, so that a killed worker leaves the rest to the next, and only one worker at a time does this.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import parameters
from memory.errors import Permanent
from memory.knowledge.models import KnowledgeVersion, from_row, phrases
from memory.knowledge.search import INDEX_THRESHOLD, embed_phrases
from memory.postgres import limits, locks
from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope

_LOG = logging.getLogger(__name__)
BATCH_SIZE = 100
EMBEDDER = "embedding"
"""The principal under which this work enters each tenant."""
_SCOPES = 10
# A trigger writes the words when the mark changes; what somebody is at work on is left for the next time.
_POST = """
update memories set posted = 1 where id in (
  select id from memories where scope = %(scope)s and posted = 0 limit %(limit)s for no key update skip locked)
"""
_TEXTS = 10
"""About as many texts as an item of knowledge has."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts of texts that still have the vectors of another embedder."""

    memories: int
    knowledge: int
    """Current items; until none waits, knowledge is searched by words alone."""


async def backlog(database: Database, embedder: str) -> Backlog:
    """Count the texts of all tenants that wait for vectors of the embedder with this id."""
    async with database.worker() as connection:
        cursor = await connection.execute("select * from count_foreign(%s, null)", [embedder])
        return Backlog(**(await cursor.fetchone() or {}))


async def backlog_of(database: Database, access: Access, embedder: str) -> Backlog:
    """Count the texts of the access's tenant that wait for vectors of the embedder with this id."""
    return Backlog(**await database.call(access, "count_own_foreign", embedder))


async def advance(database: Database, embedder: Embedder, *, limit: int = BATCH_SIZE) -> int:
    """Give up to `limit` memories and a few items of knowledge, of any tenants, the vectors of `embedder`.

    Returns how many there were; 0 if none waits, or if another worker is at it. Also sees to the index of knowledge
    that has grown, and to words from before an upgrade. Raises Temporary("unavailable") if the embedder is away.
    """
    async with _lock(database) as is_alone:
        if not is_alone:
            return 0
        await index(database)
        # Words need no embedder: they come first, also while it is away.
        if words := await post_memories(database, limit):
            return words
        item_count = await _embed_items(database, embedder, max(limit // _TEXTS, 1))
        return item_count + await _embed_memories(database, embedder, limit)


async def embed_memories(database: Database, access: Access, embedder: Embedder, *, limit: int = BATCH_SIZE) -> int:
    """Give up to `limit` memories of the write scope the vectors of `embedder`; returns how many there were.

    Repeat until it returns 0. A memory that changes hands meanwhile is left to the next call.
    """
    values = {"scope": str(access.writes), "embedder": embedder.id, "limit": limit}
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            """
            select id, embedder, concat(speaker || ': ', body) as text from memories
             where scope = %(scope)s and embedder <> %(embedder)s order by created, id limit %(limit)s
            """,
            values,
        )
        rows = await cursor.fetchall()
    vectors = await embedder.embed([row["text"] for row in rows])
    async with database.transaction(access) as connection:
        await connection.cursor().executemany(
            "update memories set embedder = %s, embedding = %s::vector where id = %s and embedder = %s",
            [
                (embedder.id, vector, row["id"], row["embedder"])
                for row, vector in zip(rows, parameters(vectors), strict=True)
            ],
        )
    return len(rows)


async def embed_knowledge(database: Database, access: Access, embedder: Embedder, *, limit: int = BATCH_SIZE) -> int:
    """Give up to `limit` current items of the access's tenant vectors of `embedder`, beside those for words.

    Versions stay as they were published; vectors of other embedders go. Returns how many items there were.
    """
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            """
            select k.* from knowledge_vectors v join knowledge k on k.id = v.id and k.version = v.version
             where v.embedder = '' and not exists (
               select 1 from knowledge_vectors e where e.id = v.id and e.embedder = %s) order by v.id limit %s
            """,
            [embedder.id, limit],
        )
        items = [from_row(row) for row in await cursor.fetchall()]
    for item in items:
        vectors = await embed_phrases(_phrases(item), embedder)
        keep = [LEXICAL.id, embedder.id]
        about = {"id": item.id, "version": item.version, "keep": keep, "embedder": vectors.embedder}
        async with database.worker_transaction(access) as connection:
            values = [Jsonb(about), list(vectors.phrases), vectors.presence]
            await connection.execute("select embed_knowledge(%s, %s::vector[], %s::vector)", values)
    return len(items)


async def index(database: Database, *, least: int = INDEX_THRESHOLD) -> int:
    """Build the index of phrases that are `least` or more by now and have none; returns how many were built."""
    async with database.worker() as connection:
        cursor = await connection.execute("select index_phrases(%s) as made", [least])
        return int((await cursor.fetchone() or {})["made"])


async def _embed_items(database: Database, embedder: Embedder, limit: int) -> int:
    async with database.worker() as connection:
        cursor = await connection.execute("select * from lagging_knowledge(%s, %s)", [embedder.id, _SCOPES])
        tenants = [str(row["tenant"]) for row in await cursor.fetchall()]
    count = 0
    for tenant in tenants:
        access = Access(Principal(tenant, EMBEDDER), ())
        count += await _isolate(tenant, embed_knowledge(database, access, embedder, limit=limit - count))
        if count >= limit:
            break
    return count


async def _embed_memories(database: Database, embedder: Embedder, limit: int) -> int:
    async with database.worker() as connection:
        cursor = await connection.execute("select * from foreign_scopes(%s, %s)", [embedder.id, _SCOPES])
        scopes = await cursor.fetchall()
    count = 0
    for row in scopes:
        scope = Scope.parse(row["scope"])
        access = Access(Principal(row["tenant"], EMBEDDER), (scope,), scope)
        count += await _isolate(row["tenant"], embed_memories(database, access, embedder, limit=limit - count))
        if count >= limit:
            break
    return count


async def post_memories(database: Database, limit: int = BATCH_SIZE) -> int:
    """Write the words of up to `limit` memories anew that were written by the rules of an earlier release.

    Returns how many there were. Until then they are found by the words that they have.
    """
    async with database.worker() as connection:
        cursor = await connection.execute("select * from unposted_scopes(%s)", [_SCOPES])
        scopes = await cursor.fetchall()
    count = 0
    for row in scopes:
        scope = Scope.parse(row["scope"])
        access = Access(Principal(row["tenant"], EMBEDDER), (scope,), scope)
        count += await _isolate(row["tenant"], _post(database, access, limit - count))
        if count >= limit:
            break
    return count


async def _post(database: Database, access: Access, limit: int) -> int:
    async with database.transaction(access) as connection:
        cursor = await connection.execute(_POST, {"scope": str(access.writes), "limit": limit})
        return cursor.rowcount


async def _isolate(tenant: str, work: Awaitable[int]) -> int:
    """Do the work of one tenant; texts whose vectors the database or the embedder refuses are left, and logged."""
    try:
        return await work
    except (Permanent, psycopg.DataError) as error:
        _LOG.warning("some texts of tenant %r get no new vectors: %s", tenant, error)
        return 0


def _phrases(item: KnowledgeVersion) -> list[str]:
    """Return the phrases of an item; one from before front matter was checked has only its title and body."""
    try:
        return phrases(item)
    except Permanent:
        return [item.body, item.title]


@asynccontextmanager
async def _lock(database: Database) -> AsyncGenerator[bool]:
    """Hold the lock of this work, unless another worker has it; the server lets go of a dead worker's."""
    async with database.worker() as connection, connection.transaction():
        await limits.allow_rest(connection)
        cursor = await connection.execute("select pg_try_advisory_xact_lock(%s) as alone", [locks.REEMBEDDING])
        yield bool((await cursor.fetchone() or {})["alone"])
