"""Graphs of LangGraph that use memory as their store: in nodes, in tools, from threads, and with what `put` can say."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_store
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedStore, ToolNode
from langgraph.store.base import BaseStore, PutOp

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope
from memory.store import write
from memory.store.langgraph_store import MemoryStore
from memory.store.models import Provenance
from tests.conftest import Connect

pytestmark = pytest.mark.anyio

NOTES = ("user", "alice", "notes")


@pytest.fixture
async def own_store(database: Database, alice: Principal) -> MemoryStore:
    return MemoryStore(database, Access.of(alice))


class Speech(TypedDict):
    """What the graphs here pass on."""

    text: str
    keys: list[str]


def graph(node: Callable[..., Any], store: BaseStore) -> Any:
    """Return a graph of one node that may use the store."""
    building: Any = StateGraph(Speech)
    building.add_node("only", node)
    building.add_edge(START, "only")
    return building.compile(store=store)


async def test_an_asynchronous_node_gets_the_store_that_the_graph_was_compiled_with(own_store: MemoryStore) -> None:
    async def node(state: Speech) -> dict[str, Any]:
        await get_store().aput(NOTES, "one", {"text": state["text"]})
        return {"keys": [item.key for item in await get_store().asearch(NOTES, query="tea")]}

    assert await graph(node, own_store).ainvoke({"text": "green tea"}) == {"text": "green tea", "keys": ["one"]}


async def test_a_synchronous_node_uses_it_from_its_thread(own_store: MemoryStore) -> None:
    def node(state: Speech, *, store: BaseStore) -> dict[str, Any]:
        store.put(NOTES, "one", {"text": state["text"]})
        return {"keys": [item.key for item in store.search(NOTES)]}

    keys = {"text": "green tea", "keys": ["one"]}
    assert await graph(node, own_store).ainvoke({"text": "green tea"}) == keys
    assert await asyncio.to_thread(graph(node, own_store).invoke, {"text": "green tea"}) == keys


@tool
async def keep(text: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Keep a text."""
    await store.aput(NOTES, "one", {"text": text})
    return "kept"


async def test_a_tool_gets_it_injected_where_no_model_sees_it(own_store: MemoryStore) -> None:
    building: Any = StateGraph(MessagesState)
    building.add_node("tools", ToolNode([keep]))
    building.add_edge(START, "tools")
    call = {"name": "keep", "args": {"text": "green tea"}, "id": "1", "type": "tool_call"}
    messages: Any = {"messages": [AIMessage("", tool_calls=[call])]}
    answer: Any = await building.compile(store=own_store).ainvoke(messages)
    assert answer["messages"][-1].content == "kept"
    item = await own_store.aget(NOTES, "one")
    assert item is not None
    assert item.value == {"text": "green tea"}
    schema: Any = keep.tool_call_schema
    assert set(schema.model_json_schema()["properties"]) == {"text"}


async def test_what_is_not_indexed_is_listed_after_what_is_and_never_ranked(own_store: MemoryStore) -> None:
    """As the reference does: such an item is found by namespace and filter alone."""
    await own_store.aput(NOTES, "silent", {"text": "I like green tea"}, index=False)
    await own_store.aput(NOTES, "loud", {"text": "I like tea"}, index=["$"])
    keys = [(item.key, item.score is None) for item in await own_store.asearch(NOTES, query="green tea")]
    assert keys == [("loud", False), ("silent", True)]
    await own_store.aput(NOTES, "silent", {"text": "I like green tea"})
    assert (await own_store.asearch(NOTES, query="green tea"))[0].key == "silent"


async def test_an_index_of_single_fields_is_refused_and_not_ignored(own_store: MemoryStore) -> None:
    with pytest.raises(Permanent, match="cannot be found by"):
        await own_store.aput(NOTES, "one", {"text": "a"}, index=["text"])
    assert await own_store.asearch(NOTES) == []


async def test_the_last_of_more_than_a_thousand_items_is_ranked_first(own_store: MemoryStore) -> None:
    """R93: no ceiling beyond which items are not found."""
    await own_store.abatch([PutOp(NOTES, f"k{n}", {"text": f"tea number {n}"}) for n in range(1_100)])
    await own_store.aput(("user", "alice", "other"), "red", {"text": "tea that is red"})
    assert (await own_store.asearch(NOTES, query="tea number 1099", limit=1))[0].key == "k1099"
    page = await own_store.asearch(NOTES, query="tea", limit=10, offset=1_095)
    assert (len(page), all(item.score is not None for item in page)) == (5, True)


async def test_a_search_shows_a_run_its_page_and_nothing_else(
    database: Database, alice: Principal, superuser: Connect, tenant: str
) -> None:
    """R103: what was not shown may still be found out and told."""
    scope = Scope("run", "r1")
    access = Access(alice, (*alice.reads, scope), scope)
    for n in range(9):
        text = f"tea number {n}"
        await write.remember(database, Access.of(alice), text, trust="human", provenance=Provenance(), key=f"k{n}")
    items = MemoryStore(database, access)
    await items.aput(("run", "r1"), "a", {"text": "tea"})
    assert len(await items.asearch(("run", "r1"), query="tea")) == 1
    async with superuser() as above:
        cursor = await above.execute("select count(*) as n from memory_seen where tenant = %s", [tenant])
        assert await cursor.fetchone() == {"n": 1}


async def test_working_memory_ends_though_nobody_says_when(
    database: Database, alice: Principal, superuser: Connect, tenant: str
) -> None:
    """R91: an item of a run has an end, also one that was put with a longer life before."""
    scope = Scope("run", "r1")
    items = MemoryStore(database, Access(alice, (scope,), scope))
    await items.aput(("run", "r1"), "a", {"n": 1})
    await items.aput(("run", "r1"), "a", {"n": 1})
    async with superuser() as above:
        cursor = await above.execute(
            "select expires > clock_timestamp() as ends from memories where tenant = %s", [tenant]
        )
        assert await cursor.fetchall() == [{"ends": True}]


async def test_reading_renews_with_the_life_that_was_given_last(
    own_store: MemoryStore, superuser: Connect, tenant: str
) -> None:
    for minutes in (60.0, 1.0):
        await own_store.aput(NOTES, "one", {"n": 1}, ttl=minutes)
    await own_store.asearch(NOTES, refresh_ttl=True)
    async with superuser() as above:
        cursor = await above.execute(
            "select expires < clock_timestamp() + interval '2 minutes' as soon from memories where tenant = %s",
            [tenant],
        )
        assert await cursor.fetchall() == [{"soon": True}]


async def test_reading_without_renewal_leaves_the_end_where_it_is(
    own_store: MemoryStore, superuser: Connect, tenant: str
) -> None:
    await own_store.aput(NOTES, "one", {"n": 1}, ttl=10.0)
    ends: list[Any] = []
    for refresh in (False, False, True):
        assert await own_store.aget(NOTES, "one", refresh_ttl=refresh)
        async with superuser() as above:
            cursor = await above.execute("select expires from memories where tenant = %s", [tenant])
            ends.append((await cursor.fetchone() or {})["expires"])
    assert ends[0] == ends[1] < ends[2]
