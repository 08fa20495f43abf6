"""What is remembered in a user, session, agent or run scope; called by the API, the archive and the flow.

Scopes come from the `Access`, never from arguments: row security shows and takes only what the access was entered with.
Search is exact inside the scopes, and a row is findable as soon as `remember` returns.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.errors import Permanent
from memory.remembered import Hit, Memory, Note, Provenance, Recall, Trust, from_row
from memory.scope import Access, Scope

BODY_BYTES = 8192
RUN_TTL = timedelta(days=1)
"""Working memory that no run erased, because it died for good, lives no longer than this."""

_ROW = "id::text, scope, key, body, trust, provenance, created, expires, uses"
_LIVE = "scope = any(%(scopes)s) and superseded_by is null and (expires is null or expires > clock_timestamp())"


async def remember(
    database: Database,
    access: Access,
    body: str,
    *,
    trust: Trust,
    provenance: Provenance,
    key: str | None = None,
    ttl: timedelta | None = None,
    embedder: Embedder = LEXICAL,
) -> Memory:
    """Store a text in the access's write scope; with a `key` it supersedes what that subject said before.

    `ttl` ends it exactly then; working memory always ends. Raises Permanent: `forbidden` without a write scope,
    `too_large` beyond 8192 bytes, `bad_request` for text that cannot be kept.
    """
    note = Note(body, trust, provenance, key, ttl)
    async with database.transaction(access) as connection:
        return await add(connection, access, note, embedder=embedder)


async def add(connection: Connection, access: Access, note: Note, *, embedder: Embedder = LEXICAL) -> Memory:
    """Do the same as `remember` inside a transaction that was entered with `access`."""
    scope = _check(access, note)
    (vector,) = await embedder.embed([note.body])
    values = {
        "kind": scope.kind,
        "scope": scope.id,
        "key": note.key,
        "body": note.body,
        "digest": hashlib.sha256(note.body.encode()).hexdigest(),
        "embedder": embedder.id,
        "vector": literal(vector),
        "trust": note.trust,
        "provenance": Jsonb(asdict(note.provenance)),
        "ttl": RUN_TTL if note.ttl is None and scope.kind == "run" else note.ttl,
        "id": await _supersede(connection, scope, note.key),
    }
    found = await connection.execute(_INSERT.encode(), values)
    return from_row(await found.fetchone() or {})


async def recall(
    database: Database,
    access: Access,
    query: str,
    *,
    limit: int = 10,
    scopes: Sequence[Scope] | None = None,
    floor: float = 0.05,
    embedder: Embedder = LEXICAL,
) -> Recall:
    """Find the memories most similar to `query` in the access's read scopes, or in those of `scopes` among them.

    Ties go to the newer one, then to the smaller id. Scopes that were not entered hold nothing.
    """
    (vector,) = await embedder.embed([query])
    values = {
        "scopes": _names(access, scopes),
        "embedder": embedder.id,
        "vector": literal(vector),
        "limit": max(limit, 1),
        "floor": floor,
    }
    async with database.transaction(access) as connection:
        found = await connection.execute(_SEARCH.encode(), values)
        rows = await found.fetchall()
        hidden = await (await connection.execute(_HIDDEN.encode(), values)).fetchone() or {}
    return Recall(tuple(_hit(row) for row in rows if row["near"]), below=rows[0]["below"] if rows else 0, **hidden)


async def forget(
    database: Database, access: Access, *, id: str | None = None, key: str | None = None, everything: bool = False
) -> int:
    """Delete from the write scope one memory by id, one subject by key, or everything; returns how many rows went.

    Older versions of a forgotten subject go with it.
    """
    if [id is not None, key is not None, everything].count(True) != 1:
        raise Permanent("bad_request", "say exactly one of: the id, the key, or everything")
    async with database.transaction(access) as connection:
        gone = await connection.execute(
            """
            delete from memories m
             where m.scope = any(%(scopes)s)
               and (%(everything)s or m.id::text = %(id)s or m.key = %(key)s
                    or m.key = (select o.key from memories o
                                 where o.id::text = %(id)s and o.scope = any(%(scopes)s)))
            """,
            {"scopes": [str(access.writes)], "everything": everything, "id": id, "key": key},
        )
        return gone.rowcount


async def ls(
    database: Database,
    access: Access,
    *,
    scopes: Sequence[Scope] | None = None,
    limit: int = 100,
    after: str | None = None,
) -> list[Memory]:
    """Return live memories, newest first, those after the memory with id `after`."""
    async with database.transaction(access) as connection:
        found = await connection.execute(
            f"""
            select {_ROW} from memories
             where {_LIVE} and (%(after)s::text is null or (created, id) <
                   (select a.created, a.id from memories a where a.id::text = %(after)s))
             order by memories.created desc, memories.id desc limit %(limit)s
            """.encode(),
            {"scopes": _names(access, scopes), "after": after, "limit": limit},
        )
        return [from_row(row) for row in await found.fetchall()]


async def erase_run(connection: Connection, run: str) -> int:
    """Delete a run's working memory in the transaction that ends it; its scope must be among the entered reads."""
    found = await connection.execute("select erase_run(%s) as gone", [run])
    return int((await found.fetchone() or {})["gone"])


