"""The saver: LangGraph's own tables, one fenced statement per checkpoint, nothing for another tenant to read."""

from dataclasses import replace
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from memory.errors import LeaseLost
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import records
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.bench.counting import count_statements
from tests.conftest import Connect
from tests.memory.runs.conftest import Leases

pytestmark = pytest.mark.anyio


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


async def taken_over(database: Database, lease: Lease) -> Lease:
    """Let the sweep find the worker dead and another one lead the run."""
    async with database.worker() as connection:
        await records.sweep(connection)
    successor = await records.lease(database, lease.run, 2)
    assert successor is not None
    return successor


async def finish(database: Database, lease: Lease) -> None:
    async with database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message="", body={})


async def play(graph: Any, lease: Lease, graph_input: Any, *, fresh: bool = True) -> Any:
    return await graph.ainvoke(graph_input, leading(lease, fresh=fresh), durability="sync")


async def test_columns_are_those_of_the_pinned_package_and_whose_they_are(urls: Urls, superuser: Connect) -> None:
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
        own_history = await (await above.execute(columns, ["public"])).fetchall()
        versions = await (await above.execute("select count(*) as n from public.checkpoint_migrations")).fetchone()
        await above.execute("drop schema stock cascade")
    assert [row for row in own_history if row["column_name"] not in ("tenant", "principal")] == stock
    assert (versions or {})["n"] == len(PostgresSaver.MIGRATIONS)


async def test_a_stock_saver_reads_the_same_history(database: Database, saver: Checkpoints, leases: Leases) -> None:
    """As the app's role, within the row security of whoever may read."""
    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    async with database.transaction(lease.access) as connection:
        stock = AsyncPostgresSaver(connection)
        stock_history = [snapshot async for snapshot in stock.alist({"configurable": {"thread_id": lease.thread}})]
    own_history = [snapshot async for snapshot in saver.alist(reading(lease.access, lease.thread))]
    assert [snapshot.checkpoint for snapshot in stock_history] == [snapshot.checkpoint for snapshot in own_history]
    assert [snapshot.pending_writes for snapshot in stock_history] == [
        snapshot.pending_writes for snapshot in own_history
    ]
    assert own_history[0].checkpoint["channel_values"]["long"] == "x" * 500


async def test_an_interrupted_graph_goes_on_in_another_process(
    database: Database, saver: Checkpoints, leases: Leases
) -> None:
    """R79."""
    lease = await leases()
    assert "__interrupt__" in await play(story(saver, asks=True), lease, {"lines": []})
    other = Checkpoints(database)
    successor = await taken_over(database, lease)
    state = await play(story(other, asks=True), successor, Command(resume="go"), fresh=False)
    assert state["lines"] == ["first", "second"]


async def test_whoever_lost_the_lease_cannot_save(database: Database, saver: Checkpoints, leases: Leases) -> None:
    """Trap 4: two leaders at once never fork a history, the older one stops at its next checkpoint."""
    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    successor = await taken_over(database, lease)
    with pytest.raises(LeaseLost):
        await play(story(saver), lease, None, fresh=False)
    assert (await play(story(saver), successor, None, fresh=False))["lines"] == ["first", "second"]


async def test_writes_of_a_step_are_there_for_others_when_they_are_put(
    saver: Checkpoints, other: Checkpoints, leases: Leases
) -> None:
    lease = await leases()
    config = await saver.aput(leading(lease), empty_checkpoint(), {"source": "loop", "step": 0}, {})
    await saver.aput_writes(config, [("lines", ["first"]), ("count", 1)], "task", "path")
    snapshot = await other.aget_tuple(reading(lease.access, lease.thread))
    assert snapshot is not None
    assert snapshot.pending_writes == [("task", "lines", ["first"]), ("task", "count", 1)]


async def test_writes_of_a_single_task_ride_with_the_next_checkpoint(database: Database, leases: Leases) -> None:
    """Trap 17: they cost no statement, and the history is the same."""
    counts, histories = list[int](), list[list[Any]]()
    for single in (False, True):
        lease, saver = await leases(), Checkpoints(database, single_task=single)
        with count_statements() as count:
            await play(story(saver), lease, {"lines": []})
        counts.append(count.statements)
        snapshot = [row async for row in saver.alist(reading(lease.access, lease.thread))]
        histories.append([_values(row) for row in snapshot])
    assert histories[0] == histories[1]
    assert (counts[1], counts[0] - counts[1]) == (4, 3)


def _values(row: CheckpointTuple) -> list[tuple[str, Any]]:
    """Return what the tasks of a step wrote, without what only says which node runs next."""
    writes = [(channel, value) for _, channel, value in row.pending_writes or []]
    return sorted(write for write in writes if not write[0].startswith("branch:to:"))


