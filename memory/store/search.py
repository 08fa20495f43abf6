"""What resembles a question, within a scope and exactly; called by the store.

Two round trips, however large the scope: the facts of every live memory as bytes in the order in which they were said,
with the places of the question's words; and, once `ranking` has said which are best, those few memories themselves.
Both run as the one who asks, and nothing is kept between two searches.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from math import inf
from struct import calcsize, unpack
from typing import Any
from uuid import UUID

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import embed_question, literal
from memory.postgres.database import Database
from memory.scope import Access, Scope
from memory.store.models import ROW, Memory, MemoryHit, SearchResult, from_row
from memory.store.ranking import LEXICAL_WEIGHTS, WEIGHTS, ScoredRow, SearchQuery, Timeline, WordCounts, rank

LIVE = (
    "scope = any(%(scopes)s) and (superseded_by is null or covered_until <= clock_timestamp())"
    " and (expires is null or expires > clock_timestamp())"
)
"""What may be shown; a search only counts everything else."""

_ASKS_WHEN = re.compile(r"\s*(when|how long|(what|which|on what|in what|in which) (day|date|week|month|year))\b", re.I)

TimelineRow = Mapping[str, Any]
"""The row of `look_along`."""
_Rows = Callable[[Database, Access, Sequence[str]], Awaitable[Sequence[Mapping[str, Any]]]]


async def recall(
    database: Database,
    access: Access,
    query: str,
    *,
    limit: int = 10,
    scopes: Sequence[Scope] | None = None,
    floor: float = 0.05,
    embedder: Embedder = LEXICAL,
    record_views: bool = True,
) -> SearchResult:
    """Find the memories that answer `query` best, in the access's read scopes or in those of `scopes` among them.

    A memory that shares no word with the query, nor do its neighbours, is shown only from a similarity of `floor` on;
    without a model only if `floor` is 0, which shows everything. Ties go to the newer one, then to the smaller id.
    Scopes that were not entered hold nothing. A run or session has seen what it finds, unless `seen` leaves it to
    `show` to say so.
    """
    places = [str(scope) for scope in (access.reads if scopes is None else scopes)]
    vector = None
    if not embedder.lexical:
        # While the model is away, its vectors are foreign, and words find.
        embedder, vector = await embed_question(embedder, query)

    async def look() -> TimelineRow:
        question = (places, query.replace("\0", " "), embedder.id, vector and literal(vector))
        return await database.call(access, "look_along", *question, binary=True)

    found = await look()
    if vector is None and None in (found["holders"] or ()):
        # Vectors matter where a word of the question resembles no word here, and cost more than everything else.
        (vector,) = await embedder.embed([query])
        found = await look()
    line = _line(found)
    weights = LEXICAL_WEIGHTS if embedder.lexical else WEIGHTS
    if embedder.lexical and floor > 0:
        # Hashed spelling orders what words found; alone it would take chance for resemblance.
        floor = inf
    ranked, below = rank(line, _question(query, found, line), weights, floor=floor, limit=max(limit, 1))
    hits = await _hits(database, access, ranked, line, show if record_views else _read)
    return SearchResult(hits, found["expired"], found["superseded"], below, found["foreign"])


async def show(database: Database, access: Access, ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Return the rows of memories, and note that the run or session of `access` has seen them."""
    return await database.rows(access, f"select {ROW} from show_memories(%s::uuid[])", list(ids))


async def _read(database: Database, access: Access, ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    return await database.rows(access, f"select {ROW} from memories where id = any(%s::uuid[])", list(ids))


async def _hits(
    database: Database, access: Access, ranked: Sequence[ScoredRow], line: Timeline, read: _Rows
) -> tuple[MemoryHit, ...]:
    if not ranked:
        return ()
    ids = [str(UUID(bytes=line.ids[place.row])) for place in ranked]
    memories = {memory.id: memory for memory in map(from_row, await read(database, access, ids))}
    # One that was forgotten a moment ago is no answer any more.
    return tuple(
        MemoryHit(memories[id], round(place.score, 6), _told(place.explain))
        for id, place in zip(ids, ranked, strict=True)
        if id in memories
    )


def _told(explain: Mapping[str, float]) -> Mapping[str, float]:
    return {name: round(value, 6) for name, value in explain.items() if value or name == "passage"}


def _line(found: TimelineRow) -> Timeline:
    marks = _numbers(found["marks"], "i")
    return Timeline(
        ids=_ids(found["ids"]),
        created=_numbers(found["created"], "q"),
        sizes=_numbers(found["sizes"], "i"),
        asks=[mark >> 1 & 1 for mark in marks],
        dated=[mark & 1 for mark in marks],
        speakers=found["speakers"] or (),
        sessions=_numbered(found["sessions"] or (), marks),
        cosines=_numbers(found["cosines"], "d"),
    )


def _numbered(names: Sequence[str | None], marks: Sequence[int]) -> Sequence[int]:
    """Return the number of each row's session: one more where a name or scope differs from the row before."""
    pairs = zip(names[1:], names, marks[1:], marks, strict=False)
    starts = (name is None or name != before or (mark ^ old) >> 2 for name, before, mark, old in pairs)
    return list(accumulate(map(bool, starts), initial=0))[: len(names)]


def _question(query: str, found: TimelineRow, line: Timeline) -> SearchQuery:
    rows = {id: row for row, id in enumerate(line.ids)}
    told = zip(found["holders"] or (), found["hits"] or (), strict=True)
    return SearchQuery(
        words=[hits for holders, halves in told if (hits := _hits_in(rows, holders, halves))],
        names=_named(query, line),
        asks_when=bool(_ASKS_WHEN.match(query)),
    )


def _named(query: str, line: Timeline) -> frozenset[str]:
    """Return the speakers whose first name the query tells, if that is one name."""
    first = {name: name.split(" ", 1)[0].lower() for name in set(line.speakers) if name}
    told = {name for name in first.values() if name and name in query.lower()}
    return frozenset(name for name in first if first[name] in told and len(told) == 1)


def _hits_in(rows: Mapping[bytes, int], holders: bytes | None, halves: bytes | None) -> WordCounts:
    found: dict[int, float] = {}
    for id, half in zip(_ids(holders), _numbers(halves, "i"), strict=True):
        # A word may stand in a memory that is not live.
        if (row := rows.get(id)) is not None:
            found[row] = found.get(row, 0.0) + half / 2
    return found


def _ids(packed: bytes | None) -> list[bytes]:
    return [packed[start : start + 16] for start in range(0, len(packed), 16)] if packed else []


def _numbers(packed: bytes | None, form: str) -> Sequence[Any]:
    return unpack(f">{len(packed) // calcsize(form)}{form}", packed) if packed else ()


async def ls(
    database: Database,
    access: Access,
    *,
    scopes: Sequence[Scope] | None = None,
    limit: int = 100,
    after: tuple[datetime, str] | None = None,
) -> list[Memory]:
    """Return live memories, newest first; `after` is the time and id of the last one shown, even if it is gone."""
    at, id = after or (None, None)
    async with database.transaction(access) as connection:
        found = await connection.execute(
            f"""
            select {ROW} from memories
             where {LIVE} and (%(at)s::timestamptz is null or (created, id) < (%(at)s, %(id)s::uuid))
             order by memories.created desc, memories.id desc limit %(limit)s
            """.encode(),
            {"scopes": _names(access, scopes), "at": at, "id": id, "limit": limit},
        )
        return [from_row(row) for row in await found.fetchall()]


def _names(access: Access, scopes: Sequence[Scope] | None) -> list[str]:
    return [str(scope) for scope in (access.reads if scopes is None else scopes)]
