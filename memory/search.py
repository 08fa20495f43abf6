"""What resembles a question, within a scope and exactly; called by the store.

One statement scores every live memory of the scopes: true BM25 over the postings, for the memory itself, for the
passage that it ends and for its session; then what neighbours, length, question marks, the speaker, dates and, if
there is a model for it, vectors add. Each addend counts in standard deviations of its own kind within the scope, so
that kinds can be added up; `fusion` holds their weights. No step drops a candidate.
"""

import re
from collections.abc import Sequence
from typing import Any

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.fusion import ADDENDS, BEFORE, LEXICAL_WEIGHTS, WEIGHTS
from memory.remembered import ROW, Hit, Memory, Recall, from_row
from memory.scope import Access, Scope
from memory.writing import saw

LIVE = "scope = any(%(scopes)s) and superseded_by is null and (expires is null or expires > clock_timestamp())"
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
    (vector,) = await embedder.embed([query])
    values = {
        "scopes": [str(scope) for scope in (access.reads if scopes is None else scopes)],
        "query": query.replace("\0", " "),
        "asks_when": bool(_ASKS_WHEN.match(query)),
        "embedder": embedder.id,
        "asked_vector": literal(vector),
        "limit": max(limit, 1),
        "floor": floor,
        **(LEXICAL_WEIGHTS if embedder.lexical else WEIGHTS),
    }
    async with database.transaction(access) as connection:
        ranked = await _ranked(connection, values)
        hits = await _hits(connection, [row for row in ranked if row["shown"]])
        hidden = await (await connection.execute(_HIDDEN.encode(), values)).fetchone() or {}
        await saw(connection, access, [hit.memory.id for hit in hits])
    return Recall(hits, below=ranked[0]["below"] if ranked else 0, **hidden)


async def _hits(connection: Connection, rows: list[dict[str, Any]]) -> tuple[Hit, ...]:
    found = await connection.execute(
        f"select {ROW} from memories where id = any(%s)".encode(), [[row["id"] for row in rows]]
    )
    memories = {memory.id: memory for memory in map(from_row, await found.fetchall())}
    return tuple(_hit(memories[row["id"]], row) for row in rows)


async def _ranked(connection: Connection, values: dict[str, Any]) -> list[dict[str, Any]]:
    # Every step passes on about as many rows as the scope has, which the planner takes for one and would loop over;
    # and planning anew would take as long as searching.
    await connection.execute(
        "select set_config('enable_nestloop', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)"
    )
    found = await connection.execute(_SEARCH.encode(), values, prepare=True)
    return await found.fetchall()


def _hit(memory: Memory, row: dict[str, Any]) -> Hit:
    explain = {name: round(value, 6) for name, value in row["explain"].items() if value or name == "words"}
    return Hit(memory, round(float(row["score"]), 6), explain)


def _bm25(total: str, size: str, mean: str) -> str:
    return (
        f"sum(ln(1 + ({total} - holders + 0.5) / (holders + 0.5)) * hits * 1.9"
        f" / (hits + 0.9 * (0.6 + 0.4 * {size} / {mean})))"
    )


def _standard(column: str) -> str:
    return (
        f"coalesce(({column} - avg({column}) over ()) / nullif(stddev_pop({column}) over (), 0), 0)::float8 as {column}"
    )


