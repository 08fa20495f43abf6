"""Benchmark of savers: one four-node graph with ours and with LangGraph's own, on one Postgres, in turns."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from memory.runs.checkpoints import Checkpoints, leading
from tests.bench.ground import Ground, per_second
from tests.bench.rounds import by_turns

RUNS = {1: 60, 8: 160}
_RESULT = {"found": {"handle": "h_" + "a" * 24, "count": 49_793, "digest": "0" * 64}, "sum": 1_234_567}


class State(TypedDict, total=False):
    request: str
    plan: dict[str, Any]
    results: dict[str, Any]
    outcome: dict[str, Any]
    verdict: str


async def planner(state: State) -> State:
    return {"plan": {"id": "bench", "steps": [{"id": "look", "tool": "x.read"}, {"id": "act", "tool": "x.write"}]}}


async def researcher(state: State) -> State:
    return {"results": {"look": _RESULT}}


async def executor(state: State) -> State:
    return {"results": {**state.get("results", {}), "act": {"done": 1}}, "outcome": {"state": "done"}}


async def auditor(state: State) -> State:
    return {"verdict": "accepted"}


def bare(saver: BaseCheckpointSaver[str]) -> Any:
    """Return a graph that does nothing but step from node to node."""
    graph: Any = StateGraph(State)  # its own types are partly unknown
    for node in (planner, researcher, executor, auditor):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "planner")
    graph.add_edge("planner", "researcher")
    graph.add_edge("researcher", "executor")
    graph.add_edge("executor", "auditor")
    graph.add_edge("auditor", END)
    return graph.compile(checkpointer=saver)


@asynccontextmanager
async def stock(ground: Ground, lanes: int = 16) -> AsyncGenerator[AsyncPostgresSaver]:
    """Open LangGraph's own saver on a database of its own, set up as its documentation says."""
    url = await ground.empty(f"stock_{uuid4().hex[:8]}")
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(url, kwargs=options, min_size=1, max_size=lanes, open=False) as pool:
        saver = AsyncPostgresSaver(pool)  # pyright: ignore[reportArgumentType]  # rows are dicts by the option above
        await saver.setup()
        yield saver


async def stock_rate(saver: AsyncPostgresSaver, count: int, lanes: int) -> float:
    """Return runs per second of the bare graph with LangGraph's saver."""
    graph = bare(saver)

    async def run(_: int) -> None:
        await graph.ainvoke({"request": "go"}, {"configurable": {"thread_id": uuid4().hex}}, durability="sync")

    return await per_second(run, count, lanes)


async def own_rate(ground: Ground, count: int, lanes: int) -> float:
    """Return runs per second of the bare graph with our saver; the runs are leased beforehand."""
    graph, leases = bare(Checkpoints(ground.database)), await ground.leases(count)

    async def run(number: int) -> None:
        await graph.ainvoke({"request": "go"}, leading(leases[number], fresh=True), durability="sync")

    return await per_second(run, count, lanes)


async def measure(ground: Ground) -> dict[str, float]:
    """Return runs per second of both, at 1 and 8 lanes, and how many times faster ours is."""
    figures: dict[str, float] = {}
    async with stock(ground) as rival:
        for lanes, count in RUNS.items():
            await own_rate(ground, 8, lanes)
            await stock_rate(rival, 8, lanes)
            own, other = partial(own_rate, ground, count, lanes), partial(stock_rate, rival, count, lanes)
            figures |= await by_turns(own, other, ("own", "stock"), lanes)
    return figures
