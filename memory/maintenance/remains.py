"""Remains of a person: pieces of what they said, taken before they are forgotten, and the search for them afterwards.

The pieces stand in no file and in no table; they live as long as the command that looks for them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import AsyncConnection, sql

from memory.postgres.refusals import owner_unreachable
from memory.postgres.roles import WORLD

_MOST = 500
_LEAST_CHARACTERS, _PIECE_BYTES = 12, 40
_BLOCK = 1 << 20
_TEXTS = """
select body as text from memories where scope = 'user:' || %(person)s
union select content ->> 'body' from memory_archive where scope = 'user:' || %(person)s
union select input ->> 'request' from runs where requester = %(person)s
union select jsonb_array_elements_text(answers) from runs where requester = %(person)s
union select reason from votes where approver = %(person)s
"""
_TABLES = """
select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm', 'p') and n.nspname <> 'pg_toast' and n.nspowner <> %s::regrole
   and has_table_privilege(c.oid, 'select') order by 1, 2
"""
_FOREIGN_FILES = """
select pg_relation_filenode(c.oid)::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspowner = %s::regrole and pg_relation_filenode(c.oid) is not null
"""


@dataclass(frozen=True, slots=True)
class Remains:
    """Pieces of what one person said."""

    tenant: str
    pieces: frozenset[bytes]

    def among(self, data: bytes) -> set[bytes]:
        """Return the pieces inside some data."""
        return {*_pattern(self.pieces).findall(data)} if self.pieces else set()


async def collect(owner_url: str, tenant: str, person: str) -> Remains:
    """Return pieces of what a person said, as far as they are long enough to be told from what others say."""
    async with await _connect(owner_url) as connection, connection.transaction():
        await connection.execute("select enter(%s, %s, array['user:' || %s], '{}')", [tenant, person, person])
        cursor = await connection.execute(_TEXTS.encode(), {"person": person})
        texts = [str(text).strip() for (text,) in await cursor.fetchall() if text]
    pieces = (text.encode()[:_PIECE_BYTES] for text in texts if len(text) >= _LEAST_CHARACTERS)
    return Remains(tenant, frozenset([piece for piece, _ in zip(pieces, range(_MOST), strict=False)]))


async def in_rows(url: str, remains: Remains) -> dict[str, set[bytes]]:
    """Return the pieces by table that stand in rows: in all that this role sees, but the business's own records."""
    places: dict[str, set[bytes]] = {}
    async with await _connect(url) as connection, connection.transaction():
        await connection.execute("select public.enter(%s, 'operator', '{}', '{}')", [remains.tenant])
        tables = await (await connection.execute(_TABLES.encode(), [WORLD])).fetchall()
        for schema, name in tables:
            query = sql.SQL("copy (select t::text from {} t) to stdout").format(sql.Identifier(str(schema), str(name)))
            async with connection.cursor().copy(query) as rows:
                async for row in rows:
                    if hits := remains.among(bytes(row)):
                        places[f"{schema}.{name}"] = places.get(f"{schema}.{name}", set()) | hits
    return places


async def business_files(url: str) -> frozenset[str]:
    """Return the names of files with the business's own records, which are not the product's to forget."""
    async with await _connect(url) as connection:
        rows = await (await connection.execute(_FOREIGN_FILES, [WORLD])).fetchall()
    return frozenset([str(name) for (name,) in rows])


def in_files(folder: Path, remains: Remains, *, skip: frozenset[str] = frozenset()) -> dict[str, set[bytes]]:
    """Return the pieces by file below a folder; raises OSError for what cannot be read."""
    places: dict[str, set[bytes]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and re.split(r"[._]", path.name)[0] not in skip and (hits := _in_file(path, remains)):
            places[str(path.relative_to(folder))] = hits
    return places


def _in_file(path: Path, remains: Remains) -> set[bytes]:
    try:
        return {hit for block in _blocks(path) for hit in remains.among(block)}
    except FileNotFoundError:
        # The server removes files while they are looked for.
        return set()


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield a file in blocks that overlap by a piece."""
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK):
            yield tail + block
            tail = block[-_PIECE_BYTES:]


def _pattern(pieces: Sequence[bytes] | frozenset[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(piece) for piece in sorted(pieces, key=len, reverse=True)))


async def _connect(url: str) -> AsyncConnection[tuple[object, ...]]:
    try:
        return await AsyncConnection.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise owner_unreachable(error) from error