_PLACED = f"""
ordered as materialized (
  select id, created, size, asks, dated, lower(split_part(speaker, ' ', 1)) as speaker,
         case when embedder = %(embedder)s
              then 1 - coalesce(nullif(embedding <=> (select %(asked_vector)s::vector), 'NaN'), 1) end as vector,
         dense_rank() over (order by scope collate "C", coalesce(session, id::text) collate "C") as g,
         row_number() over (order by scope collate "C", coalesce(session, id::text) collate "C",
                                     place, created, id) as n
    from memories where {LIVE}
), placed as materialized (
  select *, count(*) over (passage rows between 1 following and {BEFORE} following) as ahead,
         sum(size) over (passage rows between {BEFORE} preceding and current row) as passage_size,
         sum(size) over (partition by g) as session_size,
         coalesce(lag(asks) over passage, false) as asked
    from ordered window passage as (partition by g order by n)
), extent as materialized (
  select greatest(count(*), 1)::float8 as rows, greatest(avg(size), 1)::float8 as mean,
         greatest(avg(passage_size), 1)::float8 as passage_mean, greatest(max(g), 1)::float8 as sessions,
         greatest(sum(size)::float8 / max(g), 1) as session_mean,
         (select case when count(distinct speaker) = 1 then min(speaker) end from placed
           where speaker <> '' and strpos(lower(%(query)s), speaker) > 0) as named
    from placed
)
"""

_LEXICAL = f"""
found as materialized (
  select p.lexeme, l.n, l.g, l.ahead, p.hits, count(*) over (partition by p.lexeme)::float8 as holders
    from memory_postings p join placed l on l.id = p.memory
   where p.scope = any(%(scopes)s)
     and p.lexeme = any((select tsvector_to_array(to_tsvector('english', %(query)s)))::text[])
), own as (
  select n, {_bm25("rows", "size", "mean")} as words from found join placed using (n) cross join extent group by n
), passages as (
  select lexeme, n + step as n, sum(hits) as hits, count(*) over (partition by lexeme)::float8 as holders
    from found cross join generate_series(0, {BEFORE}) as step where step <= ahead group by lexeme, n + step
), passage as (
  select n, {_bm25("rows", "passage_size", "passage_mean")} as passage
    from passages join placed using (n) cross join extent group by n
), sessions as (
  select lexeme, g, sum(hits) as hits, count(*) over (partition by lexeme)::float8 as holders
    from found group by lexeme, g
), sized as (
  select distinct g, session_size from placed
), session as (
  select g, {_bm25("sessions", "session_size", "session_mean")} as session
    from sessions join sized using (g) cross join extent group by g
)
"""

_SCORED = f"""
raw as (
  select placed.*, coalesce(words, 0) as words, coalesce(passage, 0) as passage, coalesce(session, 0) as session,
         ln(1 + size::float8) as length, speaker = named as by_named
    from placed left join own using (n) left join passage using (n) left join session using (g) cross join extent
), standard as (
  select n, g, id, created, vector as near, passage > 0 as touched, asks, asked, by_named, dated,
         {", ".join(_standard(name) for name in ("words", "passage", "session", "length", "vector"))} from raw
), fused as (
  select *, coalesce(lead(words, 1) over line, 0) as next, coalesce(lead(words, 2) over line, 0) as after_next,
         coalesce(lag(vector, 1) over line, 0) as vector_before, coalesce(lead(vector, 1) over line, 0) as vector_after
    from standard window line as (partition by g order by n)
), weighed as (
  select id, created, touched or coalesce(near >= %(floor)s, false) as shown,
         {", ".join(f"%({name})s * {source} as {name}" for name, source in ADDENDS.items())} from fused
), ranked as (
  select *, ({" + ".join(ADDENDS)}) as score, count(*) filter (where not shown) over ()::int as below from weighed
)
"""

_SEARCH = f"""
with {_PLACED.strip()}, {_LEXICAL.strip()}, {_SCORED.strip()}
select id::text, score, shown, below,
       jsonb_build_object({", ".join(f"'{name}', {name}" for name in ADDENDS)}) as explain
  from ranked order by shown desc, score desc, created desc, ranked.id limit %(limit)s
"""

_HIDDEN = f"""
select count(*) filter (where superseded_by is null and expires <= clock_timestamp())::int as expired,
       count(*) filter (where superseded_by is not null)::int as superseded,
       count(*) filter (where {LIVE} and embedder <> %(embedder)s)::int as foreign
  from memories where scope = any(%(scopes)s)
"""