async def sweep(database: Database, *, limit: int = 1000) -> int:
    """Delete up to `limit` expired rows of all tenants; returns how many, so that callers repeat while it is full."""
    async with database.system() as connection:
        found = await connection.execute("select sweep_memories(%s) as gone", [limit])
        return int((await found.fetchone() or {})["gone"])


_INSERT = f"""
insert into memories
  (id, scope_kind, scope_id, key, body, digest, embedder, embedding, trust, provenance, expires)
values (%(id)s, %(kind)s, %(scope)s, %(key)s, %(body)s, %(digest)s, %(embedder)s, %(vector)s::vector, %(trust)s,
        %(provenance)s, clock_timestamp() + %(ttl)s::interval)
returning {_ROW}
"""
_SEARCH = f"""
with live as materialized (
  select * from memories where {_LIVE} and embedder = %(embedder)s
), scored as (
  select live.*, greatest(0, 1 - coalesce(nullif(embedding <=> %(vector)s::vector, 'NaN'), 1)) as score from live
)
select {_ROW}, score, score >= %(floor)s as near, count(*) filter (where score < %(floor)s) over ()::int as below
  from scored order by score desc, scored.created desc, scored.id limit %(limit)s
"""
_HIDDEN = f"""
select count(*) filter (where superseded_by is null and expires <= clock_timestamp())::int as expired,
       count(*) filter (where superseded_by is not null)::int as superseded,
       count(*) filter (where {_LIVE} and embedder <> %(embedder)s)::int as foreign
  from memories where scope = any(%(scopes)s)
"""


async def _supersede(connection: Connection, scope: Scope, key: str | None) -> UUID:
    successor = uuid4()
    if key is not None:
        # Two writers of one subject take turns; the unique index would otherwise refuse the second.
        await connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(current_tenant() || '/' || %s || '/' || %s, 7600))",
            [str(scope), key],
        )
        await connection.execute(
            """
            update memories set superseded_by = %s, valid_to = clock_timestamp()
             where scope = %s and key = %s and superseded_by is null
            """,
            [successor, str(scope), key],
        )
    return successor


def _check(access: Access, note: Note) -> Scope:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to write to here; work inside one")
    size = len(note.body.encode(errors="replace"))
    if size > BODY_BYTES:
        raise Permanent(
            "too_large", f"a memory of {size} bytes exceeds {BODY_BYTES}; keep the text, remember its handle"
        )
    if not note.body.strip() or "\0" in note.body or size != len(note.body.encode(errors="ignore")):
        raise Permanent("bad_request", "a memory must be text with something in it and without NUL characters")
    if note.key is not None and not 1 <= len(note.key) <= 200:
        raise Permanent("bad_request", f"a key of {len(note.key)} characters; use 1 to 200")
    return access.writes


def _names(access: Access, scopes: Sequence[Scope] | None) -> list[str]:
    return [str(scope) for scope in (access.reads if scopes is None else scopes)]


def _hit(row: dict[str, Any]) -> Hit:
    score = round(float(row["score"]), 6)
    return Hit(from_row(row), score, {"cosine": score})
