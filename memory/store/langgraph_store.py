"""Memory as LangGraph's `BaseStore`, for graphs that want `store.asearch(("user", id), query=...)`; one per access.

An item is a memory whose key is its namespace and key, and whose text is its value as JSON. A namespace that begins
with `user`, `session`, `agent` or `run` and an id lies in that scope; any other lies in the access's write scope.
docs/decisions/0008-entering.md lists where this differs from LangGraph's own stores, and why.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
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

_MORE = 4
"""How many times as many memories are ranked if too few of the first are items that fit."""
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
# What somebody writes at this moment is renewed by that, and not waited for.
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
"""The same value put again counts with the life and the index that it is given now."""
"""The lock of pruning and imports: two that write many keys of one scope would wait for each other's for ever."""


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    path: Namespace
    value: dict[str, Any]
    created: datetime
    updated: datetime
    indexed: bool
    ends: bool
    """Whether it was put with a life, which reading may renew."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self | None:
        """Return the item of a row, or None if what a person wrote there cannot be read as one."""
        try:
            value = json.loads(row["body"])
        except (ValueError, RecursionError):
            return None
        path = tuple(json.loads(row["key"]))
        return cls(row["id"], path, value, row["first"], row["created"], row["indexed"], row["ends"])

    @property
    def item(self) -> Item:
        return Item(
            value=self.value,
            key=self.path[-1],
            namespace=self.path[:-1],
            created_at=self.created,
            updated_at=self.updated,
        )

    def found(self, score: float | None) -> SearchItem:
        return SearchItem(self.path[:-1], self.path[-1], self.value, self.created, self.updated, score)


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
        raise Permanent("bad_request", "a loop runs in this thread and would wait for itself; await the a... methods")

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer the reads as things are before the writes; then write all or nothing, the last of a key alone."""
        wanted = list(ops)
        answers: dict[type, Callable[[Any], Any]] = {
            GetOp: self._get,
            SearchOp: self._search,
            ListNamespacesOp: self._namespaces,
        }
        results: list[Result] = [await answers[type(op)](op) if type(op) in answers else None for op in wanted]
        puts = {(*op.namespace, op.key): op for op in wanted if isinstance(op, PutOp)}
        if puts:
            async with self._database.transaction(self._access) as connection:
                await self._put(connection, puts)
        return results

    async def _get(self, op: GetOp) -> Item | None:
        path = (*op.namespace, op.key)
        found = await self._database.rows(self._access, _GET, self._scopes(path), langgraph_items.text(path))
        rows = [item for row in found if (item := _Row.of(row))]
        await self._refresh(rows, refresh=op.refresh_ttl)
        return rows[0].item if rows else None

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        if min(op.offset, op.limit) < 0:
            raise Permanent("bad_request", f"offset {op.offset} and limit {op.limit}; neither may be negative")
        if op.query or op.filter:
            page = await self._ranked(op)
        else:
            page = [(row, None) for row in await self._rows(op.namespace_prefix, op.offset, op.limit)]
        await self._refresh([row for row, _ in page], refresh=op.refresh_ttl)
        return [row.found(score) for row, score in page]

    async def _ranked(self, op: SearchOp) -> list[tuple[_Row, float | None]]:
        every = await self._rows(op.namespace_prefix)
        rows = [row for row in every if langgraph_items.matches(row.value, op.filter or {})]
        scores = await self._scores(op, {row.id for row in rows if row.indexed})
        place = {id: number for number, id in enumerate(scores)}
        ranked = sorted(rows, key=lambda row: place.get(row.id, len(place)))
        return [(row, scores.get(row.id)) for row in ranked[op.offset : op.offset + op.limit]]

    async def _scores(self, op: SearchOp, ids: Set[str]) -> Mapping[str, float]:
        """Return the scores of the best items, best first; no more than the page needs, for what is ranked is seen."""
        limit = wanted = op.offset + op.limit
        while op.query and ids:
            found = await search.recall(
                self._database,
                self._access,
                langgraph_items.well_formed(op.query),
                limit=limit,
                scopes=[Scope.parse(scope) for scope in self._scopes(op.namespace_prefix)],
                floor=0.0,
                embedder=self._embedder,
            )
            scores = {hit.memory.id: hit.score for hit in found.hits if hit.memory.id in ids}
            if len(scores) >= wanted or len(found.hits) < limit:
                return scores
            limit *= _MORE
        return {}

    async def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        found = await self._database.rows(self._access, _KEYS, self._scopes(()))
        every = {tuple[str, ...](json.loads(row["key"])[:-1]) for row in found}
        kept = {space[: op.max_depth] for space in every if langgraph_items.meets(op.match_conditions or (), space)}
        return sorted(kept)[op.offset : op.offset + op.limit]

    async def _rows(self, prefix: Namespace, offset: int = 0, limit: int | None = None) -> list[_Row]:
        within = self._scopes(prefix), langgraph_items.prefix(prefix)
        found = await self._database.rows(self._access, _SEARCH, *within, offset, limit)
        return [item for row in found if (item := _Row.of(row))]

    async def _put(self, connection: Connection, puts: Mapping[Namespace, PutOp]) -> None:
        for path in puts:
            self._demand(path)
        if len(puts) > 1:
            await locks.hold_scope(connection, self._access.writes)
        notes = [langgraph_items.note(op, self._trust) for op in puts.values() if op.value is not None]
        gone = [[langgraph_items.text(path)] for path, op in puts.items() if op.value is None]
        await connection.cursor().executemany(_DELETE, gone)
        memories = await write.add_all(connection, self._access, notes, embedder=self._embedder)
        settled = [
            {"id": memory.id, "ttl": note.ttl, "facts": Jsonb(dict(note.provenance.facts))}
            for memory, note in zip(memories, notes, strict=True)
        ]
        await connection.cursor().executemany(_SETTLE, settled)

    def _demand(self, path: Namespace) -> None:
        scope, writes = langgraph_items.scope(path), self._access.writes
        if writes is None or scope not in (None, writes):
            who = self._access.principal.id
            raise Permanent("forbidden", f"{who!r} writes to {str(writes)!r} here, not to {path[:2]!r}; use its scope")

    def _scopes(self, prefix: Namespace) -> list[str]:
        every = dict.fromkeys((*self._access.reads, *((self._access.writes,) if self._access.writes else ())))
        scope = langgraph_items.scope(prefix)
        return [str(one) for one in every if scope in (None, one)]

    async def _refresh(self, rows: Sequence[_Row], *, refresh: bool) -> None:
        lasting = [row.id for row in rows if row.ends]
        if refresh and lasting:
            async with self._database.transaction(self._access) as connection:
                await connection.execute(_REFRESH, [lasting])
