"""Memories as lines of JSON: out of one scope, into another or a fresh install; called by the API and the shelf.

One object per line, without vectors: those are made anew by whatever embedder is set where the lines arrive. The first
line names the format. Columns that a version does not know are left out, so that older and newer files both go in.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, cast

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


async def export(database: Database, access: Access) -> AsyncIterator[str]:
    """Yield the access's write scope as lines, oldest first, with what was superseded; expired rows stay behind."""
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to export here; work inside one")
    yield json.dumps({"format": FORMAT, "scope": str(access.writes)})
    async with database.transaction(access) as connection, connection.cursor(name="memory_export") as cursor:
        await cursor.execute(
            """
            select to_jsonb(m) - array['tenant', 'scope_kind', 'scope_id', 'scope', 'embedder', 'embedding', 'digest',
                                       'near', 'terms'] as line
              from memories m where scope = %s and (expires is null or expires > clock_timestamp())
             order by created, id
            """,
            [str(access.writes)],
        )
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
            found = await connection.execute("select 1 from memories where id::text = %s", [row.get("id")])
            if await found.fetchone():
                known += 1
                continue
            try:
                await put(connection, access, row, embedder=embedder)
            except Permanent as error:
                raise Permanent(error.code, f"line {number}: {error}") from error
            taken += 1
    return taken, known


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
        except ValueError as error:
            raise Permanent("bad_request", f"line {number} is no JSON: {error}") from error
        if number == 1:
            if not isinstance(row, dict) or cast(dict[str, Any], row).get("format") != FORMAT:
                raise Permanent("bad_request", f"line 1 must name the format {FORMAT!r}; export the memories again")
            continue
        if not isinstance(row, dict) or not {"id", "body", "trust", "provenance"} <= cast(dict[str, Any], row).keys():
            raise Permanent("bad_request", f"line {number} is no memory; it needs id, body, trust and provenance")
        yield number, cast(dict[str, Any], row)
