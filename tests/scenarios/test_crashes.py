"""Death of a worker at any point: its successor goes on by itself, and leaves the same traces."""

import asyncio
import json
import multiprocessing
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from psycopg import AsyncConnection

from memory.governance.journal import JournalEntry
from memory.postgres.roles import Urls
from tests.scenarios import victim
from tests.scenarios.town import Town, Towns, open_town
from tests.scenarios.victim import Point
from tests.scenarios.waiting import until

pytestmark = pytest.mark.slow

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.scenarios.victim"])

READ, SINGLE, BATCH = "duplicates", "pause", "refund#2"
NODES = ("planner", "researcher", "gate", "executor", "auditor")
VOLATILE = frozenset(
    {"at", "attempt", "checkpoint", "cost", "spent", "expires", "valid_until", "correlation", "thread"}
)
SUCCESSOR = frozenset({"retaken", "resent"})
_IDS = re.compile(r"h_[0-9a-f]{24}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{16,64}\b")

WINDOWS = [
    *[Point(window, name, READ) for name in ("begin_read", "end_read") for window in ("before", "after")],
    *[
        Point(window, name, step)
        for step in (SINGLE, BATCH)
        for name in ("claim", "settle")
        for window in ("before", "after")
    ],
]
BOUNDARIES = [Point(window, "save_checkpoint", node) for node in NODES for window in ("before", "after")]
Traces = tuple[list[Any], list[Any]]


@pytest.fixture(scope="module")
async def calm_traces(urls: Urls, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Traces:
    """Return what a run leaves behind when nothing happens to it."""
    async with open_town(urls, tmp_path_factory.mktemp("calm")) as calm, calm.worker():
        run = await calm.begin()
        await calm.until_end(run)
        return await traces(calm, run)


@pytest.mark.parametrize("point", [*WINDOWS, *BOUNDARIES], ids=str)
async def test_a_run_survives_its_worker(towns: Towns, calm_traces: Traces, point: Point) -> None:
    """R70 R71 R79: whatever the killed worker had begun is found, finished and never repeated."""
    async with towns() as town:
        run = await town.begin()
        await kill_worker(town, run, victim.work_until, town.settings, town.addresses, point)
        async with town.worker():
            await town.until_end(run)
        assert await traces(town, run) == calm_traces


async def test_a_decision_that_dies_half_way_counts_for_nothing(towns: Towns, calm_traces: Traces) -> None:
    """R70: a vote is there with everything that it causes, or not at all."""
    async with towns() as town, town.worker():
        run = await town.begin()
        await until(lambda: has_question(town, run), "the first question")
        (question,) = await town.questions(run)
        await kill_worker(town, run, victim.decide_and_die, town.addresses, town.settings.tenant, "bob", question)
        assert (await town.questions(run))[0].approvals == 0
        await town.until_end(run)
        assert await traces(town, run) == calm_traces


async def has_question(town: Town, run: str) -> bool:
    return bool(await town.questions(run))


async def kill_worker(town: Town, run: str, target: Callable[..., None], *args: Any) -> None:
    """Start a victim, agree to what its run asks, and wait for its death by its own hand."""
    process = FORKS.Process(target=target, args=args)
    await asyncio.to_thread(process.start)

    async def dead() -> bool:
        if target is victim.work_until:
            await town.decide(run)
        return not process.is_alive()

    try:
        await until(dead, "the victim's death")
        assert process.exitcode == -9
    finally:
        process.kill()
        process.join()
        process.close()


async def traces(town: Town, run: str) -> Traces:
    """Return what a run did to the business and what its journal says, without what may differ."""
    return await business(town), normal(await town.entries(run))


async def business(town: Town) -> list[Any]:
    i, tables = town.instance, list[Any]()
    statements = (
        f"select charge, amount, key, by_support from {i}_billing.refunds order by charge, key",
        f"select id, status from {i}_billing.jobs order by id",
        f"select kind, ref, customer from {i}_tickets.tickets order by kind, ref",
        f"select customer, ref, template from {i}_tickets.notifications order by ref",
    )
    async with await AsyncConnection.connect(town.addresses.business_url) as connection:
        for statement in statements:
            cursor = await connection.execute(statement.encode())
            tables.append(await cursor.fetchall())
    return tables


def normal(entries: list[JournalEntry]) -> list[Any]:
    """Return entries without times, attempts and what only a successor does; ids become numbers in order."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"<{len(numbers)}>")

    bodies = (json.dumps(_lasting(entry.body), sort_keys=True) for entry in entries if entry.kind not in SUCCESSOR)
    return [_IDS.sub(number, body) for body in bodies]


def _lasting(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _lasting(item) for name, item in value.items() if name not in VOLATILE}  # pyright: ignore[reportUnknownVariableType]  # JSON
    return [_lasting(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]  # JSON
