"""Exact search in one or several scopes: BM25 and vectors over all live memories; called by context, tools and the API.

Two round trips, however large the scope: the columns of every live memory with the postings of the query's words; and,
once `ranking` has chosen the best, those few memories themselves. Both run with the access of the caller, and nothing
is cached between two searches.
"""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain, repeat
from math import inf
from operator import mul
from struct import calcsize, iter_unpack, unpack
from typing import Any, Literal, cast
from uuid import UUID

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import embed_question, parameter
from memory.postgres.database import Database
from memory.scope import Access, Scope
from memory.store.models import ROW, Memory, MemoryHit, SearchResult, from_row
from memory.store.ranking import LEXICAL_WEIGHTS, WEIGHTS, RowScore, SearchQuery, Timeline, WordCounts
from memory.store.ranking_arrays import rank

LIVE = (
    "(superseded_by is null or covered_until <= clock_timestamp()) and (expires is null or expires > clock_timestamp())"
)
"""Condition of live memories; a search only counts all others."""

_TIME_QUESTION = re.compile(
    r"\s*(when|how long|(what|which|on what|in what|in which) (day|date|week|month|year))\b", re.I
)

Relevance = Literal["related", "any"]
_MODEL_COSINE = 0.05
"""Similarity from which on a memory without a word of the query is related to it, if a model made the vectors."""
_LEXICAL_COSINE = inf
"""No similarity is enough: hashed spelling orders what words found; alone it would take chance for resemblance."""

_TimelineRow = Mapping[str, Any]
"""The row of `look_along`: columns packed into bytes."""
_ReadMemories = Callable[[Database, Access, Sequence[str]], Awaitable[list[Memory]]]


async def recall(
    database: Database,
    access: Access,
    query: str,
    *,
    limit: int = 10,
    scopes: Sequence[Scope] | None = None,
    relevance: Relevance = "related",
    embedder: Embedder = LEXICAL,
    record_views: bool = True,
) -> SearchResult:
    """Find the memories that answer `query` best, in the access's read scopes or in those of `scopes` among them.

    A memory is related if it or a neighbour has a word of the query or, with a model, if its vector is similar;
    relevance `any` returns unrelated ones too, last. Ties go to the newer one, then to the smaller id. Scopes that were
    not entered hold nothing. The run or session of the access is recorded as having seen what is returned, unless
    `record_views` is off and the caller does that with `show`.
    """
    names = [str(scope) for scope in (access.reads if scopes is None else scopes)]
    vector = None
    if not embedder.lexical:
        # While the model is away, its vectors are foreign, and words find.
        embedder, vector = await embed_question(embedder, query)

    async def read_timeline() -> _TimelineRow:
        arguments = (names, query.replace("\0", " "), embedder.id, vector and parameter(vector))
        return await database.call(access, "look_along", *arguments, binary=True)

    row = await read_timeline()
    if vector is None and None in (row["holders"] or ()):
        # Vectors matter where a word of the question resembles no word here, and cost more than everything else.
        (vector,) = await embedder.embed([query])
        row = await read_timeline()
    timeline = _timeline(row)
    minimum_cosine = _LEXICAL_COSINE if embedder.lexical else _MODEL_COSINE
    scores, unrelated_count = rank(
        timeline,
        _search_query(query, row, timeline),
        LEXICAL_WEIGHTS if embedder.lexical else WEIGHTS,
        minimum_cosine=None if relevance == "any" else minimum_cosine,
        limit=max(limit, 1),
    )
    hits = await _hits(database, access, scores, timeline, show if record_views else _read)
    return SearchResult(hits, row["expired"], row["superseded"], unrelated_count, row["foreign"])


async def show(database: Database, access: Access, ids: Sequence[str]) -> list[Memory]:
    """Return memories by id, in no order, and record that the run or session of `access` has seen them."""
    rows = await database.rows(access, f"select {ROW} from show_memories(%s::uuid[])", list(ids))
    return [from_row(row) for row in rows]


async def _read(database: Database, access: Access, ids: Sequence[str]) -> list[Memory]:
    rows = await database.rows(access, f"select {ROW} from memories where id = any(%s::uuid[])", list(ids))
    return [from_row(row) for row in rows]


async def _hits(
    database: Database, access: Access, scores: Sequence[RowScore], timeline: Timeline, read: _ReadMemories
) -> tuple[MemoryHit, ...]:
    if not scores:
        return ()
    ids = [str(UUID(bytes=timeline.ids[score.row])) for score in scores]
    memories = {memory.id: memory for memory in await read(database, access, ids)}
    # One that was forgotten since the first statement is missing.
    return tuple(
        MemoryHit(memories[id], round(score.score, 6), _rounded_addends(score.explain), round(score.similarity, 6))
        for id, score in zip(ids, scores, strict=True)
        if id in memories
    )


