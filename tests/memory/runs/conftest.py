"""Runs that tests lead themselves, and the saver that they save through."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from uuid import uuid4

import pytest

from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import records
from memory.runs.checkpoints import Checkpoints
from memory.runs.leases import Lease
from memory.scope import Access, Principal

BUDGET = {"tokens": 1, "micros": 1, "calls": 1}
Leases = Callable[..., Awaitable[Lease]]


@pytest.fixture
def saver(database: Database) -> Checkpoints:
    return Checkpoints(database)


@pytest.fixture
async def other(urls: Urls) -> AsyncGenerator[Checkpoints]:
    """Return a saver with connections of its own, which knows nothing but what is in the database."""
    pool = await Database.open(urls.app, size=1, worker_url=urls.worker)
    yield Checkpoints(pool)
    await pool.close()


@pytest.fixture
def leases(database: Database, alice: Principal) -> Leases:
    async def make(thread: str = "", number: int = 1, principal: Principal = alice) -> Lease:
        run = str(uuid4())
        async with database.transaction(Access.of(principal)) as connection:
            await records.start(connection, id=run, thread=thread or run, input={}, correlation=run, budget=BUDGET)
        lease = await records.lease(database, run, number)
        assert lease is not None
        return lease

    return make
