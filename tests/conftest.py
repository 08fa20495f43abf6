"""One Postgres for all test workers, one migrated template, one clone per worker, one fresh tenant per test."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row

from app.bootstrap import FUNCTIONS
from memory.postgres.database import Database
from memory.postgres.embedded import Embedded, attach
from memory.postgres.migrate import migrate
from memory.postgres.roles import DATABASE, OWNER, Urls
from memory.postgres.signing import admit
from memory.scope import Principal

Connection = AsyncConnection[DictRow]
Connect = Callable[[], AbstractAsyncContextManager[Connection]]

_ROOT = "CS_TEST_ROOT"
_WORKER = "PYTEST_XDIST_WORKER"


class VirtualClock:
    """Time that passes only by sleeping, at once."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 5, 9, tzinfo=UTC)
        self.pauses: list[float] = []

    def now(self) -> datetime:
        """Return the virtual time."""
        return self.time

    def monotonic(self) -> float:
        """Return the virtual time in seconds."""
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; other tasks get their turn."""
        self.pauses.append(seconds)
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)


def pytest_configure() -> None:
    """Make the folder that all workers share; short, and passable for a server that must not be root."""
    if _WORKER not in os.environ:
        root = Path(tempfile.mkdtemp(prefix="cs-test-"))
        root.chmod(0o711)
        os.environ[_ROOT] = str(root)


def pytest_unconfigure() -> None:
    """Remove the shared folder after the last worker."""
    if _WORKER not in os.environ and (root := os.environ.pop(_ROOT, None)):
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def run_folder() -> Path:
    """Return the folder that all workers of this test run share."""
    return Path(os.environ[_ROOT])


@pytest.fixture(scope="session")
def server(run_folder: Path) -> Generator[Embedded]:
    """Return the server of all workers; never kill it, attach one of your own for that."""
    with attach(run_folder / "shared", settings={"fsync": "off"}) as postgres:
        yield postgres


@pytest.fixture(scope="session")
def clone(server: Embedded, run_folder: Path) -> Callable[[str], Urls]:
    """Return a factory of migrated databases by name, each a copy of the template."""

    def make(name: str) -> Urls:
        with (run_folder / "template.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            asyncio.run(migrate(server.urls.owner, FUNCTIONS))
            _copy(server.urls_of("postgres").superuser, name)
        urls = server.urls_of(name)
        asyncio.run(migrate(urls.owner, FUNCTIONS))
        asyncio.run(admit(urls.owner, urls.app))
        return urls

    return make


def _copy(superuser_url: str, name: str) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} owner {} strategy wal_log").format(
                sql.Identifier(name), sql.Identifier(DATABASE), sql.Identifier(OWNER)
            )
        )


@pytest.fixture(scope="session")
def urls(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return this worker's database, by role."""
    return clone(f"test_{worker_id}")


@pytest.fixture(scope="session")
async def database(urls: Urls, anyio_backend: str) -> AsyncGenerator[Database]:
    """Return the pools as the app's role and as a worker's; shared by this worker's tests, which use fresh tenants."""
    pool = await Database.open(urls.app, worker_url=urls.worker)
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
async def owner(urls: Urls, anyio_backend: str) -> AsyncGenerator[Connection]:
    """Return a connection as the owner; row security binds it too, so `enter` first."""
    async with await Connection.connect(urls.owner, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture(scope="session")
def superuser(urls: Urls) -> Connect:
    """Return a factory of connections above all rules, for tampering."""

    def connect() -> AbstractAsyncContextManager[Connection]:
        return _ConnectionScope(urls.superuser)

    return connect


class _ConnectionScope(AbstractAsyncContextManager[Connection]):
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Connection:
        self._connection = await Connection.connect(self._url, autocommit=True, row_factory=dict_row)
        return self._connection

    async def __aexit__(self, *error: object) -> None:
        await self._connection.close()


@pytest.fixture
async def tenant(owner: Connection, anyio_backend: str) -> str:
    """Return a tenant that nobody has used."""
    name = f"t-{uuid4().hex[:12]}"
    await owner.execute("insert into tenants (id) values (%s)", [name])
    return name


@pytest.fixture
async def people(owner: Connection, tenant: str) -> dict[str, Principal]:
    """Return the tenant's people: alice asks, bob and carol approve, dave may approve nothing, root makes keys."""
    finance = frozenset({"finance"})
    crowd = [
        Principal(tenant, "alice", frozenset({"support"})),
        Principal(tenant, "bob", finance, limit_alone=50_000, limit_joint=1_000_000_000),
        Principal(tenant, "carol", finance, limit_alone=50_000, limit_joint=1_000_000_000),
        Principal(tenant, "dave", finance),
        Principal(tenant, "root", frozenset({"admin"})),
    ]
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        for person in crowd:
            await owner.execute(
                "insert into principals (tenant, id, groups, limit_alone, limit_joint) values (%s, %s, %s, %s, %s)",
                [tenant, person.id, sorted(person.groups), person.limit_alone, person.limit_joint],
            )
    return {person.id: person for person in crowd}


@pytest.fixture
def alice(people: dict[str, Principal]) -> Principal:
    return people["alice"]


@pytest.fixture
def bob(people: dict[str, Principal]) -> Principal:
    return people["bob"]


@pytest.fixture
def carol(people: dict[str, Principal]) -> Principal:
    return people["carol"]


@pytest.fixture
def dave(people: dict[str, Principal]) -> Principal:
    return people["dave"]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()
