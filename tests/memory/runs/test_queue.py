"""The queue and the seats of workers: rows wait in their order; a worker's death is seen by its lock or its beat."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest

from app.housekeeping import sweep
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import queue, records
from memory.runs.queue import Queue, Seat
from memory.runs.records import DEFAULT_FLOW, Lease
from memory.scope import Access, Principal
from tests.conftest import Connect, VirtualClock
from tests.graphs.stage import Stage, Stages, pay, plan
from tests.scenarios.waiting import until

pytestmark = pytest.mark.anyio
FLOWS = (DEFAULT_FLOW,)
BACKLOG = 2_000
_ACCEPT = """
select start_run(jsonb_build_object('id', %s || lpad(n::text, 5, '0'), 'thread', %s || n, 'flow', 'backlog',
                 'input', '{}'::jsonb, 'correlation', 'c', 'tokens', 0, 'micros', 0, 'calls', 0))
  from generate_series(1, %s) n
"""


@pytest.fixture
def stages(database: Database, clock: VirtualClock, people: dict[str, Principal]) -> Stages:
    def make(**options: Any) -> Stage:
        return Stage(database, clock, people, **options)

    return make


@pytest.fixture(autouse=True)
async def _empty(superuser: Connect) -> None:
    """Take away the runs that other tests left in the queue."""
    async with superuser() as above:
        await above.execute("update runs set status = 'cancelled' where status in ('queued', 'running')")


async def accept(database: Database, alice: Principal, count: int) -> list[str]:
    """Accept so many runs of a flow of their own at once; returns them in their order."""
    name = uuid4().hex[:8]
    async with database.transaction(Access.of(alice)) as connection:
        await connection.execute(_ACCEPT, [name, name, count])
    return [f"{name}{n:05}" for n in range(1, count + 1)]


async def names(leases: Sequence[Lease]) -> list[str]:
    return sorted(lease.run for lease in leases)


async def test_the_oldest_are_taken_first_and_none_twice(database: Database, alice: Principal) -> None:
    """Eight workers at once; what one is taking the others pass over."""
    runs = await accept(database, alice, 40)
    assert await names(await queue.take(database, 1, ["backlog"], 4)) == runs[:4]
    taken = await asyncio.gather(*(queue.take(database, number, ["backlog"], 5) for number in range(2, 10)))
    assert sorted(lease.run for leases in taken for lease in leases) == runs[4:]
    assert await queue.take(database, 1, ["backlog"], 4) == []


async def test_a_backlog_costs_the_last_run_no_more_than_the_first(
    database: Database, alice: Principal, urls: Urls, superuser: Connect
) -> None:
    """Counted in blocks that taking touches, with thousands behind and with none; and there are no jobs at all."""
    runs = await accept(database, alice, BACKLOG)
    async with superuser() as above, Seat.take(urls.worker) as seat:
        await above.execute("vacuum analyze runs")
        first = await blocks(above, seat.number)
        for start in range(1, BACKLOG, 100):
            leases = await queue.take(database, seat.number, ["backlog"], 100)
            assert await names(leases) == runs[start : start + 100]
            await sweep(database)
        assert await jobs(above) == 0
        await accept(database, alice, 1)
        await above.execute("vacuum analyze runs")
        assert await blocks(above, seat.number) <= first * 1.5 + 10


async def blocks(above: Any, worker: int) -> int:
    """Take one run, and return how many blocks that touched."""
    cursor = await above.execute(
        "explain (analyze, buffers, format json) select * from take_runs(%s, array['backlog'], 1)", [worker]
    )
    (explanation,) = (await cursor.fetchone())["QUERY PLAN"]
    plan: Mapping[str, Any] = explanation["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def jobs(above: Any) -> int:
    return (await (await above.execute("select count(*) as n from queue.procrastinate_jobs")).fetchone())["n"]


async def test_a_run_that_people_wake_goes_before_a_backlog(stages: Stages, alice: Principal) -> None:
    """It was accepted before all that wait, so it is the oldest again."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    await stage.lease(run)
    await accept(stage.database, alice, 50)
    await stage.requeue(run)
    leases = await queue.take(stage.database, 1, [*FLOWS, "backlog"], 1)
    assert await names(leases) == [run]


