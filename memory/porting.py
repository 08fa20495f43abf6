"""Memories as lines of JSON: out of one scope, into another or a fresh install; called by the API and the shelf.

One object per line, without vectors: those are made anew by whatever embedder is set where the lines arrive. The first
line names the format; then come memories, who else told them (`link`), and what was pruned and can be restored
(`archived`). Columns that a version does not know are left out, so that older and newer files both go in.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, LiteralString, cast

import psycopg
from psycopg.types.json import Jsonb

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.errors import Permanent
from memory.remembered import ROW, Memory, from_row
from memory.scope import Access
from memory.terms import marks, near, terms

FORMAT = "countersign-memory/1"
_REFUSED = (psycopg.errors.IntegrityError, psycopg.errors.DataError)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DERIVED = ("tenant", "scope_kind", "scope_id", "scope", "embedder", "embedding", "digest", "near", "terms")
"""Columns that are made anew where a memory arrives."""
_LINES = b"""
select to_jsonb(m) - %(derived)s::text[] as line, 1 as part, m.created as at, m.id::text as id
  from memories m where m.scope = %(scope)s and (m.expires is null or m.expires > clock_timestamp())
union all
select jsonb_build_object('link', to_jsonb(l) - array['tenant', 'scope', 'id']), 2, l.told, l.id::text
  from memory_links l join memories m on m.id = l.memory
 where l.scope = %(scope)s and (m.expires is null or m.expires > clock_timestamp())
union all
select jsonb_build_object('archived', (to_jsonb(a) - array['tenant', 'scope', 'writer', 'hold', 'gone', 'id'])
         || jsonb_build_object('content', a.content - %(derived)s::text[])), 3, a.pruned, a.id::text
  from memory_archive a where a.scope = %(scope)s and a.content is not null
 order by part, at, id
"""


async def export(database: Database, access: Access) -> AsyncIterator[str]:
    """Yield the access's write scope as lines, oldest first, with what was superseded; expired rows stay behind."""
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to export here; work inside one")
    yield json.dumps({"format": FORMAT, "scope": str(access.writes)})
    async with database.transaction(access) as connection, connection.cursor(name="memory_export") as cursor:
        await cursor.execute(_LINES, {"scope": str(access.writes), "derived": list(_DERIVED)})
        async for row in cursor:
            yield json.dumps(row["line"], ensure_ascii=False, sort_keys=True)


async def take_in(
    database: Database, access: Access, lines: Iterable[str], *, embedder: Embedder = LEXICAL
) -> tuple[int, int]:
    """Put exported lines into the access's write scope, all or none; returns how many went in and how many were there.

    Raises Permanent: `bad_request` naming the line that is no memory, `tainted` for what somebody had forgotten,
    `forbidden` without a write scope.
    """
    taken = known = 0
    async with database.transaction(access) as connection:
        for number, row in _parsed(lines):
            try:
                new = await _take(connection, access, row, embedder)
            except Permanent as error:
                raise Permanent(error.code, f"line {number}: {error}") from error
            taken, known = taken + new, known + (not new)
    return taken, known


async def _take(connection: Connection, access: Access, row: Mapping[str, Any], embedder: Embedder) -> bool:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to write to here; work inside one")
    if "link" in row:
        return await _called(connection, "select link_memory(%s) as new", row["link"])
    content: Mapping[str, Any] = row["archived"]["content"] if "archived" in row else row
    _demand(content)
    if "archived" in row:
        words = terms(content["body"])
        await _refuse_forgotten(connection, access, near(words))
        place = {"scope_kind": access.writes.kind, "scope_id": access.writes.id, "scope": str(access.writes)}
        whole = {**row["archived"], "content": {**content, **place, "near": near(words), "terms": words}}
        return await _called(connection, "select shelve_memory(%s) as new", whole)
    found = await connection.execute("select 1 from memories where id = %s::uuid", [row["id"]])
    if await found.fetchone():
        return False
    await put(connection, access, row, embedder=embedder)
    return True


