"""How a text comes to be remembered: in one scope, with its origin; called through the store, and by what ends runs.

The scope comes from the `Access`, never from arguments: row security takes only what the access was entered with.
Nothing here asks a model. The same told again is linked to what is there; a subject's new value supersedes the old one;
what a run only read in memory does not come back as something new, nor does what somebody had forgotten.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.errors import Permanent
from memory.remembered import ROW, Memory, Note, Provenance, Trust, Turn, from_row
from memory.scope import Access, Scope
from memory.terms import marks, near, terms

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
    turn: Turn | None = None,
    embedder: Embedder = LEXICAL,
) -> Memory:
    """Store a text in the access's write scope; with a `key` it supersedes what that subject said before.

    A text that says what a live memory says already returns that memory. `ttl` ends it exactly then; working memory
    always ends. Raises Permanent: `forbidden` without a write scope or against a more trusted value, `tainted` for
    what was only recalled or was forgotten, `too_large` beyond 8192 bytes, `bad_request` for text that cannot be kept.
    """
    note = Note(body, trust, provenance, key, ttl, turn=turn)
    async with database.transaction(access) as connection:
        return await add(connection, access, note, embedder=embedder)


async def add(connection: Connection, access: Access, note: Note, *, embedder: Embedder = LEXICAL) -> Memory:
    """Do the same as `remember` inside a transaction that was entered with `access`."""
    scope = _check(access, note)
    note = _signed(access, note)
    values = _values(access, scope, note)
    found = await connection.execute("select * from look_at_note(%s)", [Jsonb(values)])
    seen = await found.fetchone() or {"code": "new"}
    if seen["code"] == "twin" and (twin := await _here(connection, note.turn, seen["id"])):
        return await _link(connection, scope, note, twin)
    _refuse(seen, note)
    (vector,) = await embedder.embed([note.text])
    values |= {"embedder": embedder.id, "vector": literal(vector), "provenance": Jsonb(asdict(note.provenance))}
    values |= await _supersede(connection, scope, note)
    values |= asdict(note.turn or Turn(""))
    written = await connection.execute(_INSERT.encode(), values)
    return from_row(await written.fetchone() or {})


async def saw(connection: Connection, access: Access, memories: Sequence[str]) -> None:
    """Note which memories the run or session of an access was shown; a person's own search leaves no trace."""
    seers = _seers(access)
    if seers and memories:
        await connection.execute(
            """
            insert into memory_seen (seer, memory) select seer, memory from unnest(%s::text[]) as seer
             cross join unnest(%s::uuid[]) as memory on conflict do nothing
            """,
            [seers, list(memories)],
        )


_INSERT = f"""
with added as (
  insert into memories
    (id, scope_kind, scope_id, key, body, digest, near, terms, embedder, embedding, trust, provenance, expires, pinned,
     valid_from, valid_to, known_to, superseded_by, speaker, said, session, place)
  values (%(id)s, %(kind)s, %(scope_id)s, %(key)s, %(body)s, %(digest)s, %(near)s, %(terms)s, %(embedder)s,
          %(vector)s::vector, %(trust)s, %(provenance)s, clock_timestamp() + %(ttl)s::interval, %(pinned)s,
          coalesce(%(valid_from)s, clock_timestamp()), %(valid_to)s,
          case when %(superseded_by)s::uuid is not null then clock_timestamp() end, %(superseded_by)s,
          nullif(%(speaker)s, ''), %(said)s, %(session)s, %(place)s)
  returning {ROW}
), marked as (
  insert into memory_marks (scope, mark, memory) select %(scope)s, mark, %(id)s from unnest(%(marks)s::text[]) as mark
)
select * from added
"""


def _values(access: Access, scope: Scope, note: Note) -> dict[str, Any]:
    words = terms(note.body)
    return {
        "kind": scope.kind,
        "scope_id": scope.id,
        "scope": str(scope),
        "key": note.key,
        "body": note.body,
        "digest": hashlib.sha256(note.body.encode()).hexdigest(),
        "near": near(words),
        "terms": words,
        "marks": marks(words),
        "trust": note.trust,
        "pinned": note.pinned,
        "ttl": _seconds(RUN_TTL if note.ttl is None and scope.kind == "run" else note.ttl),
        "principal": access.principal.id,
        "derived": note.provenance.derived_from,
        "seers": _seers(access),
        # A person may say again what they had forgotten; extraction and old files may not.
        "guarded": note.trust != "human" or note.imported,
    }


