"""Lines of an export, as `docs/journal.md` describes them: all that a stranger needs to check a tenant, or one run.

The API sends them to whoever asks for them, and to the verifier when the journal is to be checked here.
"""

import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, LiteralString

from memory.errors import Permanent
from memory.postgres.database import Connection

VERSION = 1
_HEADER: LiteralString = """
select json_build_object('line', 'export', 'version', %s::int, 'tenant', current_tenant(), 'at', to_char(
         transaction_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'run', %s::text)::text as line
"""
_KEYS: LiteralString = """
select json_build_object('line', 'key', 'id', id, 'public', encode(public, 'hex'))::text as line
  from signing_keys order by since, id
"""
_LEAVES: LiteralString = """
select json_build_object('line', 'leaf', 'position', position, 'text', text)::text as line
  from log_leaves order by position
"""
_HEADS: LiteralString = """
select json_build_object('line', 'head', 'number', number, 'text', text, 'signature', encode(signature, 'hex'))::text
         as line
  from log_heads order by number
"""
_TEXTS: LiteralString = """
select json_build_object('line', 'text', 'kind', t.kind, 'hash', t.hash, 'text', t.text)::text as line
  from texts t
 where %s::text is null or exists (select from journal j where j.run = any (related_runs(%s))
                                    and j.body::json ->> t.kind = t.hash)
 order by t.kind, t.hash
"""
_CHAINS: LiteralString = """
select json_build_object('line', 'chain', 'run', coalesce(r.id, j.run), 'seq', r.seq, 'head', encode(r.head, 'hex'),
         'spent', case when r.id is not null then
           json_build_array(r.spent_tokens, r.spent_micros, r.spent_calls, r.spent_millis) end)::text as line,
       coalesce(r.id, j.run) as run
  from runs r full join (select distinct run from journal) j on j.run = r.id
 where %s::text is null or coalesce(r.id, j.run) = any (related_runs(%s))
 order by coalesce(r.id, j.run) collate "C"
"""
_ENTRIES: LiteralString = """
select json_build_object('line', 'entry', 'run', run, 'seq', seq, 'prev', encode(prev, 'hex'), 'hash',
         encode(hash, 'hex'), 'body', body, 'words', words, 'salt', salt)::text as line, run
  from journal where %s::text is null or run = any (related_runs(%s)) order by run collate "C", seq
"""
_ROWS: LiteralString = """
select json_strip_nulls(json_build_object('line', 'row', 'table', g ->> 0, 'key', g ->> 1, 'text', g ->> 2,
         'rows', g ->> 3))::text as line
  from governed_rows(%s) g
"""
_ONE: LiteralString = "select 1 from runs where id = %s union select 1 from journal where run = %s"
_PAGE = 500
_numbers = itertools.count()


async def lines(connection: Connection, run: str | None = None) -> AsyncGenerator[str]:
    """Yield the export of the entered tenant, or of one run, line by line without line feeds.

    The caller's transaction must see one moment (`Database.snapshot`); who stops reading closes the generator.
    Raises Permanent("not_found") for a run of which nothing is there.
    """
    count = 0
    async with aclosing(_all(connection, run)) as texts:
        async for text in texts:
            count += 1
            yield text
    yield f'{{"line": "end", "lines": {count}}}'


async def _all(connection: Connection, run: str | None) -> AsyncGenerator[str]:
    if run is not None and await (await connection.execute(_ONE, [run, run])).fetchone() is None:
        raise Permanent("not_found", f"there is no run {run!r}; `countersign runs ls` lists the last ones")
    for section in _sections(connection, run):
        async with aclosing(section) as rows:
            async for row in rows:
                yield row["line"]


def _sections(connection: Connection, run: str | None) -> Iterator[AsyncGenerator[dict[str, Any]]]:
    """Yield the sections of an export in their order."""
    yield _stream(connection, _HEADER, VERSION, run)
    for query in (_KEYS, _LEAVES, _HEADS) if run is None else ():
        yield _stream(connection, query)
    yield _stream(connection, _TEXTS, run, run)
    yield _chains(connection, run)
    yield _stream(connection, _ROWS, run)


async def _chains(connection: Connection, run: str | None) -> AsyncGenerator[dict[str, Any]]:
    """Yield each chain before its entries."""
    async with (
        aclosing(_stream(connection, _ENTRIES, run, run)) as entries,
        aclosing(_stream(connection, _CHAINS, run, run)) as chains,
    ):
        entry = await anext(entries, None)
        async for chain in chains:
            yield chain
            while entry is not None and entry["run"] == chain["run"]:
                yield entry
                entry = await anext(entries, None)


async def _stream(connection: Connection, query: LiteralString, *values: object) -> AsyncGenerator[dict[str, Any]]:
    # Named, so that rows come page by page; two may be open at once.
    async with connection.cursor(name=f"export_{next(_numbers)}") as cursor:
        cursor.itersize = _PAGE
        await cursor.execute(query, list(values))
        async for row in cursor:
            yield row