async def _called(connection: Connection, query: LiteralString, given: Mapping[str, Any]) -> bool:
    try:
        async with connection.transaction():
            found = await connection.execute(query, [Jsonb(given)])
            return bool((await found.fetchone() or {})["new"])
    except _REFUSED as error:
        raise Permanent("bad_request", f"it cannot be taken in: {error.diag.message_primary}") from error


def _demand(row: Mapping[str, Any]) -> None:
    """Refuse what is no memory before it is looked at; what the columns refuse is said by the database."""
    lacking = [name for name in ("id", "body", "trust", "provenance") if name not in row]
    if lacking:
        raise Permanent("bad_request", f"it is no memory; it needs {', '.join(lacking)}")
    kinds = {"id": str, "body": str, "provenance": dict, "speaker": str, "session": str, "place": int}
    wrong = [name for name, kind in kinds.items() if row.get(name) is not None and type(row[name]) is not kind]
    if wrong or not _UUID.fullmatch(row["id"]):
        raise Permanent("bad_request", f"it is no memory; look at its {', '.join(wrong) or 'id'}")


async def put(
    connection: Connection, access: Access, row: Mapping[str, Any], *, embedder: Embedder = LEXICAL
) -> Memory:
    """Write a row that was a memory before, with its id, times and history, into the access's write scope.

    Raises Permanent: `conflict` if the row or another value of its subject is there, `bad_request` for what is no
    memory, `tainted` for what was forgotten, `forbidden` without a write scope.
    """
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to write to here; work inside one")
    words = terms(str(row["body"]))
    await _refuse_forgotten(connection, access, near(words))
    spoken = f"{row['speaker']}: {row['body']}" if row.get("speaker") else str(row["body"])
    (vector,) = await embedder.embed([spoken])
    placed = {**row, "scope_kind": access.writes.kind, "scope_id": access.writes.id, "near": near(words)}
    try:
        async with connection.transaction():
            found = await connection.execute(
                "select put_memory(%s, %s, %s) as id", [Jsonb(placed | {"terms": words}), embedder.id, literal(vector)]
            )
            id = (await found.fetchone() or {})["id"]
    except psycopg.errors.UniqueViolation as error:
        raise Permanent("conflict", f"memory {row.get('id')!r}, or another value of its subject, is here") from error
    except _REFUSED as error:
        raise Permanent("bad_request", f"{row.get('id')!r} is no memory: {error.diag.message_primary}") from error
    await connection.execute(
        "insert into memory_marks (scope, mark, memory) select %s, mark, %s from unnest(%s::text[]) as mark",
        [str(access.writes), id, marks(str(row["body"]), row.get("session"), row.get("place"))],
    )
    written = await connection.execute(f"select {ROW} from memories where id = %s".encode(), [id])
    return from_row(await written.fetchone() or {})


async def _refuse_forgotten(connection: Connection, access: Access, digest: str) -> None:
    places = [str(access.writes), f"by:{access.principal.id}"]
    found = await connection.execute("select is_forgotten(%s, %s) as gone", [places, digest])
    if (await found.fetchone() or {})["gone"]:
        raise Permanent("tainted", "this was forgotten on request and is not taken in again; let the person say it")


def _parsed(lines: Iterable[str]) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Permanent("bad_request", f"line {number} is no JSON: {error}") from error
        if not _is_line(row, first=number == 1):
            what = f"must name the format {FORMAT!r}; export the memories again" if number == 1 else "is no memory"
            raise Permanent("bad_request", f"line {number} {what}")
        if number > 1:
            yield number, row


def _is_line(row: Any, *, first: bool) -> bool:
    if not isinstance(row, dict):
        return False
    line = cast(dict[str, Any], row)
    if first:
        return line.get("format") == FORMAT
    shelved = line.get("archived", {"content": {}})
    return isinstance(shelved, dict) and isinstance(cast(dict[str, Any], shelved).get("content"), dict)
