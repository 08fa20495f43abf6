"""The store that LangGraph graphs use: as the reference behaves where that is right, and never beyond the access."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope
from memory.store import write
from memory.store.langgraph_items import matches
from memory.store.langgraph_store import MemoryStore
from memory.store.models import Provenance
from tests.conftest import Connect

pytestmark = pytest.mark.anyio

NOTES = ("user", "alice", "notes")
Make = Callable[[Principal], MemoryStore]


@pytest.fixture
def make(database: Database) -> Make:
    """Return a factory of stores by person."""
    return lambda person: MemoryStore(database, Access.of(person))


@pytest.fixture(params=["reference", "ours"])
async def any_store(request: pytest.FixtureRequest, make: Make, alice: Principal) -> BaseStore:
    """Return LangGraph's own store and ours, for what both must do alike."""
    return InMemoryStore() if request.param == "reference" else make(alice)


@pytest.fixture
async def own_store(make: Make, alice: Principal) -> MemoryStore:
    return make(alice)


async def test_what_was_put_is_got_until_it_is_deleted(any_store: BaseStore) -> None:
    value = {"text": "Grüße", "n": 1, "deep": {"list": [1, None, True]}}
    await any_store.aput(NOTES, "one", value)
    item = await any_store.aget(NOTES, "one")
    assert item is not None
    assert (item.namespace, item.key, item.value) == (NOTES, "one", value)
    await any_store.adelete(NOTES, "one")
    assert await any_store.aget(NOTES, "one") is None


async def test_another_namespace_or_key_holds_nothing(any_store: BaseStore) -> None:
    await any_store.aput(NOTES, "one", {"n": 1})
    assert await any_store.aget(NOTES, "two") is None
    assert await any_store.aget(NOTES[:2], "notes") is None
    assert await any_store.aget((*NOTES, "one"), "one") is None


async def test_the_last_put_counts(any_store: BaseStore) -> None:
    for number in range(3):
        await any_store.aput(NOTES, "one", {"n": number})
    assert [item.value for item in await any_store.asearch(NOTES)] == [{"n": 2}]


