"""What is remembered in a user, session, agent or run scope; called by the API, the archive and the flow.

Scopes come from the `Access`, never from arguments: row security shows and takes only what the access was entered with.
Search is exact inside the scopes, and a row is findable as soon as `remember` returns.
"""

from collections.abc import Sequence
from typing import Any

from memory.database import Database
from memory.embedding import LEXICAL, Embedder, literal
from memory.forgetting import erase_run, forget, sweep
from memory.remembered import ROW, Hit, Memory, Recall, from_row
from memory.scope import Access, Scope
from memory.writing import add, remember, saw

__all__ = ["add", "erase_run", "forget", "ls", "recall", "remember", "sweep"]

_LIVE = "scope = any(%(scopes)s) and superseded_by is null and (expires is null or expires > clock_timestamp())"


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
    """Find the memories most similar to `query` in the access's read scopes, or in those of `scopes` among them.

    Ties go to the newer one, then to the smaller id. Scopes that were not entered hold nothing.
    """
    (vector,) = await embedder.embed([query])
    values = {
        "scopes": _names(access, scopes),
        "embedder": embedder.id,
        "vector": literal(vector),
        "limit": max(limit, 1),
        "floor": floor,
    }
    async with database.transaction(access) as connection:
        found = await connection.execute(_SEARCH.encode(), values)
        rows = await found.fetchall()
        hidden = await (await connection.execute(_HIDDEN.encode(), values)).fetchone() or {}
        await saw(connection, access, [row["id"] for row in rows if row["near"]])
    return Recall(tuple(_hit(row) for row in rows if row["near"]), below=rows[0]["below"] if rows else 0, **hidden)


async def ls(
    database: Database,
    access: Access,
    *,
    scopes: Sequence[Scope] | None = None,
    limit: int = 100,
    after: str | None = None,
) -> list[Memory]:
    """Return live memories, newest first, those after the memory with id `after`."""
    async with database.transaction(access) as connection:
        found = await connection.execute(
            f"""
            select {ROW} from memories
             where {_LIVE} and (%(after)s::text is null or (created, id) <
                   (select a.created, a.id from memories a where a.id::text = %(after)s))
             order by memories.created desc, memories.id desc limit %(limit)s
            """.encode(),
            {"scopes": _names(access, scopes), "after": after, "limit": limit},
        )
        return [from_row(row) for row in await found.fetchall()]


_SEARCH = f"""
with live as materialized (
  select * from memories where {_LIVE} and embedder = %(embedder)s
), scored as (
  select live.*, greatest(0, 1 - coalesce(nullif(embedding <=> %(vector)s::vector, 'NaN'), 1)) as score from live
)
select {ROW}, score, score >= %(floor)s as near, count(*) filter (where score < %(floor)s) over ()::int as below
  from scored order by score desc, scored.created desc, scored.id limit %(limit)s
"""
_HIDDEN = f"""
select count(*) filter (where superseded_by is null and expires <= clock_timestamp())::int as expired,
       count(*) filter (where superseded_by is not null)::int as superseded,
       count(*) filter (where {_LIVE} and embedder <> %(embedder)s)::int as foreign
  from memories where scope = any(%(scopes)s)
"""


def _names(access: Access, scopes: Sequence[Scope] | None) -> list[str]:
    return [str(scope) for scope in (access.reads if scopes is None else scopes)]


def _hit(row: dict[str, Any]) -> Hit:
    score = round(float(row["score"]), 6)
    return Hit(from_row(row), score, {"cosine": score})
