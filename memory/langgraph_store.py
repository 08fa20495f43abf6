"""Memory as LangGraph's `BaseStore`, for graphs that want `store.asearch(("user", id), query=...)`; one per access.

An item is a memory whose key is its namespace and key, and whose text is its value as JSON. A namespace that begins
with `user`, `session`, `agent` or `run` and an id lies in that scope; any other lies in the access's write scope.
docs/decisions/0008-entering.md lists where this differs from LangGraph's own stores, and why.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

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

from memory import filters, store
from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder
from memory.errors import Permanent
from memory.remembered import Note, Provenance, Trust
from memory.scope import Access, Kind, Scope

Namespace = tuple[str, ...]

_RANKED = 1000
"""How many items a search by words ranks; what lies further down comes unranked after them."""
_ITEMS = """
select m.id::text, m.key, m.body, m.created, coalesce((
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
_EXPIRE = "update memories set expires = clock_timestamp() + %s::interval where id = %s::uuid"


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    path: Namespace
    value: dict[str, Any]
    created: datetime
    updated: datetime

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
        scores = await self._scores(op)
        ranked = sorted(rows, key=lambda row: -scores.get(row.id, -1.0))
        page = ranked[op.offset : op.offset + op.limit]
        await self._refresh(page, refresh=op.refresh_ttl)
        return [row.found(scores.get(row.id)) for row in page]

    async def _scores(self, op: SearchOp) -> Mapping[str, float]:
        if not op.query:
            return {}
        found = await store.recall(
            self._database,
            self._access,
            op.query,
            limit=_RANKED,
            scopes=self._scopes(op.namespace_prefix),
            floor=0.0,
            embedder=self._embedder,
        )
        return {hit.memory.id: hit.score for hit in found.hits}

    async def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        every = {row.path[:-1] for row in await self._rows(())}
        kept = {space for space in every if all(_meets(condition, space) for condition in op.match_conditions or ())}
        return sorted({space[: op.max_depth] for space in kept})[op.offset : op.offset + op.limit]

    async def _rows(self, prefix: Namespace) -> list[_Row]:
        values = {"scopes": [str(scope) for scope in self._scopes(prefix)], "prefix": _prefix(prefix)}
        async with self._database.transaction(self._access) as connection:
            found = await (await connection.execute(_ITEMS.encode(), values)).fetchall()
        return [
            _Row(row["id"], tuple(json.loads(row["key"])), json.loads(row["body"]), row["first"], row["created"])
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
        facts = {} if ttl is None else {"ttl": ttl.total_seconds()}
        note = Note(_json(path, op.value), self._trust, Provenance(facts=facts), key=_text(path), ttl=ttl)
        memory = await store.add(connection, self._access, note, embedder=self._embedder)
        # The same value put again counts with the life it is given now, be it shorter.
        await connection.execute(_EXPIRE, [ttl, memory.id])

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


def _meets(condition: MatchCondition, space: Namespace) -> bool:
    path = condition.path
    if len(path) > len(space):
        return False
    part = space[: len(path)] if condition.match_type == "prefix" else space[len(space) - len(path) :]
    return all(wanted in ("*", there) for wanted, there in zip(path, part, strict=True))