def _rounded_addends(explain: Mapping[str, float]) -> Mapping[str, float]:
    return {name: round(value, 6) for name, value in explain.items() if value or name == "passage"}


def _timeline(row: _TimelineRow) -> Timeline:
    marks = _numbers(row["marks"], "i")
    return Timeline(
        ids=_ids(row["ids"]),
        creation_times=_numbers(row["created"], "q"),
        sizes=_numbers(row["sizes"], "i"),
        question_flags=[mark >> 1 & 1 for mark in marks],
        time_flags=[mark & 1 for mark in marks],
        speakers=row["speakers"] or (),
        sessions=_session_numbers(row["sessions"] or (), marks),
        cosines=_numbers(row["cosines"], "d"),
    )


def _session_numbers(names: Sequence[str | None], marks: Sequence[int]) -> Sequence[int]:
    """Return the number of each row's session: one more where a name or scope differs from the row before.

    The bits of a mark are the number of the scope, whether the text asks, and whether it mentions a time.
    """
    if not any(names):
        return range(len(names))
    pairs = zip(names[1:], names, marks[1:], marks, strict=False)
    starts = (name is None or name != before or (mark ^ old) >> 2 for name, before, mark, old in pairs)
    return list(accumulate(map(bool, starts), initial=0))[: len(names)]


def _search_query(query: str, row: _TimelineRow, timeline: Timeline) -> SearchQuery:
    row_numbers = {id: number for number, id in enumerate(timeline.ids)}
    postings = zip(row["holders"] or (), row["hits"] or (), strict=True)
    return SearchQuery(
        words=[hits for holders, halves in postings if (hits := _word_counts(row_numbers, holders, halves))],
        word_count=len(row["holders"] or ()),
        names=_speakers_in(query, timeline),
        is_about_time=bool(_TIME_QUESTION.match(query)),
    )


def _speakers_in(query: str, timeline: Timeline) -> frozenset[str]:
    """Return the speakers whose first name is in the query, if that is one name."""
    first = {name: name.split(" ", 1)[0].lower() for name in set(timeline.speakers) if name}
    mentions = {name for name in first.values() if name and name in query.lower()}
    return frozenset(name for name in first if first[name] in mentions and len(mentions) == 1)


def _word_counts(row_numbers: Mapping[bytes, int], holders: bytes | None, halves: bytes | None) -> WordCounts:
    ids, numbers = _ids(holders), _numbers(halves, "i")
    rows = list(map(row_numbers.get, ids))
    counts: dict[int | None, float] = dict(zip(rows, map(mul, numbers, repeat(0.5)), strict=True))
    if len(counts) < len(rows):
        # Several words of one kin in a memory add up.
        counts = defaultdict(float)
        for row, half in zip(rows, numbers, strict=True):
            counts[row] += half / 2
    # A word may stand in a memory that is not live.
    counts.pop(None, None)
    return cast("WordCounts", counts)


def _ids(octets: bytes | None) -> list[bytes]:
    return list(chain.from_iterable(iter_unpack("16s", octets))) if octets else []


def _numbers(octets: bytes | None, form: str) -> Sequence[Any]:
    return unpack(f">{len(octets) // calcsize(form)}{form}", octets) if octets else ()


async def ls(
    database: Database,
    access: Access,
    *,
    scopes: Sequence[Scope] | None = None,
    limit: int = 100,
    after: tuple[datetime, str] | None = None,
) -> list[Memory]:
    """Return live memories, newest first; `after` is the time and id of the last one of the page before."""
    at, id = after or (None, None)
    older = "and (created, id) < (%(at)s, %(id)s::uuid)" if after else ""
    page = "order by memories.created desc, memories.id desc limit %(limit)s"
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            f"""
            select {ROW} from (select m.* from unnest(%(scopes)s::text[]) as given (name) cross join lateral (
              select * from memories where memories.scope = given.name and {LIVE} {older} {page}) m) memories {page}
            """.encode(),
            {"scopes": sorted({*_names(access, scopes)}), "at": at, "id": id, "limit": limit},
        )
        return [from_row(row) for row in await cursor.fetchall()]


def _names(access: Access, scopes: Sequence[Scope] | None) -> list[str]:
    return [str(scope) for scope in (access.reads if scopes is None else scopes)]
