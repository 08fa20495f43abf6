"""What others keep, do at the same time, or ask of the store by mistake, and that its items stay whole."""

import asyncio
import random
from typing import Any

import pytest
from langgraph.store.base import GetOp, InvalidNamespaceError, Op, PutOp, SearchOp

from memory.errors import ControlError, Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope
from memory.store import pruning, search, transfer, write
from memory.store.langgraph_store import MemoryStore
from memory.store.models import Provenance

pytestmark = pytest.mark.anyio

NOTES = ("user", "alice", "notes")


@pytest.fixture
async def own_store(database: Database, alice: Principal) -> MemoryStore:
    return MemoryStore(database, Access.of(alice))


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ('["a","b"]', "hello"),
        ('["user","alice","z"]', "hello"),
        ('["user","alice","z"]', "[1, 2]"),
        ('["user",1]', "{}"),
        ('["user"]', "{}"),
        ('["user", "spaced"]', "{}"),
        ('["user","a\nb"]', "{}"),
        (r'["user","\ud800"]', "{}"),
        (r'["user","\u0041"]', "{}"),
        ('["user","alice"', "{}"),
        ('["user","alice","deep"]', '{"a":' + "[" * 2000 + "]" * 2000 + "}"),
    ],
)
async def test_what_a_person_keeps_under_a_key_that_looks_alike_is_no_item(
    own_store: MemoryStore, database: Database, alice: Principal, key: str, body: str
) -> None:
    await own_store.aput(NOTES, "one", {"n": 1})
    await write.remember(database, Access.of(alice), body, trust="human", provenance=Provenance(), key=key)
    for page in (
        await own_store.asearch(()),
        await own_store.asearch(("user",), filter={"n": 1}),
        await own_store.asearch(NOTES),
    ):
        assert [(item.key, item.value) for item in page] == [("one", {"n": 1})]
    assert await own_store.aget(("user", "alice"), "z") is None
    assert NOTES in await own_store.alist_namespaces()


async def test_deleting_an_item_leaves_what_a_person_keeps_there(
    own_store: MemoryStore, database: Database, alice: Principal
) -> None:
    access = Access.of(alice)
    await write.remember(database, access, "hello", trust="human", provenance=Provenance(), key='["user","alice","z"]')
    await own_store.adelete(("user", "alice"), "z")
    assert [memory.body for memory in await search.ls(database, access)] == ["hello"]


@pytest.mark.parametrize("value", [[1, 2], "text", 5, ("a", 1)])
async def test_a_value_is_a_mapping(own_store: MemoryStore, value: Any) -> None:
    with pytest.raises(Permanent, match="no mapping"):
        await own_store.aput(NOTES, "one", value)


