"""Installation of the benchmarks: one Postgres with everything durable, one tenant, and any number of leased runs."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from psycopg import AsyncConnection, sql

from app.bootstrap import FUNCTIONS
from memory.governance import principals
from memory.postgres.database import Database
from memory.postgres.embedded import Embedded, attach
from memory.postgres.migrate import migrate
from memory.postgres.signing import admit
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Access, Principal

TENANT = "bench"
ALICE = Principal(TENANT, "alice", frozenset({"support"}))
BOB = Principal(TENANT, "bob", frozenset({"finance"}), limit_alone=10**9, limit_joint=10**9)
BUDGET = {"tokens": 10**9, "micros": 10**9, "calls": 10**6}


@dataclass(frozen=True, slots=True)
class Ground:
    """An empty installation."""

    server: Embedded
    database: Database
    access: Access
    folder: Path

    async def leases(self, count: int) -> list[Lease]:
        """Start runs and lease them, all before the clock runs."""
        leases: list[Lease] = []
        for _ in range(count):
            run = uuid4().hex
            async with self.database.transaction(self.access) as connection:
                await records.start(connection, id=run, thread=run, input={}, correlation=run, budget=BUDGET)
            if lease := await records.lease(self.database, run, worker=0):
                leases.append(lease)
        return leases

    async def empty(self, name: str) -> str:
        """Make another database on the same server, for a rival; returns its owner's address."""
        async with await AsyncConnection.connect(self.server.urls.superuser, autocommit=True) as connection:
            make = sql.SQL("create database {} owner cs_owner").format(sql.Identifier(name))
            await connection.execute(make)
        return self.server.urls_of(name).owner


@asynccontextmanager
async def open_ground(settings: Mapping[str, str] | None = None) -> AsyncGenerator[Ground]:
    """Start a Postgres of our own, migrate it and found the tenant; everything is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as folder, _attach(Path(folder), settings or {}) as server:
        await migrate(server.urls.owner, FUNCTIONS)
        await admit(server.urls.owner, server.urls.app)
        await principals.create_tenant(server.urls.owner, TENANT, [ALICE, BOB])
        database = await Database.open(server.urls.app, size=16, worker_url=server.urls.worker)
        try:
            yield Ground(server, database, Access.of(ALICE), Path(folder))
        finally:
            await database.close()


def _attach(folder: Path, settings: Mapping[str, str]) -> Embedded:
    folder.chmod(0o711)
    return attach(folder / "data", settings=settings)


async def per_second(work: Callable[[int], Awaitable[object]], count: int, lanes: int) -> float:
    """Return how often per second `work` gets done, numbered, on so many lanes."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await work(number)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(lanes)))
    return count / (time.perf_counter() - began)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of measurements."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]
