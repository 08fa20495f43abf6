"""Memories as lines of JSON: out of one scope, into another or a fresh install; called by the API and the shelf.

One object per line, without vectors: those are made anew by whatever embedder is set where the lines arrive. The first
line names the format; then come memories, who else told them (`link`), and what was pruned and can be restored
(`archived`). Columns that a version does not know are left out, so that older and newer files both go in.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any
from uuid import UUID, uuid5

import psycopg
from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import embed_texts, literal
from memory.errors import Code, Permanent
from memory.postgres import locks
from memory.postgres.database import Connection, Database
from memory.scope import Access, Scope
from memory.store.fingerprints import marks, near, terms
from memory.store.models import Memory, from_row
from memory.store.transfer_format import FORMAT, ArchiveLine, LinkLine, MemoryLine, TransferLine, read

PAGE = 500
"""Lines that are read at once; between two pages nothing is held, however long the reader takes."""
_BITE = 100
"""Lines that are written at once."""
_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What some readers take for the end of a line."""
_PINS = 200
"""Memories that a scope may have pinned by imports; those beyond go in without their pin."""
_USES = 1000
"""How much cited use a file may claim for a memory."""
DERIVED = (
    *("tenant", "scope_kind", "scope_id", "scope", "embedder", "embedding", "digest", "near", "terms"),
    *("size", "asks", "dated"),
)
"""Columns that are made anew where a memory arrives."""
_MEMORIES = """
select to_jsonb(m) - %s::text[] as line, m.created as at, m.id::text as id from memories m
 where m.scope = %s and (m.expires is null or m.expires > clock_timestamp())
   and m.created <= %s and (m.created, m.id) > (%s::timestamptz, %s::uuid) order by m.created, m.id limit %s
"""
_LINKS = """
select jsonb_build_object('link', to_jsonb(l) - array['id', 'scope'] - array_remove(%s::text[], 'digest')) as line,
       l.told as at, l.id::text as id
  from memory_links l join memories m on m.id = l.memory
 where l.scope = %s and (m.expires is null or m.expires > clock_timestamp())
   and l.told <= %s and (l.told, l.id) > (%s::timestamptz, %s::bigint) order by l.told, l.id limit %s
"""
_ARCHIVE = """
select jsonb_build_object('archived', (to_jsonb(a) - array['tenant', 'scope', 'writer', 'hold', 'gone', 'id'])
         || jsonb_build_object('content', a.content - %s::text[])) as line, a.pruned as at, a.id::text as id
  from memory_archive a where a.scope = %s and a.content is not null
   and a.pruned <= %s and (a.pruned, a.id) > (%s::timestamptz, %s::uuid) order by a.pruned, a.id limit %s
"""
_PARTS = ((_MEMORIES, str(UUID(int=0))), (_LINKS, "0"), (_ARCHIVE, str(UUID(int=0))))
_TAKE = {
    kind: f"select taken.* from jsonb_array_elements(%s) with ordinality as given (line, place) "
    f"cross join lateral {function}(given.line) as taken order by given.place"
    for kind, function in ((MemoryLine, "take_memory"), (LinkLine, "take_link"), (ArchiveLine, "take_archived"))
}
# The lock of pruning: neither shall see half of the other, nor an import the same import.
_ANSWERS: Mapping[str, tuple[Code, str]] = {
    "forgotten": ("tainted", "this was forgotten on request and is not taken in again; let the person say it"),
    "taken": ("conflict", "another value of its subject is here; forget that one first, or leave the line out"),
}

MemoryRow = Mapping[str, Any]


