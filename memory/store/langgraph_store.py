"""Memory as LangGraph's `BaseStore`, for graphs that want `store.asearch(("user", id), query=...)`; one per access.

An item is a memory whose key is its namespace and key, and whose text is its value as JSON. A namespace that begins
with `user`, `session`, `agent` or `run` and an id lies in that scope; any other lies in the access's write scope.
docs/decisions/0008-entering.md lists where this differs from LangGraph's own stores, and why.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)
from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres import locks
from memory.postgres.database import Connection, Database
from memory.scope import Access, Scope, Trust
from memory.store import langgraph_items, search, write
from memory.store.langgraph_items import Namespace

_GROWTH = 4
"""Factor by which more memories are ranked each time, while too few of them are items that meet the filter."""
_ITEMS = """
select m.id::text, m.key, m.body, m.created, m.provenance -> 'facts' -> 'index' is null as indexed,
       m.provenance -> 'facts' ? 'ttl' as ends,
       (select min(o.created) from memories o where o.scope = m.scope and o.key = m.key) as first
  from memories m
 where m.scope = any(%s) and m.superseded_by is null and (m.expires is null or m.expires > clock_timestamp())
   and is_item(m.key, m.body)
"""
_GET = f"{_ITEMS} and m.key = %s order by m.scope = any(current_writes()) desc, m.created limit 1"
"""Where two scopes hold an item under one path, the access's own counts."""
_SEARCH = f"{_ITEMS} and starts_with(m.key, %s) order by first, m.id offset %s limit %s"
_KEYS = """
select m.key from memories m where m.scope = any(%s) and starts_with(m.key, '["') and m.superseded_by is null
   and (m.expires is null or m.expires > clock_timestamp()) and is_item(m.key, m.body)
"""
_DELETE = "delete from memories where scope = any(current_writes()) and key = %s and is_item(key, body)"
# A row that another transaction is writing is skipped: the write renews it.
_REFRESH = """
update memories set expires = clock_timestamp() + make_interval(secs => (provenance -> 'facts' ->> 'ttl')::float8)
 where id in (select id from memories where id = any(%s::uuid[]) and scope = any(current_writes())
                for update skip locked)
"""
_SETTLE = """
update memories set provenance = jsonb_set(provenance, '{facts}', %(facts)s),
       expires = case when %(ttl)s::interval is null and scope_kind = 'run' then expires
                      else clock_timestamp() + %(ttl)s::interval end
 where id = %(id)s::uuid and told > 1
"""
"""A value put again has the time to live and the index of its latest put."""
"""The lock of pruning and imports: two that write many keys of one scope would wait for each other's for ever."""


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item, read from the row of its memory."""

    id: str
    path: Namespace
    value: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    is_searchable: bool
    has_ttl: bool
    """Whether it was put with a time to live, which reading may renew."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self | None:
        """Return the item of a row, or None if a person wrote there what is no JSON."""
        try:
            value = json.loads(row["body"])
        except (ValueError, RecursionError):
            return None
        path = tuple(json.loads(row["key"]))
        return cls(row["id"], path, value, row["first"], row["created"], row["indexed"], row["ends"])

    @property
    def item(self) -> Item:
        """Return the item as LangGraph's `get` answers it."""
        return Item(
            value=self.value,
            key=self.path[-1],
            namespace=self.path[:-1],
            created_at=self.created_at,
            updated_at=self.updated_at,
        )

    def search_item(self, score: float | None) -> SearchItem:
        """Return the item as LangGraph's `search` answers it."""
        return SearchItem(self.path[:-1], self.path[-1], self.value, self.created_at, self.updated_at, score)


class CalledInsideLoop(Permanent, asyncio.InvalidStateError):
    """A synchronous call from the loop's own thread; LangGraph's Postgres store raises `InvalidStateError` for it."""


