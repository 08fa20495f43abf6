"""Bulk memories for benchmarks: a scope of ten thousand, written as the product writes, and copies of it in bulk.

The copies go in by statements over whole sets, without triggers, as exactly the rows that triggers would write; a
sample is compared. Beside them stands a plain table of pgvector with the same texts and vectors, no policy, no words.
"""

import random
from collections.abc import Sequence

from pgvector.psycopg import register_vector_async
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.scope import Access, Principal
from memory.store import write
from memory.store.fingerprints import marks
from memory.store.models import Note, Provenance
from tests.bench.ground import TENANT, Ground

Above = AsyncConnection[DictRow]

BIG = 10_000
"""Memories of the scope that is searched; all others have a tenth of it."""
_BATCH = 50
"""Scopes copied in one statement."""
_SAMPLE = 500
_SYLLABLES = ("ba", "dor", "ke", "lin", "mo", "nu", "pra", "ris", "sol", "ta", "ven", "wim")
_SMALL = ("the", "of", "and", "in", "we", "was", "to", "with", "for", "is")

_PREPARE = """
create temporary table pool as
select m.*, row_number() over (order by m.created, m.id) - 1 as n from memories m where m.scope = 'user:big';
create unique index on pool (id);
analyze pool;
create function pg_temp.copy_of(s int, id uuid) returns uuid language sql immutable return
  (lpad(to_hex(s), 8, '0') || substr(md5(s || id::text), 9))::uuid;
create schema plain;
create table plain.memories (id uuid primary key, scope text not null, body text not null, embedding vector(1024));
create index on plain.memories (scope);
insert into plain.memories select id, scope, body, embedding from pool
"""
_COPIES = """
insert into memories (tenant, id, scope_kind, scope_id, body, digest, near, terms, embedder, embedding, trust,
                      provenance, size)
select p.tenant, pg_temp.copy_of(s, p.id), 'user', 'small' || s, p.body, p.digest, p.near, p.terms, p.embedder,
       p.embedding, p.trust, p.provenance, p.size
  from generate_series(%(first)s::int, %(last)s::int) s join pool p on p.n %% 10 = s %% 10 order by s, p.n;
insert into memory_postings (tenant, scope, lexeme, memory, hits)
select w.tenant, 'user:small' || s, w.lexeme, pg_temp.copy_of(s, p.id), w.hits
  from generate_series(%(first)s::int, %(last)s::int) s join pool p on p.n %% 10 = s %% 10
  join memory_postings w on w.memory = p.id order by s, w.lexeme, 4;
insert into memory_marks (tenant, scope, mark, memory)
select k.tenant, 'user:small' || s, k.mark, pg_temp.copy_of(s, p.id)
  from generate_series(%(first)s::int, %(last)s::int) s join pool p on p.n %% 10 = s %% 10
  join memory_marks k on k.memory = p.id order by s, k.mark, 4;
insert into plain.memories
select pg_temp.copy_of(s, p.id), 'user:small' || s, p.body, p.embedding
  from generate_series(%(first)s::int, %(last)s::int) s join pool p on p.n %% 10 = s %% 10 order by s, p.n
"""
_AS_BY_TRIGGER = """
select m.body, m.speaker,
       m.size = (select sum(w.hits) from memory_words(m.body, m.speaker, m.said) w) as sized,
       array(select (w.lexeme, w.hits)::text from memory_words(m.body, m.speaker, m.said) w order by 1)
         = array(select (p.lexeme, p.hits)::text from memory_postings p
                  where p.memory = m.id and p.tenant = m.tenant and p.scope = m.scope order by 1) as posted,
       array(select k.mark from memory_marks k
              where k.memory = m.id and k.tenant = m.tenant and k.scope = m.scope order by 1) as marks
  from memories m where m.scope like 'user:small%%' order by md5(m.id::text) limit %s
"""


def owner(name: str) -> Access:
    """Return the access of one of the people in the bench."""
    return Access.of(Principal(TENANT, name))


class Texts:
    """Made-up sentences; some words are in most of them and many in few, as in any language."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = [f"{a}{b}{c}" for a in _SYLLABLES for b in _SYLLABLES for c in ("", *_SYLLABLES)]
        random.Random(0).shuffle(self._words)
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]

    def sentence(self) -> str:
        """Return a text of 8 to 30 words, the small ones not counted."""
        words = self._random.choices(self._words, self._weights, k=self._random.randrange(8, 31))
        return " ".join(
            f"{self._random.choice(_SMALL)} {word}" if number % 2 else word for number, word in enumerate(words)
        )

    def question(self, about: str) -> str:
        """Return a few words of a text and one that it may not have."""
        query = self._random.sample([word for word in about.split() if word not in _SMALL], 4)
        return f"when was the {' '.join([*query, self._random.choice(self._words)])}"


def notes(texts: Sequence[str]) -> list[Note]:
    """Return texts as people tell them."""
    return [Note(text, "human", Provenance()) for text in texts]


async def above(ground: Ground) -> Above:
    """Return a connection above all rules, which the caller closes."""
    connection = await AsyncConnection[DictRow].connect(
        ground.server.urls.superuser, autocommit=True, row_factory=dict_row
    )
    await register_vector_async(connection)
    return connection


async def fill(ground: Ground, texts: Sequence[str], rows: int, embedder: Embedder = LEXICAL) -> None:
    """Write the texts into the big scope and copies of them into others until there are so many rows in all."""
    big = owner("big")
    for start in range(0, len(texts), 1000):
        async with ground.database.transaction(big) as connection:
            await write.add_notes(connection, big, notes(texts[start : start + 1000]), embedder=embedder)
    async with await above(ground) as connection:
        for statement in _PREPARE.split(";\n"):
            await connection.execute(statement.encode())
        await connection.execute("set session_replication_role = replica")
        scopes = max(0, rows - len(texts)) // (BIG // 10)
        for first in range(0, scopes, _BATCH):
            span = {"first": first, "last": min(first + _BATCH, scopes) - 1}
            for statement in _COPIES.split(";\n"):
                await connection.execute(statement.encode(), span)
        for table in ("memories", "memory_postings", "memory_marks", "plain.memories"):
            await connection.execute(f"vacuum (analyze) {table}".encode())
        await _prove(connection)


async def _prove(connection: Above) -> None:
    """Raise unless a sample of the copies is what the product would have written."""
    cursor = await connection.execute(_AS_BY_TRIGGER.encode(), [_SAMPLE])
    for row in await cursor.fetchall():
        is_equal = row["sized"] and row["posted"] and row["marks"] == sorted(marks(row["body"]))
        if not is_equal:
            raise AssertionError(f"the copy {row['body']!r} is not what the triggers write")
