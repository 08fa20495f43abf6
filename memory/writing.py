"""How a text comes to be remembered: in one scope, with its origin; called through the store, and by what ends runs.

The scope comes from the `Access`, never from arguments: row security takes only what the access was entered with.
"""

import hashlib
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.errors import Permanent
from memory.remembered import ROW, Memory, Note, Provenance, Trust, from_row
from memory.scope import Access, Scope

BODY_BYTES = 8192
RUN_TTL = timedelta(days=1)
"""Working memory that no run erased, because it died for good, lives no longer than this."""


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


_INSERT = f"""
insert into memories
  (id, scope_kind, scope_id, key, body, digest, embedder, embedding, trust, provenance, expires)
values (%(id)s, %(kind)s, %(scope)s, %(key)s, %(body)s, %(digest)s, %(embedder)s, %(vector)s::vector, %(trust)s,
        %(provenance)s, clock_timestamp() + %(ttl)s::interval)
returning {ROW}
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