async def test_search_pages_through_a_prefix(any_store: BaseStore) -> None:
    for number in range(5):
        await any_store.aput((*NOTES, f"box{number % 2}"), f"k{number}", {"n": number})
    pages = [await any_store.asearch(NOTES, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert {item.key for page in pages for item in page} == {f"k{number}" for number in range(5)}
    assert await any_store.asearch(("user", "ali")) == []


@pytest.mark.parametrize(
    ("conditions", "keys"),
    [
        ({"kind": "a"}, {"k0", "k2"}),
        ({"kind": "a", "n": {"$gt": 0}}, {"k2"}),
        ({"n": {"$gte": 1, "$lt": 3}}, {"k1", "k2"}),
        ({"n": {"$ne": 1}}, {"k0", "k2", "k3"}),
        ({"deep": {"tag": "x0"}}, {"k0"}),
        ({"list": [1, 2]}, {"k0", "k1", "k2", "k3"}),
        ({"list": [2, 1]}, set[str]()),
    ],
)
async def test_filters_choose_alike(any_store: BaseStore, conditions: dict[str, Any], keys: set[str]) -> None:
    for n in range(4):
        await any_store.aput(NOTES, f"k{n}", {"n": n, "kind": "ab"[n % 2], "deep": {"tag": f"x{n}"}, "list": [1, 2]})
    assert {item.key for item in await any_store.asearch(NOTES, filter=conditions)} == keys


async def test_namespaces_are_listed_by_their_ends(any_store: BaseStore) -> None:
    for tail in (("a", "x"), ("a", "y"), ("b", "x")):
        await any_store.aput(("user", "alice", *tail), "k", {"n": 1})
    list_spaces = any_store.alist_namespaces
    assert await list_spaces(prefix=("user", "*", "a")) == [("user", "alice", "a", "x"), ("user", "alice", "a", "y")]
    assert await list_spaces(suffix=("x",)) == [("user", "alice", "a", "x"), ("user", "alice", "b", "x")]
    assert await list_spaces(max_depth=3) == [("user", "alice", "a"), ("user", "alice", "b")]
    assert await list_spaces(max_depth=3, limit=1, offset=1) == [("user", "alice", "b")]


async def test_reads_of_a_batch_come_before_its_writes_and_the_last_write_counts(any_store: BaseStore) -> None:
    puts = [PutOp(NOTES, "one", {"n": number}) for number in range(3)]
    assert await any_store.abatch([GetOp(NOTES, "one"), *puts]) == [None, None, None, None]
    item = await any_store.aget(NOTES, "one")
    assert item is not None
    assert item.value == {"n": 2}


@pytest.mark.parametrize("namespace", [(), ("",), ("a.b",), ("langgraph", "x")])
async def test_a_malformed_namespace_is_refused(any_store: BaseStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        await any_store.aput(namespace, "k", {"n": 1})


@pytest.mark.parametrize("namespace", [("docs.a",), ("docs", ""), ("docs", 1)])
async def test_a_malformed_namespace_of_any_operation_is_refused_before_anything_is_done(
    own_store: MemoryStore, namespace: tuple[Any, ...]
) -> None:
    operations: list[Op] = [
        *(GetOp(namespace, "k"), PutOp(namespace, "k", {"n": 1}), PutOp(namespace, "k", None), SearchOp(namespace)),
        *(ListNamespacesOp((MatchCondition(side, namespace),)) for side in ("prefix", "suffix")),
    ]
    for operation in operations:
        with pytest.raises(InvalidNamespaceError):
            await own_store.abatch([PutOp(NOTES, "one", {"n": 1}), operation])
    assert await own_store.asearch(()) == []


async def test_synchronous_calls_work_from_a_thread(any_store: BaseStore) -> None:
    def use() -> list[dict[str, Any]]:
        any_store.put(NOTES, "one", {"n": 1})
        assert any_store.list_namespaces() == [NOTES]
        return [item.value for item in any_store.search(NOTES)]

    assert await asyncio.to_thread(use) == [{"n": 1}]


async def test_a_synchronous_call_inside_the_loop_says_what_to_do(own_store: MemoryStore) -> None:
    with pytest.raises(Permanent, match="await the a") as refusal:
        own_store.get(NOTES, "one")
    assert isinstance(refusal.value, asyncio.InvalidStateError)


async def test_words_rank_and_the_rest_follows_unranked(own_store: MemoryStore) -> None:
    """Without an index the reference ranks nothing; ours always can."""
    for key, text in {"tea": "I like green tea", "car": "my car is red"}.items():
        await own_store.aput(NOTES, key, {"text": text})
    hits = await own_store.asearch(NOTES, query="which tea")
    assert hits[0].key == "tea"
    assert hits[0].score is not None
    assert hits[0].score > (hits[1].score or 0)


async def test_a_score_lies_between_0_and_1_and_does_not_depend_on_what_else_is_there(own_store: MemoryStore) -> None:
    """A lone item has one too, so that a threshold means the same in every scope."""

    async def score(query: str) -> float:
        page = await own_store.asearch(NOTES, query=query, limit=100)
        return {item.key: item.score or 0.0 for item in page}["tea"]

    await own_store.aput(NOTES, "tea", {"text": "green tea"})
    queries = ("text green tea", "green tea", "tea!@#$%^&*()", "nothing of that kind")
    alone = [await score(query) for query in queries]
    assert alone == sorted(alone, reverse=True)
    assert (alone[0], len({*alone})) == (1.0, len(alone))
    for number in range(20):
        await own_store.aput(NOTES, f"k{number}", {"text": f"tea number {number}"})
    assert [await score(query) for query in queries] == alone


async def test_code_written_for_the_postgres_store_of_langgraph_may_start_and_stop_its_sweeper(
    own_store: MemoryStore,
) -> None:
    """What ended is never read, so there is nothing to sweep for."""
    await (await own_store.start_ttl_sweeper())
    assert (await own_store.sweep_ttl(), await own_store.stop_ttl_sweeper()) == (0, True)


@pytest.mark.parametrize(
    ("value", "conditions", "fits"),
    [
        ({"n": 10}, {"n": {"$gt": 9}}, True),
        ({"n": "10"}, {"n": {"$gt": 9}}, False),
        ({"n": "b"}, {"n": {"$gt": "a"}}, True),
        ({}, {"n": {"$gt": 1}}, False),
        ({"n": True}, {"n": {"$gte": 1}}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": None}, {"n": None}, True),
        ({"n": 1}, {"n": {"$eq": 1.0}}, True),
        ({"n": {"a": 1}}, {"n": {"a": {"$lt": 2}}}, True),
        ({"n": 1}, {"n": [1]}, False),
    ],
)
def test_values_compare_as_what_they_are(value: Mapping[str, Any], conditions: Mapping[str, Any], fits: bool) -> None:
    """The reference turns everything into floats: it finds "10" above 9, and fails on a missing or a worded value."""
    assert matches(value, conditions) is fits


def test_an_unknown_operator_is_named() -> None:
    with pytest.raises(Permanent, match=r"'\$in'"):
        matches({"n": 1}, {"n": {"$in": [1]}})


async def test_an_expired_item_is_gone_and_reading_renews_it(
    own_store: MemoryStore, superuser: Connect, tenant: str
) -> None:
    await own_store.aput(NOTES, "one", {"n": 1}, ttl=10)
    await _shift(superuser, tenant, "+ interval '1 second'")
    assert await own_store.aget(NOTES, "one", refresh_ttl=True)
    async with superuser() as above:
        cursor = await above.execute(
            "select expires > clock_timestamp() + interval '9 minutes' as renewed from memories where tenant = %s",
            [tenant],
        )
        assert await cursor.fetchall() == [{"renewed": True}]
    await _shift(superuser, tenant, "- interval '1 second'")
    assert await own_store.aget(NOTES, "one") is None
    assert await own_store.asearch(()) == []


async def _shift(superuser: Connect, tenant: str, to: str) -> None:
    async with superuser() as above:
        await above.execute(
            f"update memories set expires = clock_timestamp() {to} where tenant = %s".encode(), [tenant]
        )


async def test_the_same_value_counts_with_its_new_life(own_store: MemoryStore, superuser: Connect, tenant: str) -> None:
    for ttl in (60.0, 1.0):
        await own_store.aput(NOTES, "one", {"n": 1}, ttl=ttl)
    async with superuser() as above:
        cursor = await above.execute(
            "select expires < clock_timestamp() + interval '2 minutes' as soon from memories where tenant = %s",
            [tenant],
        )
        assert await cursor.fetchall() == [{"soon": True}]


async def test_neither_an_empty_prefix_nor_a_forged_one_shows_another_person(
    make: Make, alice: Principal, bob: Principal
) -> None:
    """R92: on purpose unlike the reference, whose empty prefix is everybody's."""
    await make(alice).aput(NOTES, "one", {"n": 1})
    await make(alice).aput(("docs",), "two", {"n": 2})
    other = make(bob)
    for prefix in ((), NOTES, ("user",), ("user", "alice"), ("docs",)):
        assert await other.asearch(prefix, query="n") == []
    assert await other.alist_namespaces() == []
    assert await other.aget(NOTES, "one") is None
    assert len(await make(alice).asearch(())) == 2


async def test_nobody_writes_outside_the_write_scope(make: Make, bob: Principal) -> None:
    """R92"""
    for namespace in (NOTES, ("agent", "shared"), ("run", "r1")):
        with pytest.raises(Permanent, match="writes to 'user:bob' here"):
            await make(bob).aput(namespace, "k", {"n": 1})


async def test_memories_of_other_makers_are_no_items(
    own_store: MemoryStore, database: Database, alice: Principal
) -> None:
    access = Access(alice, alice.reads, Scope("user", "alice"))
    await write.remember(database, access, "plain text", trust="human", provenance=Provenance(), key="plain")
    assert await own_store.asearch(()) == []


@pytest.mark.parametrize("value", [{"n": float("nan")}, {"n": object()}, {"text": "x" * 9000}])
async def test_a_value_that_cannot_be_kept_is_refused(own_store: MemoryStore, value: dict[str, Any]) -> None:
    with pytest.raises(Permanent):
        await own_store.aput(NOTES, "one", value)