async def test_a_run_that_was_put_back_rests_a_while(stages: Stages, superuser: Connect) -> None:
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    (lease,) = await queue.take(stage.database, 1, FLOWS, 9)
    await records.put_back(stage.database, lease)
    assert await queue.take(stage.database, 1, FLOWS, 9) == []
    async with superuser() as above:
        await above.execute("update runs set beat = beat - interval '10 s' where id = %s", [run])
    assert await names(await queue.take(stage.database, 1, FLOWS, 9)) == [run]


class Lanes:
    """A process's queue with leases handed in, and a record of what it asks for and leads."""

    def __init__(self, *rounds: int) -> None:
        self.asked: list[int] = []
        self.led: list[str] = []
        self.go = asyncio.Event()
        self._rounds = list(rounds)

    async def take(self, most: int) -> list[Lease]:
        """Hand out as many as this round has."""
        self.asked.append(most)
        count = min(most, self._rounds.pop(0) if self._rounds else 0)
        return [Lease(f"r{len(self.led)}", 1, "t", Access(Principal("t", "a"), ()), "c", {}) for _ in range(count)]

    async def lead(self, lease: Lease) -> None:
        """Lead until told to go."""
        self.led.append(lease.run)
        await self.go.wait()


async def test_a_worker_asks_for_as_many_as_it_has_lanes_and_once_per_ring() -> None:
    """A run that ends in a lane asks nothing while the queue was empty; with all lanes busy a ring asks nothing."""
    lanes, waiting = Lanes(2, 5, 0), Queue()
    task = asyncio.create_task(waiting.work(lanes.take, lanes.lead, lanes=3))
    await until(lambda: len(lanes.led) == 2, "two runs")
    assert lanes.asked == [3]
    waiting.ring()
    await until(lambda: len(lanes.led) == 3, "a third run")
    waiting.ring()
    assert lanes.asked == [3, 1]
    lanes.go.set()
    await until(lambda: len(lanes.asked) == 3, "a free lane")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert lanes.asked[:3] == [3, 1, 3]


async def test_a_living_workers_runs_are_left_alone(stages: Stages, urls: Urls) -> None:
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    async with Seat.take(urls.worker) as seat:
        await stage.lease(run, number=seat.number)
        assert run not in await sweep(stage.database)
    assert run in await sweep(stage.database)


async def test_a_hung_workers_runs_are_taken_over(stages: Stages, urls: Urls, superuser: Connect) -> None:
    """Trap 6: a stopped process keeps its lock, so its heartbeat counts as well."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    async with Seat.take(urls.worker) as seat, superuser() as above:
        await stage.lease(run, number=seat.number)
        await above.execute("update runs set beat = now() - interval '31 s' where id = %s", [run])
        assert run in await sweep(stage.database)


async def waits(above: Any) -> bool:
    cursor = await above.execute(
        "select 1 from pg_locks where locktype = 'advisory' and classid = 7100 and not granted"
    )
    return await cursor.fetchone() is not None


async def test_a_neighbour_learns_of_a_death_at_once_and_goes_on_to_the_next(urls: Urls, superuser: Connect) -> None:
    """Its own lock keeps nobody from finding the dead one's runs."""
    deaths: list[int] = []

    async def report() -> None:
        deaths.append(len(deaths))

    async with Seat.take(urls.worker) as first, Seat.take(urls.worker) as second, Seat.take(urls.worker) as third:
        guard = asyncio.create_task(first.guard(report))
        async with superuser() as above:
            for number, seat in enumerate((second, third), 1):
                await until(lambda: waits(above), "somebody who waits")
                await above.execute(
                    "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 7100 "
                    "and objid = %s::int::oid and mode = 'ExclusiveLock' "
                    "and database = (select oid from pg_database where datname = current_database())",
                    [seat.number],
                )
                await until(lambda number=number: len(deaths) == number, "a report")
        guard.cancel()
        await asyncio.gather(guard, return_exceptions=True)
