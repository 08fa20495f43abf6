"""The worker: races with people and with its own kind, deaths in the middle, and one bad run among good ones."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from app.housekeeping import sweep
from app.worker import Driver, work
from graphs.catalog import Flow, FlowCatalog
from graphs.deps import Deps
from graphs.flows import governed
from memory.clock import SystemClock
from memory.errors import Temporary
from memory.postgres.database import Database
from memory.runs import leases, queue, records
from memory.runs.leases import Lease
from memory.runs.models import Run
from memory.runs.queue import Queue
from memory.scope import Access, Principal
from memory.store import context
from tests.conftest import Connect, VirtualClock
from tests.fakes.shop import Shop
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, pay, pay_all, plan, read
from tests.scenarios.waiting import until
from tools import kills
from tools.action import Action, Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
def stages(database: Database, clock: VirtualClock, people: dict[str, Principal]) -> Stages:
    def make(**options: Any) -> Stage:
        return Stage(database, clock, people, **options)

    return make


@pytest.fixture
async def waiting(superuser: Connect) -> Queue:
    """Return a queue in which no runs of other tests wait: a worker would take those first."""
    async with superuser() as above:
        await above.execute("update runs set status = 'cancelled' where status in ('queued', 'running')")
    return Queue()


@asynccontextmanager
async def running_worker(stage: Stage, waiting: Queue) -> AsyncGenerator[asyncio.Task[None]]:
    """Let a real worker work in this process."""
    task = asyncio.create_task(work(stage.database, waiting, stage.deps(), SystemClock(), lanes=4))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Temporary):
            await task


async def wait_for_status(stage: Stage, run: str, status: str = "done", seconds: float = 60) -> Run:
    """Wait until a run has a status."""

    async def has_status() -> bool:
        return (await stage.row(run)).status == status

    await until(has_status, f"run {run} is {status}", seconds)
    return await stage.row(run)


async def start_and_queue(stage: Stage, waiting: Queue, **options: Any) -> str:
    """Start a run and queue it in one transaction."""
    run = await stage.start(**options)
    async with stage.database.transaction(stage.access) as connection:
        await waiting.defer(connection, run)
    return run


async def test_a_deferred_run_is_taken(stages: Stages, waiting: Queue) -> None:
    stage = stages()
    async with running_worker(stage, waiting):
        run = await start_and_queue(stage, waiting, plan=plan(pay("a")))
        await wait_for_status(stage, run)
    assert stage.shop.payments == {"a": 100}


async def test_a_run_waits_and_goes_on_when_people_decided_elsewhere(stages: Stages, waiting: Queue) -> None:
    """R47."""
    stage = stages(policy=POLICY + HOLD)
    async with running_worker(stage, waiting):
        run = await start_and_queue(stage, waiting, plan=plan(pay("a")))
        await wait_for_status(stage, run, "waiting")
        assert (await stage.decide(run)).wakes_run
        async with stage.database.transaction(stage.access) as connection:
            await waiting.defer(connection, run)
        await wait_for_status(stage, run)
    assert stage.shop.payments == {"a": 100}


async def test_no_wake_up_is_lost_between_parking_and_deciding(stages: Stages) -> None:
    """Trap 2: whichever comes first, a decided run never stays waiting."""
    stage = stages(policy=POLICY + HOLD)
    for number in range(20):
        run = await stage.start(plan=plan(pay(f"o{number}")))
        gate_open = asyncio.Event()
        driver = Driver(stage.database, announcing(stage, gate_open), stage.clock, 1)
        driving = asyncio.create_task(driver.drive(run))
        await gate_open.wait()
        await stage.decide(run)
        await driving
        if (await stage.row(run)).status == "queued":
            await driver.drive(run)
        assert (await stage.row(run)).status == "done"


def announcing(stage: Stage, gate_open: asyncio.Event) -> Deps:
    """Return the stage's parts with a door that tells when it holds an action."""
    deps = stage.deps()

    async def perform(lease: records.Lease, action: Action, *context: Any) -> Outcome:
        outcome = await deps.perform(lease, action, *context)
        if outcome.state == "held":
            gate_open.set()
        return outcome

    return replace(deps, perform=perform)


async def test_a_zombie_stops_and_its_effect_is_not_repeated(stages: Stages) -> None:
    """Traps 4 and 17, R71: the successor finds the settled effect although no checkpoint tells of it."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a"), pay("b")))

    async def steal() -> None:
        await stage.requeue(run)
        await stage.driver(2).drive(run)

    stage.shop.during = steal
    await stage.driver(1).drive(run)
    assert ((await stage.row(run)).status, stage.shop.payments) == ("done", {"a": 100, "b": 100})
    assert len(await stage.bodies(run, "ended")) == 1


async def test_twenty_wake_ups_of_one_run_perform_its_step_once(stages: Stages) -> None:
    """R18."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    await stage.decide(row.id)
    await asyncio.gather(*(stage.driver(number).drive(row.id) for number in range(1, 21)))
    assert ((await stage.row(row.id)).status, stage.shop.payments) == ("done", {"a": 100})
    assert len(await stage.bodies(row.id, "outcome")) == 1