async def export(database: Database, access: Access) -> AsyncIterator[str]:
    """Yield the access's write scope as lines, oldest first, with what was superseded; expired rows stay behind.

    Each page is read for itself: what is written after the first was asked for is left out, and what is forgotten
    meanwhile is missing; so no subject has two current values.
    """
    scope = str(_writes(access, "export"))
    yield json.dumps({"format": FORMAT, "scope": scope})
    (now,) = await database.rows(access, "select clock_timestamp() as at")
    for query, start in _PARTS:
        at, id = "-infinity", start
        while True:
            page = await database.rows(access, query, list(DERIVED), scope, now["at"], at, id, PAGE)
            for row in page:
                yield json.dumps(row["line"], ensure_ascii=False, sort_keys=True).translate(_BREAKS)
            if len(page) < PAGE:
                break
            at, id = page[-1]["at"], page[-1]["id"]


async def import_lines(
    database: Database, access: Access, lines: Iterable[str], *, embedder: Embedder = LEXICAL
) -> tuple[int, int]:
    """Put exported lines into the access's write scope, all or none; returns how many went in and how many were there.

    They become the importer's: another writer's name stays as the fact `imported_from`. An id that is in use elsewhere
    is replaced, always by the same one. What has expired since, and links to it, count as neither.

    Raises Permanent: `bad_request` naming the line that is no memory, `tainted` for what somebody had forgotten,
    `conflict` for a subject with another value here, `forbidden` without a write scope.
    """
    scope = _writes(access, "write to")
    rows = read(lines)
    counts = {"kept": 0, "known": 0}
    async with database.transaction(access) as connection:
        await locks.hold_scope(connection, scope)
        draft = _drafting(access, scope, await _pinned(connection, scope))
        for some in _bites(rows):
            drafts = [draft(entry) for _, entry in some]
            for (number, _), row in zip(some, await _taken(connection, some, drafts, embedder), strict=True):
                if row["code"] in _ANSWERS:
                    code, message = _ANSWERS[row["code"]]
                    raise Permanent(code, f"line {number}: {message}")
                counts[row["code"]] = counts.get(row["code"], 0) + 1
    return counts["kept"], counts["known"]


async def put(connection: Connection, access: Access, row: MemoryRow, *, embedder: Embedder = LEXICAL) -> Memory:
    """Write a row that was a memory before, with its id, writer, times and history, into the access's write scope.

    Raises Permanent: `conflict` if the row or another value of its subject is there, `bad_request` for what is no
    memory, `tainted` for what was forgotten, `not_found` for what has expired, `forbidden` without a write scope.
    """
    draft = _placed(row, _writes(access, "write to"))
    try:
        (written,) = await _embedded(connection, [draft], embedder)
    except (psycopg.errors.IntegrityError, psycopg.errors.DataError) as error:
        raise Permanent("bad_request", f"{row.get('id')!r} is no memory: {error.diag.message_primary}") from error
    if written["code"] == "expired":
        raise Permanent("not_found", f"{row.get('id')!r} has expired meanwhile and cannot be taken back")
    if written["code"] == "known":
        raise Permanent("conflict", f"memory {row.get('id')!r} is here")
    if written["code"] in _ANSWERS:
        raise Permanent(*_ANSWERS[written["code"]])
    return from_row(written)


async def _taken(
    connection: Connection, some: Sequence[tuple[int, TransferLine]], drafts: Sequence[MemoryRow], embedder: Embedder
) -> list[dict[str, Any]]:
    kind = type(some[0][1])
    try:
        if kind is MemoryLine:
            return await _news(connection, drafts, embedder)
        return await _written(connection, kind, drafts)
    except (psycopg.errors.IntegrityError, psycopg.errors.DataError) as error:
        where = f"one of the lines {some[0][0]} to {some[-1][0]}"
        raise Permanent("bad_request", f"{where} cannot be taken in: {error.diag.message_primary}") from error


async def _news(connection: Connection, drafts: Sequence[MemoryRow], embedder: Embedder) -> list[dict[str, Any]]:
    """Write memories; a model is asked only about those that are not here yet."""
    there = await _there(connection, drafts)
    known = [bool(there & {row["id"], row["spare"]}) for row in drafts]
    new = [row for row, here in zip(drafts, known, strict=True) if not here]
    written = iter(await _embedded(connection, new, embedder))
    return [{"code": "known"} if here else next(written) for here in known]


