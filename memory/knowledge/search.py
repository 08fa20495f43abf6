"""Vector search in the current items of knowledge of one kind: by comparison, or by an index where there are many.

Called by planners and the API through `versions`. Vectors are made from published text and may be computed again; those
of two embedders are never compared: until every current item of a kind has vectors of the configured embedder, the
lexical vectors are searched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgvector import Vector

from memory.embeddings.embedder import Embedder, Embedding
from memory.embeddings.lexical import LEXICAL, presence, rarity
from memory.embeddings.vectors import Parameter, embed_question, parameter, parameters
from memory.knowledge.models import ItemHit, ItemKind
from memory.postgres.database import Connection, Database
from memory.scope import Access

INDEX_THRESHOLD = 2000
"""Phrases with vectors of one length, over all tenants, from which on they have an index; up to 2,000 dimensions."""
CROSSOVER = 2000
"""The index is faster if the square of a tenant's phrases exceeds this, times the phrases in the index."""
INDEX_CANDIDATES = 400
"""Least number of phrases taken from the index, which are then compared exactly."""
_SCAN_LIMIT = 100_000
"""Phrases that the index may pass over, since other tenants own them."""


@dataclass(frozen=True, slots=True)
class PhraseStatistics:
    """Size of what is searched in one kind, and the document frequency of each dimension."""

    embedder: str
    items: int
    phrases: int
    counts: Vector | None
    index_size: float | None
    """Estimated phrases in the index, of all tenants; None if there is no index."""

    def prefers_index(self, choice: bool | None = None) -> bool:
        """Return whether to use the index, if there is one: the given choice, or whether that is the faster way."""
        if self.index_size is None:
            return False
        return self.phrases**2 > CROSSOVER * max(self.index_size, self.phrases) if choice is None else choice


async def find(
    database: Database,
    access: Access,
    text: str,
    kind: ItemKind = "runbook",
    limit: int = 3,
    *,
    embedder: Embedder = LEXICAL,
    use_index: bool | None = None,
) -> list[ItemHit]:
    """Return the current items most similar to `text`: the best of title, utterances and body counts.

    Rare terms weigh more than common ones, and ties go to the smaller id. `use_index` says whether to use the index if
    there is one; None takes the faster way.
    """
    embedder, vector = await embed_question(embedder, text)
    async with database.transaction(access) as connection:
        statistics = _searchable(await _statistics(connection, kind, embedder), embedder)
        if statistics is None:
            return []
        if statistics.embedder != embedder.id:
            vector = LEXICAL.vector(text)
        values = _values(kind, statistics, vector, limit)
        hits = (
            await _find_by_index(connection, statistics, vector, values) if statistics.prefers_index(use_index) else []
        )
        return hits or await _find_by_comparison(connection, values)


@dataclass(frozen=True, slots=True)
class PhraseVectors:
    """The vectors of an item's phrases, as the database takes them."""

    embedder: str
    phrases: Sequence[Parameter]
    presence: Parameter | None
    """1 for each dimension that a phrase uses, if dimensions stand for terms."""


async def embed_phrases(phrases: Sequence[str], embedder: Embedder) -> PhraseVectors:
    """Return the vectors of an item's phrases, the body first."""
    vectors = await embedder.embed(phrases)
    # Without the body, which uses so many terms that it would make each of them look common.
    presence_vector = parameter(presence(vectors[1:])) if embedder.lexical else None
    return PhraseVectors(embedder.id, parameters(vectors), presence_vector)


def _searchable(statistics: Mapping[str, PhraseStatistics], embedder: Embedder) -> PhraseStatistics | None:
    """Return what is searched: the embedder's vectors if every current item has them, else the lexical ones."""
    total, own = statistics.get(""), statistics.get(embedder.id)
    return own if total and own and own.items >= total.items else statistics.get(LEXICAL.id)


async def _statistics(connection: Connection, kind: ItemKind, embedder: Embedder) -> dict[str, PhraseStatistics]:
    cursor = await connection.execute(
        """
        select s.embedder, s.items, s.phrases, s.counts, c.reltuples as index_size
          from knowledge_spread s left join pg_class c on c.oid = to_regclass('public.knowledge_phrases_' || s.dims)
         where s.kind = %s and s.embedder = any(%s)
        """,
        [kind, ["", LEXICAL.id, embedder.id]],
        binary=True,
    )
    return {row["embedder"]: PhraseStatistics(**row) for row in await cursor.fetchall()}


def _values(kind: ItemKind, statistics: PhraseStatistics, vector: Embedding, limit: int) -> dict[str, Any]:
    weights = (
        rarity(tuple(statistics.counts.to_list()), statistics.items) if statistics.counts else (1.0,) * len(vector)
    )
    return {
        "kind": kind,
        "embedder": statistics.embedder,
        "query": parameter(tuple(a * b for a, b in zip(vector, weights, strict=True))),
        # Stored vectors in the index have no weights, so the query has those of both sides.
        "leaning": parameter(tuple(a * b * b for a, b in zip(vector, weights, strict=True))),
        "weights": parameter(weights),
        "wide": max(INDEX_CANDIDATES, limit * 20),
        "limit": limit,
    }


async def _find_by_index(
    connection: Connection, statistics: PhraseStatistics, vector: Embedding, values: dict[str, Any]
) -> list[ItemHit]:
    """Return the hits among the phrases that the index names; nothing if it named too few, or the query has no term."""
    if not any(vector):
        return []
    await connection.execute(_FOLLOW.encode(), [str(min(values["wide"], 1000)), str(_SCAN_LIMIT)])
    cursor = await connection.execute(_search_in(_near(len(vector))), values)
    rows = await cursor.fetchall()
    await connection.execute("select set_config('enable_sort', 'on', true)")
    return list(map(_hit, rows)) if rows and rows[0]["seen"] >= min(values["wide"], statistics.phrases) else []


async def _find_by_comparison(connection: Connection, values: dict[str, Any]) -> list[ItemHit]:
    cursor = await connection.execute(_search_in(_PHRASES), values)
    return [_hit(row) for row in await cursor.fetchall()]


_FOLLOW = """
select set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %s, true),
       set_config('hnsw.max_scan_tuples', %s, true), set_config('enable_sort', 'off', true)
"""
_PHRASES = "select id, embedding from knowledge_phrases where kind = %(kind)s and embedder = %(embedder)s"


def _near(dims: int) -> str:
    return f"""
    {_PHRASES} and vector_dims(embedding) = {dims}
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
