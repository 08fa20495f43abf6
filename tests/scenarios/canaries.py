"""Canary words, and a search for them through tables, dump and files of a database; used by `test_canaries`."""

import lzma
import re
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql

from memory.postgres.roles import Urls
from memory.postgres.server import binaries
from memory.runs import compression

COUNT = 60
_SHORT = 20
"""Characters of a canary that a search compares: stemming may cut the end of a word."""
_HEX = re.compile(rb"[0-9a-f]{32,}")
_WORLD = re.compile(r"^w[0-9a-f]{10}_")
"""Schemas of the business, whose own records are not the product's to forget."""
_TABLES = """
select n.nspname as schema, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm', 'p', 't', 'S') and n.nspname <> 'pg_toast' order by 1, 2
"""
_FOLDER = """
select current_setting('data_directory') || '/base/' || oid from pg_database where datname = current_database()
"""
_BUSINESS_FILES = """
select pg_relation_filenode(c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname ~ %s and pg_relation_filenode(c.oid) is not null
"""


class Canaries:
    """Sixty words, each handed out once."""

    def __init__(self) -> None:
        self.words = [f"canary{uuid4().hex}" for _ in range(COUNT)]
        self._stems = [canary[:_SHORT].encode() for canary in self.words]
        self._next = 0

    def __call__(self) -> str:
        """Return a word that nobody has said yet."""
        self._next += 1
        return self.words[self._next - 1]

    @property
    def remainder(self) -> int:
        """Return the number of words that nobody has said."""
        return COUNT - self._next

    def among(self, data: bytes) -> set[str]:
        """Return the words inside some data: in clear, in hexadecimal, or compressed."""
        readings = list(_readings(data))
        texts = readings + [text for reading in readings for content in _unpack(reading) for text in _readings(content)]
        pairs = zip(self.words, self._stems, strict=True)
        return {canary for canary, reading in pairs if any(reading in text for text in texts)}


def _readings(data: bytes) -> Iterator[bytes]:
    yield data
    for match in _HEX.finditer(data):
        digits = match.group().decode()
        yield bytes.fromhex(digits[: len(digits) // 2 * 2])


def _unpack(data: bytes) -> Iterator[bytes]:
    for unpack in (compression.unpack, lzma.decompress, zlib.decompress):
        try:
            yield unpack(data)
        except (lzma.LZMAError, zlib.error, ValueError):
            continue


def analyze(urls: Urls, *further: LiteralString) -> None:
    """Have the planner's statistics made now, as the server does when it likes, and what else it does then."""
    with psycopg.connect(urls.superuser, autocommit=True) as connection:
        for statement in ("analyze", *further):
            connection.execute(statement)


def in_tables(urls: Urls, canaries: Canaries) -> dict[str, set[str]]:
    """Return the words by table: every row of every table as text, catalogues and statistics included."""
    tables: dict[str, set[str]] = {}
    with psycopg.connect(urls.superuser, autocommit=True) as connection:
        for schema, name in connection.execute(_TABLES).fetchall():
            if _WORLD.match(schema):
                continue
            table = sql.Identifier(schema, name)
            with connection.cursor().copy(sql.SQL("copy (select * from {}) to stdout").format(table)) as rows:
                for row in rows:
                    if hits := canaries.among(bytes(row)):
                        tables[name] = tables.get(name, set()) | hits
    return tables


def in_dump(urls: Urls, canaries: Canaries) -> set[str]:
    """Return the words in a dump of the database."""
    command = [str(binaries() / "pg_dump"), "--exclude-schema=w??????????_*", f"--dbname={urls.superuser}"]
    dump = subprocess.run(command, check=True, capture_output=True).stdout
    assert b"create table public.memories".upper() in dump.upper()
    return {hit for line in dump.splitlines() for hit in canaries.among(line)}


def business_files(urls: Urls) -> set[str]:
    """Return the names of the business's files."""
    with psycopg.connect(urls.superuser, autocommit=True) as connection:
        rows = connection.execute(_BUSINESS_FILES, [_WORLD.pattern]).fetchall()
    return {str(number) for (number,) in rows}


def in_files(urls: Urls, canaries: Canaries) -> set[str]:
    """Return the words in the files, except the business's, after tables were rewritten as vacuums do."""
    with psycopg.connect(urls.superuser, autocommit=True) as connection:
        connection.execute("vacuum (full, analyze)")
        connection.execute("checkpoint")
        row = connection.execute(_FOLDER).fetchone()
        assert row
    of_business = business_files(urls)
    files = [file for file in Path(row[0]).iterdir() if re.split(r"[._]", file.name)[0] not in of_business]
    assert len(files) > len(of_business)
    return {hit for file in files for hit in canaries.among(file.read_bytes())}
