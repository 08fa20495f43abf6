"""LangGraph's own store and ours do the same, whatever is done to them; what differs on purpose is in decision 0008."""

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from langgraph.store.base import BaseStore, Item, Op, PutOp
from langgraph.store.memory import InMemoryStore

from memory.postgres.database import Database
from memory.scope import Access, Principal
from memory.store.langgraph_store import MemoryStore

pytestmark = pytest.mark.anyio

SPACES = [("user", "alice", "a"), ("user", "alice", "a", "x"), ("user", "alice", "b"), ("docs",), ("docs", "a", "x")]
PREFIXES = [(), ("user",), ("user", "alice"), *SPACES, ("nothing",)]
FILTERS: list[dict[str, Any] | None] = [
    *(None, {}, {"n": 3}, {"n": {"$eq": 3}}, {"n": {"$ne": 3}}, {"n": {"$gt": 2}}, {"n": {"$gte": 2, "$lt": 6}}),
    *({"n": {"$lte": 4.5}}, {"word": "red"}, {"word": {"$eq": "red"}}, {"word": {"$ne": "red"}}, {"none": None}),
    *({"deep": {"n": 1}}, {"deep": {"$eq": {"n": 1}}}, {"deep": {"$ne": {"n": 1}}}, {"deep": {"n": {"$gt": 0}}}),
    *({"list": [1, 2]}, {"list": {"$eq": [2, 1]}}, {"deep": {"word": "red", "n": 2}}, {"n": {"$gt": 1}, "word": "red"}),
]
LISTINGS: list[dict[str, Any]] = [
    *({}, {"prefix": ("user",)}, {"prefix": ("user", "*", "a")}, {"prefix": ("*",)}, {"suffix": ("x",)}),
    *({"suffix": ("*", "x")}, {"prefix": ("docs",), "suffix": ("x",)}, {"max_depth": 1}, {"max_depth": 3}),
    *({"max_depth": 2, "limit": 1, "offset": 1}, {"prefix": ("user",), "max_depth": 3}, {"limit": 2, "offset": 1}),
]


def value(rng: random.Random) -> dict[str, Any]:
    """Return a value with a number, and perhaps with more."""
    options = {
        "word": rng.choice(["red", "blue", "Größe", ""]),
        "deep": {"n": rng.randrange(3), **rng.choice([{}, {"word": "red"}])},
        "list": rng.choice([[1, 2], [2, 1], []]),
        "none": None,
        "flag": rng.random() < 0.5,
    }
    return {"n": rng.randrange(8), **{key: options[key] for key in options if rng.random() < 0.7}}


def batch(rng: random.Random) -> list[Op]:
    """Return some writes at once; of those to one key the last counts."""
    return [
        PutOp(rng.choice(SPACES), f"k{rng.randrange(5)}", None if rng.random() < 0.3 else value(rng))
        for _ in range(rng.randrange(1, 5))
    ]


def contents(items: Iterable[Item]) -> dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]]:
    """Return items by namespace in their order; between namespaces the reference's order is that of its dictionary."""
    by_space: defaultdict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for item in items:
        by_space[item.namespace].append((item.key, item.value))
    return dict(by_space)


async def list_spaces(reference: BaseStore, **options: Any) -> list[tuple[str, ...]]:
    """Return the namespaces that hold something; the reference also lists those that it was merely asked about."""
    fresh = InMemoryStore()
    for item in await reference.asearch((), limit=1000):
        await fresh.aput(item.namespace, item.key, item.value)
    return await fresh.alist_namespaces(**options)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_put_and_deleted_both_stores_tell_the_same(
    database: Database, alice: Principal, seed: int
) -> None:
    """R93: two hundred steps; values, order, filters, pages and namespaces."""
    rng = random.Random(seed)
    reference, own_store = InMemoryStore(), MemoryStore(database, Access.of(alice))
    for _ in range(50):
        operations = batch(rng)
        assert await own_store.abatch(operations) == await reference.abatch(operations)
        space, key = rng.choice(SPACES), f"k{rng.randrange(5)}"
        items = [await store.aget(space, key) for store in (reference, own_store)]
        assert contents(filter(None, items[:1])) == contents(filter(None, items[1:]))
        prefix, conditions, options = rng.choice(PREFIXES), rng.choice(FILTERS), rng.choice(LISTINGS)
        pages = [await store.asearch(prefix, filter=conditions, limit=1000) for store in (reference, own_store)]
        assert contents(pages[0]) == contents(pages[1])
        page: dict[str, Any] = {"filter": conditions, "limit": rng.randrange(1, 5), "offset": rng.randrange(5)}
        assert len(await own_store.asearch(prefix, **page)) == len(await reference.asearch(prefix, **page))
        assert await own_store.alist_namespaces(**options) == await list_spaces(reference, **options)


@pytest.mark.parametrize("seed", range(3))
async def test_pages_put_together_are_the_whole(database: Database, alice: Principal, seed: int) -> None:
    """R93: with words and without, no item twice and none left out."""
    rng = random.Random(seed)
    own_store = MemoryStore(database, Access.of(alice))
    await own_store.abatch([PutOp(SPACES[n % 5], f"k{n}", {"text": f"{rng.choice('ab')} tea {n}"}) for n in range(23)])
    for query in (None, "tea", "a", "nothing of it"):
        ranking = [(item.key, item.score) for item in await own_store.asearch((), query=query, limit=100)]
        pages = [await own_store.asearch((), query=query, limit=7, offset=start) for start in range(0, 28, 7)]
        assert [(item.key, item.score) for page in pages for item in page] == ranking
        assert len(ranking) == 23
