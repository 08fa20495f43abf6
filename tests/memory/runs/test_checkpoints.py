"""The saver: LangGraph's own tables, one fenced statement per checkpoint, nothing for another tenant to read."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from operator import add
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from memory.errors import LeaseLost
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import records
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.records import Lease
from memory.scope import Access, Principal
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
BUDGET = {"tokens": 1, "micros": 1, "calls": 1}
Leases = Callable[..., Awaitable[Lease]]


class Story(TypedDict, total=False):
    lines: Annotated[list[str], add]
    long: str
    count: int


def story(saver: Checkpoints, *, asks: bool = False, breaks: bool = False) -> Any:
    graph: Any = StateGraph(Story)

    async def first(state: Story) -> Story:
        return {"lines": ["first"], "count": 1, "long": "x" * 500}

    async def second(state: Story) -> Story:
        if asks:
            interrupt("well?")
        if breaks:
            raise RuntimeError("broken")
        return {"lines": ["second"], "count": 2}

    graph.add_node("first", first)
    graph.add_node("second", second)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    graph.add_edge("second", END)
    return graph.compile(checkpointer=saver)


@pytest.fixture
def saver(database: Database) -> Checkpoints:
    return Checkpoints(database)


@pytest.fixture
def leases(database: Database, alice: Principal) -> Leases:
    async def make(thread: str = "", number: int = 1) -> Lease:
        run = str(uuid4())
        async with database.transaction(Access.of(alice)) as connection:
            await records.start(connection, id=run, thread=thread or run, input={}, correlation=run, budget=BUDGET)
        lease = await records.lease(database, run, number)
        assert lease is not None
        return lease

    return make


async def taken_over(database: Database, lease: Lease) -> Lease:
    """Let the sweep find the worker dead and another one lead the run."""
    async with database.system() as connection:
        await records.sweep(connection)
    taken = await records.lease(database, lease.run, 2)
    assert taken is not None
    return taken


async def finished(database: Database, lease: Lease) -> None:
    async with database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message="", body={})


async def play(graph: Any, lease: Lease, given: Any, *, fresh: bool = True) -> Any:
    return await graph.ainvoke(given, leading(lease, fresh=fresh), durability="sync")


async def test_columns_are_those_of_the_pinned_package_and_a_tenant(urls: Urls, superuser: Connect) -> None:
    """A new version of the package that changes its tables is noticed here."""
    columns = (
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns "
        "where table_schema = %s and table_name like 'checkpoint%%' order by 1, 2"
    )
    async with superuser() as above:
        await above.execute("create schema stock")
        await above.execute("set search_path = stock")
        await AsyncPostgresSaver(above).setup()
        stock = await (await above.execute(columns, ["stock"])).fetchall()
        ours = await (await above.execute(columns, ["public"])).fetchall()
        versions = await (await above.execute("select count(*) as n from public.checkpoint_migrations")).fetchone()
        await above.execute("drop schema stock cascade")
    assert [row for row in ours if row["column_name"] != "tenant"] == stock
    assert (versions or {})["n"] == len(PostgresSaver.MIGRATIONS)


async def test_a_stock_saver_reads_the_same_history(saver: Checkpoints, leases: Leases, superuser: Connect) -> None:
    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    async with superuser() as above:
        stock = AsyncPostgresSaver(above)
        theirs = [found async for found in stock.alist({"configurable": {"thread_id": lease.thread}})]
    ours = [found async for found in saver.alist(reading(lease.access, lease.thread))]
    assert [found.checkpoint for found in theirs] == [found.checkpoint for found in ours]
    assert [found.pending_writes for found in theirs] == [found.pending_writes for found in ours]
    assert ours[0].checkpoint["channel_values"]["long"] == "x" * 500


async def test_an_interrupted_graph_goes_on_in_another_process(
    database: Database, saver: Checkpoints, leases: Leases
) -> None:
    """R79."""
    lease = await leases()
    assert "__interrupt__" in await play(story(saver, asks=True), lease, {"lines": []})
    other = Checkpoints(database)
    taken = await taken_over(database, lease)
    state = await play(story(other, asks=True), taken, Command(resume="go"), fresh=False)
    assert state["lines"] == ["first", "second"]


async def test_whoever_lost_the_lease_cannot_save(database: Database, saver: Checkpoints, leases: Leases) -> None:
    """Trap 4: two leaders at once never fork a history, the older one stops at its next checkpoint."""
    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    taken = await taken_over(database, lease)
    with pytest.raises(LeaseLost):
        await play(story(saver), lease, None, fresh=False)
    assert (await play(story(saver), taken, None, fresh=False))["lines"] == ["first", "second"]


async def test_ordinary_writes_cost_no_statement_and_failures_are_kept(
    saver: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    """Trap 17: nothing may rest on ordinary writes; what an error or a question leaves is there at once."""
    lease = await leases()
    with pytest.raises(RuntimeError, match="broken"):
        await play(story(saver, breaks=True), lease, {"lines": []})
    async with superuser() as above:
        found = await above.execute("select channel from checkpoint_writes where thread_id = %s", [lease.thread])
        assert [row["channel"] for row in await found.fetchall()] == ["__error__"]
    assert (await play(story(saver), lease, None, fresh=False))["lines"] == ["first", "second"]


async def test_the_next_run_of_a_thread_starts_clean(database: Database, saver: Checkpoints, leases: Leases) -> None:
    """Trap 16: new input never starts from what an earlier run left behind."""
    first = await leases()
    await play(story(saver, asks=True), first, {"lines": ["old"]})
    await finished(database, first)
    second = await leases(first.thread)
    state = await play(story(saver), second, {"lines": ["new"]})
    assert state["lines"] == ["new", "first", "second"]
    assert len([found async for found in saver.alist(reading(second.access, second.thread))]) > 4


async def test_a_fork_starts_from_another_runs_checkpoint(
    database: Database, saver: Checkpoints, leases: Leases
) -> None:
    first = await leases()
    graph = story(saver, asks=True)
    await play(graph, first, {"lines": []})
    await finished(database, first)
    held = await graph.aget_state(reading(first.access, first.thread))
    second = await leases(first.thread)
    config = leading(second, checkpoint=held.config["configurable"]["checkpoint_id"])
    await graph.aupdate_state(config, {"lines": ["forked"]}, as_node="second")
    found = await graph.aget_state(leading(second))
    assert (found.values["lines"], found.next) == (["first", "forked"], ())


async def test_a_type_planted_in_a_row_is_not_constructed(
    saver: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    _, planted = JsonPlusSerializer(allowed_msgpack_modules=True).dumps_typed(Access.of(lease.access.principal))
    async with superuser() as above:
        await above.execute(
            "update checkpoint_blobs set blob = %s where thread_id = %s and channel = 'long'", [planted, lease.thread]
        )
    found = await saver.aget_tuple(reading(lease.access, lease.thread))
    assert found is not None
    assert not isinstance(found.checkpoint["channel_values"]["long"], Access)


async def test_another_tenant_sees_no_checkpoint_and_nobody_writes_one_by_hand(
    database: Database, saver: Checkpoints, leases: Leases, alice: Principal
) -> None:
    from psycopg.errors import InsufficientPrivilege

    lease = await leases()
    await play(story(saver), lease, {"lines": []})
    stranger = Access.of(replace(alice, tenant="t-nobody"))
    assert await saver.aget_tuple(reading(stranger, lease.thread)) is None
    with pytest.raises(InsufficientPrivilege):
        async with database.transaction(lease.access) as connection:
            await connection.execute("delete from checkpoints")


async def test_reading_alone_saves_nothing(saver: Checkpoints, leases: Leases) -> None:
    lease = await leases()
    with pytest.raises(ValueError, match="without a lease"):
        await story(saver).ainvoke({"lines": []}, reading(lease.access, lease.thread))


async def test_versions_sort_beyond_thousands_and_differ_between_forks(saver: Checkpoints) -> None:
    versions = ["09998.x"]
    for _ in range(5):
        versions.append(saver.get_next_version(versions[-1], None))
    assert versions == sorted(versions)
    assert saver.get_next_version("00001.x", None) != saver.get_next_version("00001.x", None)
