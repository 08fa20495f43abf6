"""Memory as LangGraph's `BaseStore`, for graphs that want `store.asearch(("user", id), query=...)`; one per access.

An item is a memory whose key is its namespace and key, and whose text is its value as JSON. A namespace that begins
with `user`, `session`, `agent` or `run` and an id lies in that scope; any other lies in the access's write scope.
docs/decisions/0008-entering.md lists where this differs from LangGraph's own stores, and why.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
)
from psycopg.types.json import Jsonb

from memory import filters, store
from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder
from memory.errors import Permanent
from memory.remembered import Note, Provenance, Trust
from memory.scope import Access, Kind, Scope

Namespace = tuple[str, ...]

_MORE = 4
"""How many times as many memories are ranked if too few of the first are items that fit."""
_ITEMS = """
select m.id::text, m.key, m.body, m.created, m.provenance -> 'facts' -> 'index' is null as indexed, coalesce((
         select min(o.created) from memories o where o.scope = m.scope and o.key = m.key), m.created) as first
  from memories m
 where m.scope = any(%(scopes)s) and starts_with(m.key, %(prefix)s) and m.superseded_by is null
   and (m.expires is null or m.expires > clock_timestamp())
 order by first, m.id
"""
_REFRESH = """
update memories set expires = clock_timestamp() + make_interval(secs => (provenance -> 'facts' ->> 'ttl')::float8)
 where id = any(%s::uuid[]) and provenance -> 'facts' ? 'ttl' and scope = any(current_writes())
"""
_SETTLE = """
update memories set provenance = jsonb_set(provenance, '{facts}', %(facts)s),
       expires = case when %(ttl)s::interval is null and scope_kind = 'run' then expires
                      else clock_timestamp() + %(ttl)s::interval end
 where id = %(id)s::uuid
"""
"""The same value put again counts with the life and the index that it is given now."""


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    path: Namespace
    value: dict[str, Any]
    created: datetime
    updated: datetime
    indexed: bool

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
    """What one access may read and write, as a LangGraph store; made inside the running loop.

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
    ) -> None:
        self._database = database
        self._access = access
        self._trust: Trust = trust
        self._embedder = embedder
        self._loop = asyncio.get_running_loop()
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
                for path, op in puts.items():
                    await self._put(connection, path, op)
        return results

    async def _get(self, op: GetOp) -> Item | None:
        path = _text((*op.namespace, op.key))
        rows = [row for row in await self._rows(op.namespace) if _text(row.path) == path]
        await self._refresh(rows, refresh=op.refresh_ttl)
        return rows[0].item if rows else None

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        rows = [row for row in await self._rows(op.namespace_prefix) if filters.matches(row.value, op.filter or {})]
        scores = await self._scores(op, {row.id for row in rows if row.indexed})
        place = {id: number for number, id in enumerate(scores)}
        ranked = sorted(rows, key=lambda row: place.get(row.id, len(place)))
        page = ranked[op.offset : op.offset + op.limit]
        await self._refresh(page, refresh=op.refresh_ttl)
        return [row.found(scores.get(row.id)) for row in page]

    async def _scores(self, op: SearchOp, ids: Set[str]) -> Mapping[str, float]:
        """Return the scores of the best items, best first; no more than the page needs, for what is ranked is seen."""
        limit = wanted = op.offset + op.limit
        while op.query and ids:
            found = await store.recall(
                self._database,
                self._access,
                op.query,
                limit=limit,
                scopes=self._scopes(op.namespace_prefix),
                floor=0.0,
                embedder=self._embedder,
            )
            scores = {hit.memory.id: hit.score for hit in found.hits if hit.memory.id in ids}
            if len(scores) >= wanted or len(found.hits) < limit:
                return scores
            limit *= _MORE
        return {}

    async def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        every = {row.path[:-1] for row in await self._rows(())}
        kept = {space for space in every if all(_meets(condition, space) for condition in op.match_conditions or ())}
        return sorted({space[: op.max_depth] for space in kept})[op.offset : op.offset + op.limit]

    async def _rows(self, prefix: Namespace) -> list[_Row]:
        values = {"scopes": [str(scope) for scope in self._scopes(prefix)], "prefix": _prefix(prefix)}
        async with self._database.transaction(self._access) as connection:
            found = await (await connection.execute(_ITEMS.encode(), values)).fetchall()
        return [
            _Row(
                row["id"],
                tuple(json.loads(row["key"])),
                json.loads(row["body"]),
                row["first"],
                row["created"],
                row["indexed"],
            )
            for row in found
        ]

    async def _put(self, connection: Connection, path: Namespace, op: PutOp) -> None:
        self._demand(path)
        if op.value is None:
            await connection.execute(
                "delete from memories where scope = any(current_writes()) and key = %s", [_text(path)]
            )
            return
        ttl = None if op.ttl is None else timedelta(minutes=op.ttl)
        facts: dict[str, Any] = {} if ttl is None else {"ttl": ttl.total_seconds()}
        facts |= {} if _is_indexed(path, op.index) else {"index": False}
        note = Note(_json(path, op.value), self._trust, Provenance(facts=facts), key=_text(path), ttl=ttl)
        memory = await store.add(connection, self._access, note, embedder=self._embedder)
        await connection.execute(_SETTLE, {"id": memory.id, "ttl": ttl, "facts": Jsonb(facts)})

    def _demand(self, path: Namespace) -> None:
        scope, writes = _scope(path), self._access.writes
        if writes is None or scope not in (None, writes):
            who = self._access.principal.id
            raise Permanent("forbidden", f"{who!r} writes to {str(writes)!r} here, not to {path[:2]!r}; use its scope")

    def _scopes(self, prefix: Namespace) -> Sequence[Scope]:
        every = dict.fromkeys((*self._access.reads, *((self._access.writes,) if self._access.writes else ())))
        scope = _scope(prefix)
        return [one for one in every if scope in (None, one)]

    async def _refresh(self, rows: Sequence[_Row], *, refresh: bool) -> None:
        if refresh and rows:
            async with self._database.transaction(self._access) as connection:
                await connection.execute(_REFRESH, [[row.id for row in rows]])


def _scope(path: Namespace) -> Scope | None:
    if len(path) < 2 or not path[1] or path[0] not in get_args(Kind):
        return None
    return Scope.parse(f"{path[0]}:{path[1]}")


def _text(path: Namespace) -> str:
    return json.dumps(path, ensure_ascii=False, separators=(",", ":"))


def _prefix(namespace: Namespace) -> str:
    return f"{_text(namespace)[:-1]}," if namespace else '["'


def _json(path: Namespace, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Permanent("bad_request", f"the value of {path!r} is no JSON: {error}") from error


def _is_indexed(path: Namespace, index: Literal[False] | list[str] | None) -> bool:
    if index is False or index is None or index == ["$"]:
        return index is not False
    raise Permanent("bad_request", f"{path!r} cannot be found by {index!r} alone; leave index out, or pass False")


def _meets(condition: MatchCondition, space: Namespace) -> bool:
    path = condition.path
    if len(path) > len(space):
        return False
    part = space[: len(path)] if condition.match_type == "prefix" else space[len(space) - len(path) :]
    return all(wanted in ("*", there) for wanted, there in zip(path, part, strict=True))
