"""The store that a flow is compiled with: one for all runs, each sees its own requester's memory, and few may write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.checkpoints import leading, reading
from memory.runs.leases import Lease
from memory.runs.run_store import RunStore
from memory.scope import Access, Principal
from memory.store.langgraph_store import MemoryStore

pytestmark = pytest.mark.anyio
BUDGET = {"tokens": 1, "micros": 1, "calls": 1}
NOTES = ("notes",)
ROUNDS = 20


class Diary(TypedDict, total=False):
    """What a node wrote and what the next one read."""

    text: str
    visible: list[str]
    visible_in_thread: list[str]


Lead = Callable[[Principal], Awaitable[Lease]]


@pytest.fixture
def lead(database: Database) -> Lead:
    """Return a factory of leases, each for a new run of a person."""

    async def start(person: Principal) -> Lease:
        run = str(uuid4())
        async with database.transaction(Access.of(person)) as connection:
            await records.start(connection, id=run, thread=run, input={}, correlation=run, budget=BUDGET)
        lease = await records.lease(database, run, 1)
        assert lease is not None
        return lease

    return start


def diary(store: BaseStore, *, barrier: asyncio.Barrier | None = None) -> Any:
    """Return a compiled flow: `writer` notes its text, then two readers, one synchronous, read all that there is."""
    graph: Any = StateGraph(Diary)

    async def writer(state: Diary) -> Diary:
        if barrier:
            await barrier.wait()
        await get_store().aput(NOTES, "note", {"text": state.get("text")})
        return {}

    async def reader(state: Diary, *, runtime: Runtime[None]) -> Diary:
        if barrier:
            await barrier.wait()
        assert runtime.store is not None
        return {"visible": sorted(item.value["text"] for item in await runtime.store.asearch(()))}

    def thread_reader(state: Diary, *, store: BaseStore) -> Diary:
        return {"visible_in_thread": sorted(item.value["text"] for item in store.search(()))}

    graph.add_sequence([("writer", writer), ("reader", reader), ("thread_reader", thread_reader)])
    graph.add_edge(START, "writer")
    graph.add_edge("thread_reader", END)
    return graph.compile(store=store)


async def test_two_people_in_one_compiled_flow_at_once_see_only_their_own(
    database: Database, lead: Lead, alice: Principal, bob: Principal
) -> None:
    """R92: the access comes from the lease of the run that calls, however the calls are mixed."""
    for person in (alice, bob):
        own = MemoryStore(database, Access.of(person))
        await own.aput(("user", person.id), "canary", {"text": f"of {person.id}"})
    flow = diary(RunStore(database).with_writers("writer"), barrier=asyncio.Barrier(2))

    async def run(person: Principal, number: int) -> Diary:
        return await flow.ainvoke({"text": f"{number} by {person.id}"}, leading(await lead(person)))

    for number in range(ROUNDS):
        ends = await asyncio.gather(run(alice, number), run(bob, number))
        for person, end in zip((alice, bob), ends, strict=True):
            notes = [f"{number} by {person.id}", f"of {person.id}"]
            assert (end.get("visible"), end.get("visible_in_thread")) == (notes, notes)


@pytest.mark.parametrize("node", ["planner", "gate", "auditor"])
async def test_a_node_that_is_no_writer_reads_and_cannot_write(
    database: Database, lead: Lead, alice: Principal, node: str
) -> None:
    async def body(state: Diary) -> Diary:
        assert await get_store().asearch(NOTES) == []
        await get_store().aput(NOTES, "one", {"text": state.get("text")})
        return {}

    graph: Any = StateGraph(Diary)
    graph.add_node(node, body)
    graph.add_edge(START, node)
    flow = graph.compile(store=RunStore(database).with_writers("researcher", "executor"))
    with pytest.raises(Permanent, match=f"node '{node}' may only read memory"):
        await flow.ainvoke({"text": "a note"}, leading(await lead(alice)))


async def test_a_writer_writes_working_memory_and_nobody_elses_scope(
    database: Database, lead: Lead, alice: Principal
) -> None:
    async def writer(state: Diary) -> Diary:
        await get_store().aput(("user", "alice"), "one", {"text": state.get("text")})
        return {}

    graph: Any = StateGraph(Diary)
    graph.add_node("writer", writer)
    graph.add_edge(START, "writer")
    flow = graph.compile(store=RunStore(database).with_writers("writer"))
    with pytest.raises(Permanent, match="use its scope"):
        await flow.ainvoke({"text": "a note"}, leading(await lead(alice)))


async def test_without_a_lease_nothing_is_read(database: Database, alice: Principal) -> None:
    """A configuration that only reads history is no lease."""
    store = RunStore(database).with_writers("writer")
    with pytest.raises(Permanent, match="no run is being led here"):
        await store.asearch(NOTES)
    flow = diary(store)
    for config in ({}, reading(Access.of(alice), "some-thread"), {"configurable": {"__lease": "forged"}}):
        with pytest.raises(Permanent, match="no run is being led here"):
            await flow.ainvoke({"text": "a note"}, config)