async def test_no_claim_commits_after_a_stop_switch_did(stages: Stages) -> None:
    """Trap 3."""
    stage = stages(shop=Shop(orders=200))
    ids = [await stage.start(plan=plan(read(), pay_all(size=1))) for _ in range(4)]
    start = asyncio.Event()

    async def begin() -> None:
        start.set()

    stage.shop.during = begin
    driving = asyncio.gather(*(stage.driver().drive(run) for run in ids))
    await start.wait()
    await kills.kill(stage.database, Access.of(stage.people["bob"]), "all")
    count = "select count(*) as n from effects"
    async with stage.database.transaction(stage.access) as connection:
        at_once = await (await connection.execute(count)).fetchone()
    await driving
    async with stage.database.transaction(stage.access) as connection:
        later = await (await connection.execute(count)).fetchone()
    assert at_once == later
    assert {(await stage.row(run)).reason for run in ids} == {"killed"}


async def test_runs_of_a_dead_worker_are_found_and_done(stages: Stages, waiting: Queue, superuser: Connect) -> None:
    """Trap 5, R70: the sweep queues them again."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    await stage.lease(run, number=999_999)
    async with running_worker(stage, waiting):
        await wait_for_status(stage, run)
    assert stage.shop.payments == {"a": 100}


async def test_a_run_whose_wake_up_was_lost_is_taken(stages: Stages, waiting: Queue) -> None:
    """Its row is queued, and nothing else is needed."""
    stage = stages()
    async with running_worker(stage, waiting):
        run = await stage.start(plan=plan(pay("a")))
        await wait_for_status(stage, run)
    assert stage.shop.payments == {"a": 100}


async def test_a_swept_backlog_stays_as_it_is(stages: Stages, waiting: Queue, superuser: Connect) -> None:
    """However long a run has waited for a lane: it is not forgotten, since its row names it."""
    stage = stages()
    run = await start_and_queue(stage, waiting, plan=plan(pay("a")))
    async with superuser() as above:
        await above.execute("update runs set created = now() - interval '1 h' where id = %s", [run])
        assert run not in await sweep(stage.database)
        cursor = await above.execute("select count(*) as n from queue.procrastinate_jobs")
        assert (await cursor.fetchone() or {})["n"] == 0


async def test_a_run_of_a_flow_that_this_worker_does_not_know_waits_for_one_that_does(stages: Stages) -> None:
    """It is not driven with another graph, and a worker that comes with the flow takes it."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")), flow="of_a_script")
    await stage.driver().drive(run)
    assert run not in [lease.run for lease in await queue.take(stage.database, 1, stage.driver().flow_names, 1000)]
    assert ((await stage.row(run)).status, stage.shop.payments) == ("queued", {})
    flows = FlowCatalog([Flow("of_a_script", governed.build)])
    driver = Driver(stage.database, stage.deps(), stage.clock, 1, flows)
    (lease,) = await queue.take(stage.database, 1, driver.flow_names, 1000)
    await driver.lead(lease)
    assert ((await stage.row(run)).status, stage.shop.payments) == ("done", {"a": 100})


async def test_one_failing_run_does_not_end_the_worker(stages: Stages, waiting: Queue) -> None:
    """Trap 8."""

    async def planner(state: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ZeroDivisionError("a mistake of ours")

    stage = stages(planner=planner)
    async with running_worker(stage, waiting) as worker:
        bad = await start_and_queue(stage, waiting, request="what?")
        row = await wait_for_status(stage, bad, "failed")
        good = await start_and_queue(stage, waiting, plan=plan(pay("a")))
        await wait_for_status(stage, good)
        assert not worker.done()
    assert (row.reason, "mistake" in row.message) == ("internal", False)


async def test_a_worker_that_lost_its_seat_ends(stages: Stages, waiting: Queue, superuser: Connect) -> None:
    """Trap 8: its runs are somebody else's now."""
    stage = stages()
    async with running_worker(stage, waiting) as worker, superuser() as above:
        await wait_for_status(stage, await start_and_queue(stage, waiting, plan=plan(pay("a"))))
        await above.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 7100 "
            "and database = (select oid from pg_database where datname = current_database())"
        )
        with pytest.raises(Temporary, match="lost its lock"):
            await asyncio.wait_for(worker, 5)


async def test_a_run_that_ended_in_its_graph_is_finished_by_the_successor(stages: Stages) -> None:
    """R79: a crash between the last checkpoint and the last entry changes nothing."""

    class Mortal(Driver):
        async def _end(self, lease: Lease, ending: Any) -> None:
            await leases.flush(self._database, lease)
            raise asyncio.CancelledError

    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    with suppress(asyncio.CancelledError):
        await Mortal(stage.database, stage.deps(), stage.clock, 1).drive(run)
    await stage.requeue(run)
    await stage.driver(2).drive(run)
    assert ((await stage.row(run)).status, stage.shop.calls) == ("done", ["pay:a"])


async def test_the_end_leaves_a_concise_outcome_and_no_working_memory(stages: Stages) -> None:
    stage = stages()
    row = await stage.run(plan(read(), pay("a")))
    (outcome,) = await context.last_outcomes(stage.database, stage.access, "test")
    assert row.id in outcome.body
    assert "shop.pay×1" in outcome.body
