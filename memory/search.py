"""What resembles a question, within a scope and exactly; called by the store.

Three small statements: where the question's words stand, the facts of every live memory as bytes in the order in which
they were said, and, once `ranking` has said which are best, those few memories themselves. All three run as the one who
asks, and nothing is kept between two searches.
"""

import re
from collections.abc import Mapping, Sequence
from struct import unpack
from typing import Any

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.fusion import LEXICAL_WEIGHTS, WEIGHTS
from memory.ranking import Line, Question, Ranked, rank
from memory.remembered import ROW, Hit, Recall, from_row
from memory.scope import Access, Scope
from memory.writing import saw

_IS_LIVE = "superseded_by is null and (expires is null or expires > clock_timestamp())"
LIVE = f"scope = any(%(scopes)s) and {_IS_LIVE}"
"""What a search may find; everything else is only counted."""

_ASKS_WHEN = re.compile(r"\s*(when|how long|(what|which|on what|in what|in which) (day|date|week|month|year))\b", re.I)


async def recall(
    database: Database,
    access: Access,
    query: str,
    *,
    limit: int = 10,
    scopes: Sequence[Scope] | None = None,
    floor: float = 0.05,
    embedder: Embedder = LEXICAL,
) -> Recall:
    """Find the memories that answer `query` best, in the access's read scopes or in those of `scopes` among them.

    A memory that shares no word with the query, nor do those just before it, is shown only from a similarity of
    `floor` on. Ties go to the newer one, then to the smaller id. Scopes that were not entered hold nothing.
    """
    values: dict[str, Any] = {
        "scopes": [str(scope) for scope in (access.reads if scopes is None else scopes)],
        "query": query.replace("\0", " "),
        "embedder": embedder.id,
        "asked": None if embedder.lexical else await _embedded(embedder, query),
    }
    weights = LEXICAL_WEIGHTS if embedder.lexical else WEIGHTS
    async with database.transaction(access) as connection:
        await connection.execute(_PLANNING)
        words = await (await connection.execute(_WORDS, values, prepare=True, binary=True)).fetchall()
        if embedder.lexical and not all(word["members"] for word in words):
            # Spelling matters where a word of the question is no word here, and costs more than everything else.
            values["asked"] = await _embedded(embedder, query)
        found = await (await connection.execute(_LINE, values, prepare=True, binary=True)).fetchone() or {}
        line = _line(found)
        ranked, below = rank(line, _question(query, words, line), weights, floor=floor, limit=max(limit, 1))
        hits = await _hits(connection, ranked, line)
        await saw(connection, access, [hit.memory.id for hit in hits])
    return Recall(hits, found["expired"], found["superseded"], below, found["foreign"])


async def _embedded(embedder: Embedder, query: str) -> str:
    (vector,) = await embedder.embed([query])
    return literal(vector)


async def _hits(connection: Connection, ranked: Sequence[Ranked], line: Line) -> tuple[Hit, ...]:
    ids = [line.ids[place.row] for place in ranked]
    statement = f"select {ROW} from memories where id = any(%s::uuid[])".encode()
    found = await connection.execute(statement, [[id.hex() for id in ids]], prepare=True)
    memories = {bytes.fromhex(row["id"].replace("-", "")): from_row(row) for row in await found.fetchall()}
    # One that was forgotten a moment ago is no answer any more.
    return tuple(
        Hit(memories[id], round(place.score, 6), _told(place.explain))
        for id, place in zip(ids, ranked, strict=True)
        if id in memories
    )


def _told(explain: Mapping[str, float]) -> Mapping[str, float]:
    return {name: round(value, 6) for name, value in explain.items() if value or name == "words"}


def _line(found: Mapping[str, Any]) -> Line:
    ids = _ids(found["ids"])
    marks = _integers(found["marks"])
    return Line(
        ids=ids,
        created=unpack(f">{len(ids)}q", found["created"] or b""),
        sizes=_integers(found["sizes"]),
        asks=[mark >> 1 & 1 for mark in marks],
        dated=[mark & 1 for mark in marks],
        speakers=found["speakers"] or (),
        sessions=_numbered(found["sessions"] or (), [mark >> 2 for mark in marks]),
        near=unpack(f">{len(ids)}d", found["near"]) if found["near"] else (),
    )


def _numbered(names: Sequence[str | None], scopes: Sequence[int]) -> Sequence[int]:
    numbers: list[int] = []
    number, before = -1, None
    for here in zip(names, scopes, strict=True):
        number += here[0] is None or here != before
        before = here
        numbers.append(number)
    return numbers


def _question(query: str, words: Sequence[Mapping[str, Any]], line: Line) -> Question:
    rows = {id: row for row, id in enumerate(line.ids)}
    first = {name: name.split(" ", 1)[0].lower() for name in set(line.speakers) if name}
    named = {name for name in first.values() if name and name in query.lower()}
    return Question(
        words={word["lexeme"]: found for word in words if (found := _mentions(word, rows))},
        names=frozenset(name for name in first if first[name] in named) if len(named) == 1 else frozenset(),
        asks_when=bool(_ASKS_WHEN.match(query)),
    )


def _mentions(word: Mapping[str, Any], rows: Mapping[bytes, int]) -> Sequence[int]:
    # A posting may belong to a memory that is not live.
    pairs = zip(_ids(word["members"]), _integers(word["hits"]), strict=True)
    return [rows[id] for id, count in pairs if id in rows for _ in range(count)]


def _ids(packed: bytes | None) -> list[bytes]:
    return [packed[start : start + 16] for start in range(0, len(packed), 16)] if packed else []


def _integers(packed: bytes | None) -> Sequence[int]:
    return unpack(f">{len(packed) // 4}i", packed) if packed else ()


_PLANNING = b"""
select set_config(name, value, true)
  from (values ('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'),
               ('enable_sort', 'off')) as setting (name, value)
"""
"""Both statements read by index, in its order, however few rows the planner believes in; and planning each time anew
would take longer than reading."""

_WORDS = b"""
select lexeme, members, hits
  from unnest(tsvector_to_array(to_tsvector('english', %(query)s))) as lexeme
  cross join lateral (
    select string_agg(uuid_send(memory), '') as members, string_agg(int4send(posting.hits), '') as hits
      from memory_postings posting where scope = any(%(scopes)s) and posting.lexeme = lexeme.lexeme
  ) as held
"""

_LINE = f"""
select string_agg(uuid_send(id), '') filter (where live) as ids,
       string_agg(timestamptz_send(created), '') filter (where live) as created,
       string_agg(int4send(size), '') filter (where live) as sizes,
       string_agg(int4send(mark), '') filter (where live) as marks,
       array_agg(speaker) filter (where live) as speakers,
       array_agg(session) filter (where live) as sessions,
       string_agg(float8send(cosine), '') filter (where live) as near,
       count(*) filter (where superseded_by is null and not live)::int as expired,
       count(*) filter (where superseded_by is not null)::int as superseded,
       count(*) filter (where live and embedder <> %(embedder)s)::int as foreign
  from (
    select id, created, size, speaker, session, superseded_by, embedder, {_IS_LIVE} as live,
           array_position(%(scopes)s, scope) * 4 + asks::int * 2 + dated::int as mark,
           case when %(asked)s::text is null then null when embedder <> %(embedder)s then 'NaN'
                else 1 - coalesce(nullif(embedding <=> (select %(asked)s::text::vector), 'NaN'), 1) end as cosine
      from memories where scope = any(%(scopes)s) order by memories.scope, session, place, created, id
  ) as line
""".encode()