async def test_what_a_failure_or_a_question_leaves_is_there_at_once(
    database: Database, other: Checkpoints, leases: Leases
) -> None:
    lease, saver = await leases(), Checkpoints(database, single_task=True)
    with pytest.raises(RuntimeError, match="broken"):
        await play(story(saver, breaks=True), lease, {"lines": []})
    assert await _pending(other, lease) == ["__error__"]
    assert (await play(story(saver), lease, None, fresh=False))["lines"] == ["first", "second"]


async def test_a_finished_sibling_does_not_run_again(
    database: Database, saver: Checkpoints, other: Checkpoints, leases: Leases
) -> None:
    """One of two parallel nodes has done its work while the other waits for people; the answer comes elsewhere."""
    ran, lease = list[str](), await leases()

    async def pays(state: Story) -> Story:
        # It ends after the question is on record.
        while "__interrupt__" not in await _pending(other, lease):
            pass
        ran.append("pays")
        return {"lines": ["paid"]}

    async def asks(state: Story) -> Story:
        return {"lines": [f"answer {interrupt('well?')}"]}

    def build(checkpointer: Checkpoints) -> Any:
        graph: Any = StateGraph(Story)
        for node in (pays, asks):
            graph.add_node(node.__name__, node)
            graph.add_edge(START, node.__name__)
            graph.add_edge(node.__name__, END)
        return graph.compile(checkpointer=checkpointer)

    assert "__interrupt__" in await play(build(saver), lease, {"lines": []})
    successor = await taken_over(database, lease)
    state = await play(build(other), successor, Command(resume="yes"), fresh=False)
    assert (ran, sorted(state["lines"])) == (["pays"], ["answer yes", "paid"])


async def _pending(saver: Checkpoints, lease: Lease) -> list[str]:
    """Return the channels that have writes towards the latest checkpoint."""
    snapshot = await saver.aget_tuple(reading(lease.access, lease.thread))
    return [channel for _, channel, _ in (snapshot and snapshot.pending_writes) or []]


async def test_a_channel_that_a_newer_graph_lacks_harms_no_waiting_thread(
    database: Database, saver: Checkpoints, other: Checkpoints, leases: Leases
) -> None:
    class Newer(TypedDict, total=False):
        lines: Annotated[list[str], add]

    async def second(state: Newer) -> Newer:
        interrupt("well?")
        return {"lines": ["second, newer"]}

    graph: Any = StateGraph(Newer)
    graph.add_node("second", second)
    graph.add_edge(START, "second")
    graph.add_edge("second", END)
    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    successor = await taken_over(database, lease)
    state = await play(graph.compile(checkpointer=other), successor, Command(resume="go"), fresh=False)
    assert state == {"lines": ["first", "second, newer"]}


async def test_the_next_run_of_a_thread_starts_clean(database: Database, saver: Checkpoints, leases: Leases) -> None:
    """Trap 16: new input never starts from what an earlier run left behind."""
    first = await leases()
    await play(story(saver, asks=True), first, {"lines": ["old"]})
    await finish(database, first)
    second = await leases(first.thread)
    state = await play(story(saver), second, {"lines": ["new"]})
    assert state["lines"] == ["new", "first", "second"]
    assert len([snapshot async for snapshot in saver.alist(reading(second.access, second.thread))]) > 4


async def test_a_fork_starts_from_another_runs_checkpoint(
    database: Database, saver: Checkpoints, leases: Leases
) -> None:
    first = await leases()
    graph = story(saver, asks=True)
    await play(graph, first, {"lines": []})
    await finish(database, first)
    state = await graph.aget_state(reading(first.access, first.thread))
    second = await leases(first.thread)
    config = leading(second, checkpoint=state.config["configurable"]["checkpoint_id"])
    await graph.aupdate_state(config, {"lines": ["forked"]}, as_node="second")
    snapshot = await graph.aget_state(leading(second))
    assert (snapshot.values["lines"], snapshot.next) == (["first", "forked"], ())


async def test_a_type_planted_in_a_row_is_not_constructed(
    saver: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": []})
    _, hostile = JsonPlusSerializer(allowed_msgpack_modules=True).dumps_typed(Access.of(lease.access.principal))
    async with superuser() as above:
        await above.execute(
            "update checkpoint_blobs set blob = %s where thread_id = %s and channel = 'long'", [hostile, lease.thread]
        )
    snapshot = await saver.aget_tuple(reading(lease.access, lease.thread))
    assert snapshot is not None
    assert not isinstance(snapshot.checkpoint["channel_values"]["long"], Access)


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
