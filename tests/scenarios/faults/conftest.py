"""A database of their own for the faults, one per test worker, that each of them leaves as it was.

The fixtures bear the names of the shared ones, so that what is built on those uses this database here.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from psycopg.rows import dict_row

from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Principal
from tests.conftest import Connection, VirtualClock
from tests.graphs.stage import Stage, Stages


@pytest.fixture(scope="session")
def urls(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    return clone(f"faults_{worker_id}")


@pytest.fixture(scope="session")
async def database(urls: Urls, anyio_backend: str) -> AsyncGenerator[Database]:
    pool = await Database.open(urls.app, worker_url=urls.worker)
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
async def owner(urls: Urls, anyio_backend: str) -> AsyncGenerator[Connection]:
    async with await Connection.connect(urls.owner, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture(scope="session")
async def above(urls: Urls, anyio_backend: str) -> AsyncGenerator[Connection]:
    """Return a connection above all rules, for breaking and mending."""
    async with await Connection.connect(urls.superuser, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def stages(database: Database, clock: VirtualClock, people: dict[str, Principal]) -> Stages:
    def make(**options: Any) -> Stage:
        return Stage(database, clock, people, **options)

    return make
