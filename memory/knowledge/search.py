"""Which knowledge resembles a text: all of a kind is compared, or, where that is much, what an index leads to.

Called by planners and the API through `knowledge`. Vectors are made from published text and may be made anew; those of
two embedders never meet: until every current item of a kind has vectors of the embedder that is set, words decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory.embeddings.embedder import Embedder, Embedding
from memory.embeddings.lexical import LEXICAL, presence, rarity
from memory.embeddings.vectors import embed_question, literal, parse
from memory.knowledge.models import ItemHit, ItemKind
from memory.postgres.database import Connection, Database
from memory.scope import Access

INDEXED = 2000
"""Phrases of one length, over all tenants, from which on there is an index of them; up to 2,000 dimensions."""
CROSSOVER = 2000
"""The index pays where the square of one's own phrases exceeds this times all that the index leads through."""
WIDE = 400
"""Phrases that the index names at least, for each to be compared exactly."""
_SCANNED = 100_000


@dataclass(frozen=True, slots=True)
class PhraseStatistics:
    """How much there is to look through in one kind, and how common each dimension is there."""

    embedder: str
    items: int
    phrases: int
    counts: str | None
    indexed: float | None
    """About how many phrases the index holds, of all tenants; None if there is no index."""

    def is_followed(self, wanted: bool | None = None) -> bool:
        """Return whether to follow the index: as wanted, or where that is cheaper than comparing everything."""
        if self.indexed is None:
            return False
        return self.phrases**2 > CROSSOVER * max(self.indexed, self.phrases) if wanted is None else wanted


async def find(
    database: Database,
    access: Access,
    text: str,
    kind: ItemKind = "runbook",
    limit: int = 3,
    *,
    embedder: Embedder = LEXICAL,
    follow: bool | None = None,
) -> list[ItemHit]:
    """Return the current items most similar to `text`: the best of title, utterances and body counts.

    Rare terms weigh more than common ones, and ties go to the smaller id. `follow` says whether to follow the index if
    there is one; None leaves that to what was measured.
    """
    embedder, vector = await embed_question(embedder, text)
    async with database.transaction(access) as connection:
        spread = _searched(await _spreads(connection, kind, embedder), embedder)
        if spread is None:
            return []
        if spread.embedder != embedder.id:
            vector = LEXICAL.vector(text)
        values = _values(kind, spread, vector, limit)
        hits = await _followed(connection, spread, vector, values) if spread.is_followed(follow) else []
        return hits or await _compared(connection, values)


async def embed_phrases(phrases: Sequence[str], embedder: Embedder) -> dict[str, Any]:
    """Return what an item's phrases, the body first, look like to an embedder, as the database takes it."""
    vectors = await embedder.embed(phrases)
    # The body uses so many terms that it would make every one of them look common.
    used = literal(presence(vectors[1:])) if embedder.lexical else None
    return {"embedder": embedder.id, "presence": used, "phrases": [literal(vector) for vector in vectors]}


def _searched(spreads: Mapping[str, PhraseStatistics], embedder: Embedder) -> PhraseStatistics | None:
    """Return what is searched: the embedder's vectors if every current item has them, else those for words."""
    every, mine = spreads.get(""), spreads.get(embedder.id)
    return mine if every and mine and mine.items >= every.items else spreads.get(LEXICAL.id)


async def _spreads(connection: Connection, kind: ItemKind, embedder: Embedder) -> dict[str, PhraseStatistics]:
    found = await connection.execute(
        """
        select s.embedder, s.items, s.phrases, s.counts::text, c.reltuples as indexed
          from knowledge_spread s left join pg_class c on c.oid = to_regclass('public.knowledge_phrases_' || s.dims)
         where s.kind = %s and s.embedder = any(%s)
        """,
        [kind, ["", LEXICAL.id, embedder.id]],
    )
    return {row["embedder"]: PhraseStatistics(**row) for row in await found.fetchall()}


def _values(kind: ItemKind, spread: PhraseStatistics, vector: Embedding, limit: int) -> dict[str, Any]:
    weights = rarity(parse(spread.counts), spread.items) if spread.counts else (1.0,) * len(vector)
    return {
        "kind": kind,
        "embedder": spread.embedder,
        "query": literal(tuple(a * b for a, b in zip(vector, weights, strict=True))),
        # Stored vectors bear no weights, so the question bears both.
        "leaning": literal(tuple(a * b * b for a, b in zip(vector, weights, strict=True))),
        "weights": literal(weights),
        "wide": max(WIDE, limit * 20),
        "limit": limit,
    }


async def _followed(
    connection: Connection, spread: PhraseStatistics, vector: Embedding, values: dict[str, Any]
) -> list[ItemHit]:
    """Return what the index leads to; nothing if it gave up among what belongs to others, or had no direction."""
    if not any(vector):
        return []
    await connection.execute(_FOLLOW.encode(), [str(min(values["wide"], 1000)), str(_SCANNED)])
    found = await connection.execute(_search_in(_near(len(vector))), values)
    rows = await found.fetchall()
    await connection.execute("select set_config('enable_sort', 'on', true)")
    return list(map(_hit, rows)) if rows and rows[0]["seen"] >= min(values["wide"], spread.phrases) else []


async def _compared(connection: Connection, values: dict[str, Any]) -> list[ItemHit]:
    found = await connection.execute(_search_in(_ALL), values)
    return [_hit(row) for row in await found.fetchall()]


_FOLLOW = """
select set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %s, true),
       set_config('hnsw.max_scan_tuples', %s, true), set_config('enable_sort', 'off', true)
"""
_ALL = "select id, embedding from knowledge_phrases where kind = %(kind)s and embedder = %(embedder)s"


def _near(dims: int) -> str:
    return f"""
    {_ALL} and vector_dims(embedding) = {dims}
     order by embedding::vector({dims}) <=> %(leaning)s::vector({dims}) limit %(wide)s
    """


def _search_in(source: str) -> bytes:
    return f"""
    with phrases as materialized ({source}), scored as (
      select id, max(greatest(0, 1 - coalesce(nullif(
               (embedding * %(weights)s::vector) <=> %(query)s::vector, 'NaN'), 1))) as score from phrases group by id
    ), best as (select * from scored order by score desc, id limit %(limit)s)
    select k.id, k.version, k.title, k.body, best.score, (select count(*) from phrases) as seen
      from best join knowledge_vectors v on v.id = best.id and v.embedder = ''
      join knowledge k on k.id = v.id and k.version = v.version order by best.score desc, k.id
    """.encode()


def _hit(row: dict[str, Any]) -> ItemHit:
    return ItemHit(row["id"], row["version"], row["title"], row["body"], round(float(row["score"]), 6))
