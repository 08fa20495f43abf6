"""The queue and the seats of workers: jobs join transactions, and a worker's death is seen by its lock or its beat."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from app.housekeeping import sweep
from memory.errors import Temporary
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs.queue import Queue, Seat, tidy
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.graphs.stage import Stage, Stages, pay, plan

pytestmark = pytest.mark.anyio


@pytest.fixture
def stages(database: Database, clock: VirtualClock, people: dict[str, Principal]) -> Stages:
    def make(**options: Any) -> Stage:
        return Stage(database, clock, people, **options)

    return make


@pytest.fixture
async def waiting(urls: Urls) -> AsyncGenerator[Queue]:
    async with Queue.open(urls.worker) as connection:
        yield connection


async def test_a_job_of_a_rolled_back_transaction_does_not_exist(
    stages: Stages, waiting: Queue, superuser: Connect
) -> None:
    stage = stages()
    with suppress(ZeroDivisionError):
        async with stage.database.transaction(stage.access) as connection:
            await waiting.defer(connection, "never")
            raise ZeroDivisionError
    async with superuser() as above:
        cursor = await above.execute("select 1 from queue.procrastinate_jobs where args ->> 'run' = 'never'")
        assert await cursor.fetchone() is None


async def test_a_living_workers_runs_are_left_alone(stages: Stages, waiting: Queue, urls: Urls) -> None:
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    async with Seat.take(urls.worker) as seat:
        await stage.lease(run, number=seat.number)
        assert run not in await sweep(stage.database)
    assert run in await sweep(stage.database)


async def test_a_hung_workers_runs_are_taken_over(
    stages: Stages, waiting: Queue, urls: Urls, superuser: Connect
) -> None:
    """Trap 6: a stopped process keeps its lock, so its heartbeat counts as well."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    async with Seat.take(urls.worker) as seat, superuser() as above:
        await stage.lease(run, number=seat.number)
        await above.execute("update runs set beat = now() - interval '31 s' where id = %s", [run])
        assert run in await sweep(stage.database)


async def test_jobs_of_dead_workers_are_tidied_away(stages: Stages, waiting: Queue, superuser: Connect) -> None:
    stage = stages()
    async with superuser() as above:
        cursor = await above.execute(
            "insert into queue.procrastinate_jobs (queue_name, task_name, status) "
            "values ('runs', 'drive', 'doing'), ('runs', 'drive', 'failed') returning id"
        )
        ids = [row["id"] for row in await cursor.fetchall()]
        async with stage.database.worker() as connection:
            await tidy(connection)
        jobs = await above.execute("select id from queue.procrastinate_jobs where id = any(%s)", [ids])
        assert await jobs.fetchall() == []


async def test_an_unreachable_queue_says_so() -> None:
    with pytest.raises(Temporary, match="does not answer"):
        await Queue.open("postgresql://nobody@127.0.0.1:1/nothing").__aenter__()