class MemoryStore(BaseStore):
    """What one access may read and write, as a LangGraph store; made inside the running loop, or given it.

    Its synchronous methods work from other threads, as LangGraph calls them from synchronous nodes.
    """

    supports_ttl = True

    def __init__(
        self,
        database: Database,
        access: Access,
        *,
        trust: Trust = "tool",
        ttl: TTLConfig | None = None,
        embedder: Embedder = LEXICAL,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._database = database
        self._access = access
        self._trust: Trust = trust
        self._embedder = embedder
        self._loop = loop or asyncio.get_running_loop()
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do what `abatch` does, from a thread that runs no loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()
        raise CalledInsideLoop(
            "bad_request", "a loop runs in this thread and would wait for itself; await the a... methods"
        )

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer all reads, then write all puts or none; of several puts to one key only the last counts.

        Raises InvalidNamespaceError for a label that is empty, no text, or has a period, before anything is done.
        """
        operations = list(ops)
        for op in operations:
            validate_op_namespace(op)
        results = [await self._read(op) for op in operations]
        puts = {(*op.namespace, op.key): op for op in operations if isinstance(op, PutOp)}
        if puts:
            async with self._database.transaction(self._access) as connection:
                await self._put(connection, puts)
        return results

    async def _read(self, op: Op) -> Result:
        readers: dict[type, Callable[[Any], Awaitable[Result]]] = {
            GetOp: self._get,
            SearchOp: self._search,
            ListNamespacesOp: self._namespaces,
        }
        return await readers[type(op)](op) if type(op) in readers else None

    async def sweep_ttl(self) -> int:
        """Return 0, for code written for LangGraph's Postgres store: reading skips what ended, a duty deletes it."""
        return 0

    async def start_ttl_sweeper(self, sweep_interval_minutes: int | None = None) -> asyncio.Task[None]:
        """Return a task that has nothing to do, for code written for LangGraph's Postgres store."""
        return asyncio.create_task(asyncio.sleep(0))

    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # LangGraph's name
        """Return True: no sweeper runs."""
        return True

    async def _get(self, op: GetOp) -> Item | None:
        path = (*op.namespace, op.key)
        rows = await self._database.rows(self._access, _GET, self._scopes(path), langgraph_items.text(path))
        rows = [item for row in rows if (item := ItemRow.of(row))]
        await self._refresh(rows, refresh=op.refresh_ttl)
        return rows[0].item if rows else None

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        if min(op.offset, op.limit) < 0:
            raise Permanent("bad_request", f"offset {op.offset} and limit {op.limit}; neither may be negative")
        if op.query or op.filter:
            page = await self._rank(op)
        else:
            page = [(row, None) for row in await self._rows(op.namespace_prefix, op.offset, op.limit)]
        await self._refresh([row for row, _ in page], refresh=op.refresh_ttl)
        return [row.search_item(score) for row, score in page]

    async def _rank(self, op: SearchOp) -> list[tuple[ItemRow, float | None]]:
        candidates = await self._rows(op.namespace_prefix)
        rows = [row for row in candidates if langgraph_items.matches(row.value, op.filter or {})]
        scores = await self._scores(op, {row.id for row in rows if row.is_searchable})
        ranks = {id: number for number, id in enumerate(scores)}
        ordered_rows = sorted(rows, key=lambda row: ranks.get(row.id, len(ranks)))
        return [(row, scores.get(row.id)) for row in ordered_rows[op.offset : op.offset + op.limit]]

    async def _scores(self, op: SearchOp, ids: Set[str]) -> Mapping[str, float]:
        """Return the similarity of the best items, best first; no more than the page needs, since a run sees them."""
        limit = page_end = op.offset + op.limit
        while op.query and ids:
            result = await search.recall(
                self._database,
                self._access,
                langgraph_items.require_text(op.query),
                limit=limit,
                scopes=[Scope.parse(scope) for scope in self._scopes(op.namespace_prefix)],
                relevance="any",
                embedder=self._embedder,
            )
            scores = {hit.memory.id: hit.similarity for hit in result.hits if hit.memory.id in ids}
            if len(scores) >= page_end or len(result.hits) < limit:
                return scores
            limit *= _GROWTH
        return {}

    async def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        rows = await self._database.rows(self._access, _KEYS, self._scopes(()))
        namespaces = {tuple[str, ...](json.loads(row["key"])[:-1]) for row in rows}
        prefixes = {
            space[: op.max_depth] for space in namespaces if langgraph_items.meets(op.match_conditions or (), space)
        }
        return sorted(prefixes)[op.offset : op.offset + op.limit]

    async def _rows(self, prefix: Namespace, offset: int = 0, limit: int | None = None) -> list[ItemRow]:
        within = self._scopes(prefix), langgraph_items.prefix(prefix)
        rows = await self._database.rows(self._access, _SEARCH, *within, offset, limit)
        return [item for row in rows if (item := ItemRow.of(row))]

    async def _put(self, connection: Connection, puts: Mapping[Namespace, PutOp]) -> None:
        for path in puts:
            self._require_writable(path)
        if len(puts) > 1:
            await locks.hold_scope(connection, self._access.writes)
        notes = [langgraph_items.note(op, self._trust) for op in puts.values() if op.value is not None]
        deletions = [[langgraph_items.text(path)] for path, op in puts.items() if op.value is None]
        await connection.cursor().executemany(_DELETE, deletions)
        memories = await write.add_notes(connection, self._access, notes, embedder=self._embedder)
        settings = [
            {"id": memory.id, "ttl": note.ttl, "facts": Jsonb(dict(note.provenance.facts))}
            for memory, note in zip(memories, notes, strict=True)
        ]
        await connection.cursor().executemany(_SETTLE, settings)

    def _require_writable(self, path: Namespace) -> None:
        scope, writes = langgraph_items.scope(path), self._access.writes
        if writes is None or scope not in (None, writes):
            principal = self._access.principal.id
            raise Permanent(
                "forbidden", f"{principal!r} writes to {str(writes)!r} here, not to {path[:2]!r}; use its scope"
            )

    def _scopes(self, prefix: Namespace) -> list[str]:
        scopes = dict.fromkeys((*self._access.reads, *((self._access.writes,) if self._access.writes else ())))
        scope = langgraph_items.scope(prefix)
        return [str(candidate) for candidate in scopes if scope in (None, candidate)]

    async def _refresh(self, rows: Sequence[ItemRow], *, refresh: bool) -> None:
        ids = [row.id for row in rows if row.has_ttl]
        if refresh and ids:
            async with self._database.transaction(self._access) as connection:
                await connection.execute(_REFRESH, [ids])