def _signed(access: Access, note: Note) -> Note:
    """Fill in who wrote, and what the text was taken from: itself, if nothing else is known."""
    given = note.provenance
    source = given.source or ("" if given.derived_from else hashlib.sha256(note.body.encode()).hexdigest())
    if given.derived_from and not given.source and note.trust != "human":
        raise Permanent(
            "tainted", "a text derived from recalled memories alone is no new evidence; name the source that adds to it"
        )
    return replace(note, provenance=replace(given, principal=given.principal or access.principal.id, source=source))


async def _here(connection: Connection, turn: Turn | None, twin: UUID) -> UUID | None:
    """Return which twin a text is: what is said again in another place of a conversation is one of its own."""
    if turn is None or turn.session is None:
        return twin
    found = await connection.execute(
        """
        select m.id from memories m join memories t on t.scope = m.scope and (t.near = m.near or t.id = m.id)
         where t.id = %s and m.session = %s and m.place = %s and m.superseded_by is null
         order by m.created, m.id limit 1
        """,
        [twin, turn.session, turn.place],
    )
    row = await found.fetchone()
    return row["id"] if row else None


def _refuse(seen: dict[str, Any], note: Note) -> None:
    """Raise for a note that must not be written."""
    if seen["code"] == "forgotten":
        raise Permanent("tainted", "this was forgotten on request and is not taken in again; let the person say it")
    if seen["code"] == "restated":
        raise Permanent("tainted", f"this only restates memory {seen['id']}, which was recalled; cite it instead")
    if seen["code"] == "outranked":
        raise Permanent(
            "forbidden",
            f"{note.key!r} was said by a {seen['trust']}, and {note.trust} text does not replace that; "
            "remember it without the key, or let a person decide",
        )


async def _link(connection: Connection, scope: Scope, note: Note, memory: UUID) -> Memory:
    """Count a text that is known already, and keep who told it; a longer life counts."""
    digest = hashlib.sha256(note.body.encode()).hexdigest()
    await connection.execute(
        "insert into memory_links (scope, memory, digest, trust, provenance) values (%s, %s, %s, %s, %s)",
        [str(scope), memory, digest, note.trust, Jsonb(asdict(note.provenance))],
    )
    found = await connection.execute(
        f"""
        update memories set told = told + 1, pinned = pinned or %(pinned)s,
               expires = case when expires is null or (%(ttl)s::interval is null and scope_kind <> 'run') then null
                              else greatest(expires, clock_timestamp() + %(ttl)s::interval) end
         where id = %(id)s returning {ROW}
        """.encode(),
        {"id": memory, "pinned": note.pinned, "ttl": note.ttl},
    )
    return from_row(await found.fetchone() or {})


async def _supersede(connection: Connection, scope: Scope, note: Note) -> dict[str, Any]:
    """End what the subject said before; a value that was so earlier than the current one goes into its history."""
    id = uuid4()
    since: datetime | None = note.valid_from
    placed: dict[str, Any] = {"id": id, "valid_from": since, "valid_to": None, "superseded_by": None}
    if note.key is None:
        return placed
    about = {"id": id, "scope": str(scope), "key": note.key, "since": since}
    if since is not None:
        found = await connection.execute(
            """
            select id, valid_from from memories
             where scope = %(scope)s and key = %(key)s and superseded_by is null and valid_from > %(since)s
            """,
            about,
        )
        if later := await found.fetchone():
            return placed | {"valid_to": later["valid_from"], "superseded_by": later["id"]}
    await connection.execute(
        """
        update memories set superseded_by = %(id)s, known_to = clock_timestamp(),
               valid_to = least(coalesce(valid_to, 'infinity'),
                                greatest(valid_from, coalesce(%(since)s::timestamptz, clock_timestamp())))
         where scope = %(scope)s and key = %(key)s and superseded_by is null
        """,
        about,
    )
    return placed


def _seers(access: Access) -> list[str]:
    return sorted({str(scope) for scope in access.reads if scope.kind in ("run", "session")})


def _seconds(span: timedelta | None) -> str | None:
    return None if span is None else f"{span.total_seconds()} seconds"


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
    if note.turn is not None and not note.turn.is_whole:
        raise Permanent(
            "bad_request", f"{note.turn!r} needs a speaker, session and place together, a time with its zone"
        )
    return access.writes