def nest(levels: int) -> dict[str, Any]:
    """Return a value of so many lists in each other."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"a": value}


async def test_a_value_may_be_nested_as_deep_as_it_can_be_read_again(own_store: MemoryStore) -> None:
    await own_store.aput(NOTES, "one", nest(63))
    item = await own_store.aget(NOTES, "one")
    assert item is not None
    assert item.value == nest(63)
    for levels in (64, 800, 5_000):
        with pytest.raises(Permanent, match="nested deeper"):
            await own_store.aput(NOTES, "two", nest(levels))


@pytest.mark.parametrize("ttl", [float("nan"), float("inf"), 1e12, 0, -1])
async def test_a_life_that_is_no_span_of_time_is_refused(own_store: MemoryStore, ttl: float) -> None:
    with pytest.raises(Permanent, match="a ttl of"):
        await own_store.aput(NOTES, "one", {"n": 1}, ttl=ttl)


HALF = "\ud800"


@pytest.mark.parametrize(
    "op",
    [
        PutOp(NOTES, HALF, {"n": 1}),
        PutOp((*NOTES, HALF), "one", {"n": 1}),
        PutOp(NOTES, HALF, None),
        PutOp(NOTES, "one", {"n": HALF}),
        GetOp(NOTES, HALF),
        SearchOp((*NOTES, HALF)),
        SearchOp(NOTES, query=HALF),
    ],
)
async def test_half_characters_are_refused_by_name(own_store: MemoryStore, op: Op) -> None:
    await own_store.aput(NOTES, "there", {"n": 1})
    with pytest.raises(Permanent, match="is no text"):
        await own_store.abatch([op])


async def test_labels_are_texts_and_a_page_begins_within_its_list(own_store: MemoryStore) -> None:
    five: Any = 5
    with pytest.raises(Permanent, match="no text"):
        await own_store.abatch([PutOp(NOTES, five, {"n": 1})])
    with pytest.raises(InvalidNamespaceError):
        await own_store.abatch([PutOp(("docs", five), "one", {"n": 1})])
    for op in (SearchOp(NOTES, limit=-1), SearchOp(NOTES, offset=-1)):
        with pytest.raises(Permanent, match="neither may be negative"):
            await own_store.abatch([op])


async def test_batches_of_the_same_keys_in_any_order_all_get_through(own_store: MemoryStore) -> None:
    """R93: none waits for another for ever; afterwards each key has one value, all from batches that were written."""

    async def batch(number: int) -> None:
        keys = random.Random(number).sample(range(12), 12)
        await own_store.abatch([PutOp(NOTES, f"k{key}", {"by": number}) for key in keys])

    await asyncio.gather(*(batch(number) for number in range(8)))
    page = await own_store.asearch(NOTES, limit=100)
    assert len(page) == 12
    assert len({item.value["by"] for item in page}) == 1


async def test_puts_and_deletes_of_one_key_at_once_all_get_through_and_leave_it_whole(own_store: MemoryStore) -> None:
    """A put that repeats what is being deleted writes it anew."""
    for key in (f"k{number}" for number in range(12)):
        tries = [(own_store.aput(NOTES, key, {"a": "same"}), own_store.adelete(NOTES, key)) for _ in range(6)]
        await asyncio.gather(*(call for pair in tries for call in pair))
        await own_store.aput(NOTES, key, {"a": "last"})
        item = await own_store.aget(NOTES, key)
        assert item is not None
        assert item.value == {"a": "last"}


async def test_batches_imports_and_pruning_of_a_scope_take_turns(
    own_store: MemoryStore, database: Database, alice: Principal
) -> None:
    """R93 R94: whatever order their keys are in, none fails for another."""
    access, ops = Access.of(alice), [PutOp(NOTES, f"k{key}", {"n": key}) for key in range(30)]
    await own_store.abatch(ops)
    file = [line async for line in transfer.export(database, access)]
    await own_store.abatch([PutOp(NOTES, f"k{key}", None) for key in range(30)])
    work = [own_store.abatch([PutOp(NOTES, f"k{key}", {"n": -key}) for key in range(30)][::-1]) for _ in range(3)]
    work += [pruning.prune(database, access, pruning.PruningPolicy(facts=20)) for _ in range(2)]
    results = await asyncio.gather(transfer.import_lines(database, access, file), *work, return_exceptions=True)
    # Either may be first; then the import finds other values of its subjects.
    assert {error.code for error in results if isinstance(error, ControlError)} <= {"conflict"}
    assert not [error for error in results if isinstance(error, Exception) and not isinstance(error, ControlError)]


async def test_reading_that_renews_does_not_wait_for_writing(own_store: MemoryStore) -> None:
    ops = [PutOp(NOTES, f"k{key}", {"n": key}, ttl=10) for key in range(12)]
    await own_store.abatch(ops)
    await asyncio.gather(
        *(own_store.abatch(ops[::step]) for step in (1, -1) * 3),
        *(own_store.asearch(NOTES, limit=12) for _ in range(6)),
    )
    assert len(await own_store.asearch(NOTES, limit=100)) == 12


async def test_where_two_scopes_hold_a_path_ones_own_item_counts(database: Database, alice: Principal) -> None:
    """R93: what was put is what is got, though an older one is shared."""
    shared_scope = Scope("agent", "shared")
    await MemoryStore(database, Access(alice, (shared_scope,), shared_scope)).aput(("docs",), "one", {"by": "all"})
    own_store = MemoryStore(database, Access.of(alice))
    await own_store.aput(("docs",), "one", {"by": "alice"})
    item = await own_store.aget(("docs",), "one")
    assert item is not None
    assert item.value == {"by": "alice"}
