"""What is remembered in a user, session, agent or run scope; called by the API, the archive and the flow.

Scopes come from the `Access`, never from arguments: row security shows and takes only what the access was entered with.
Search is exact inside the scopes, and a row is findable as soon as `remember` returns.
"""

from collections.abc import Sequence
from datetime import datetime

from memory.database import Database
from memory.forgetting import erase_run, forget, sweep
from memory.remembered import ROW, Memory, from_row
from memory.scope import Access, Scope
from memory.search import LIVE, recall
from memory.writing import add, add_all, remember

__all__ = ["add", "add_all", "erase_run", "forget", "ls", "recall", "remember", "sweep"]


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
