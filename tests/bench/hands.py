"""Worker processes that benchmarks start and kill; their shop takes a while for each charge."""

import asyncio
import multiprocessing
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from multiprocessing.context import ForkServerProcess

from app.worker import work
from memory.clock import SystemClock
from memory.postgres import inventory
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs.queue import Queue
from tests.bench.governed import shopping
from tests.scenarios.waiting import until

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.bench.hands"])
CHARGE_SECONDS = 0.02


def lead(urls: Urls) -> None:
    """Take runs for ever."""
    asyncio.run(_lead(urls))


async def _lead(urls: Urls) -> None:
    database, clock = await Database.open(urls.app, worker_url=urls.worker), SystemClock()
    await work(database, Queue(), shopping(database, seconds=CHARGE_SECONDS).deps(), clock, lanes=2)


@asynccontextmanager
async def start_hand(urls: Urls, number: int) -> AsyncGenerator[ForkServerProcess]:
    """Start a worker, as the `number`-th, and wait until it takes runs; it is gone afterwards."""
    process = _FORKS.Process(target=lead, args=(urls,), daemon=True)
    await asyncio.to_thread(process.start)

    async def is_seated() -> bool:
        return await inventory.workers(urls.owner) == number

    try:
        await until(is_seated, "the worker")
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