async def _embedded(connection: Connection, drafts: Sequence[MemoryRow], embedder: Embedder) -> list[dict[str, Any]]:
    if not drafts:
        return []
    spoken = [f"{row['speaker']}: {row['body']}" if row.get("speaker") else str(row["body"]) for row in drafts]
    embedder, vectors = await embed_texts(embedder, spoken)
    whole = [
        {**row, "embedder": embedder.id, "embedding": literal(vector)}
        for row, vector in zip(drafts, vectors, strict=True)
    ]
    return await _written(connection, MemoryLine, whole)


async def _written(
    connection: Connection, kind: type[TransferLine], drafts: Sequence[MemoryRow]
) -> list[dict[str, Any]]:
    found = await connection.execute(_TAKE[kind].encode(), [Jsonb(list(drafts))])
    return await found.fetchall()


async def _there(connection: Connection, drafts: Sequence[MemoryRow]) -> set[str]:
    scopes = list({f"{row['scope_kind']}:{row['scope_id']}" for row in drafts})
    ids = list(chain.from_iterable((row["id"], row["spare"]) for row in drafts))
    found = await connection.execute(
        "select id::text from memories where scope = any(%s) and id = any(%s::uuid[])", [scopes, ids]
    )
    return {row["id"] for row in await found.fetchall()}


async def _pinned(connection: Connection, scope: Scope) -> int:
    found = await connection.execute("select count(*) as n from memories where scope = %s and pinned", [str(scope)])
    return int((await found.fetchone() or {})["n"])


def _drafting(access: Access, scope: Scope, pinned: int) -> Callable[[TransferLine], MemoryRow]:
    """Return what makes an entry of a file the importer's, in their scope."""
    importer = access.principal.id
    place = {"scope_kind": scope.kind, "scope_id": scope.id}
    left = max(0, _PINS - pinned)

    def spare(id: UUID) -> str:
        return str(uuid5(id, f"{access.principal.tenant}/{scope}"))

    def own(entry: MemoryLine) -> MemoryRow:
        mine = entry.model_copy(
            update={"provenance": entry.provenance.by(importer), "uses": min(entry.uses, _USES)}
        ).model_dump(mode="json")
        return _placed(mine, scope) | {"spare": spare(entry.id)}

    def draft(entry: TransferLine) -> MemoryRow:
        nonlocal left
        if isinstance(entry, LinkLine):
            mine = entry.model_copy(update={"provenance": entry.provenance.by(importer)}).model_dump(mode="json")
            return mine | place | {"spare": spare(entry.memory)}
        if isinstance(entry, ArchiveLine):
            # What is pinned is never pruned, so nothing that was pruned is.
            content = {**own(entry.content), "pinned": False}
            return {**entry.model_dump(mode="json"), "content": content, "spare": spare(entry.content.id)}
        keep = entry.pinned and left > 0
        left -= keep
        follower = entry.superseded_by and spare(entry.superseded_by)
        return {**own(entry), "pinned": keep, "superseded_spare": follower}

    return draft


def _placed(row: MemoryRow, scope: Scope) -> dict[str, Any]:
    body = str(row["body"])
    return {
        **row,
        "scope_kind": scope.kind,
        "scope_id": scope.id,
        "near": near(body),
        "terms": terms(body),
        "marks": marks(body, row.get("session"), row.get("place")),
    }


def _bites(rows: Sequence[tuple[int, TransferLine]]) -> Iterator[Sequence[tuple[int, TransferLine]]]:
    """Yield entries of one kind in their order, some at a time."""
    for _, alike in groupby(rows, lambda row: type(row[1])):
        some = list(alike)
        for start in range(0, len(some), _BITE):
            yield some[start : start + _BITE]


def _writes(access: Access, what: str) -> Scope:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to {what} here; work inside one")
    return access.writes
