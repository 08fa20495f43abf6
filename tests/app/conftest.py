"""The API in process, over its ASGI interface, on the real database; runs are started but nobody drives them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from app import cli
from app.api.dependencies import Services
from app.api.server import create_app, http_server
from app.edge import Edge
from app.processes import listening
from memory.governance import principals
from memory.governance.feed import Feed
from memory.governance.principals import NewKey
from memory.postgres.database import Connection, Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.runs.queue import Queue, RunStart
from memory.scope import Access, Principal
from tests.conftest import VirtualClock
from tests.scenarios.waiting import until
from tests.serving import serving
from tools import effects
from tools.action import Json
from tools.catalog import Catalog
from tools.tool import Call, tool

BUDGET = {"tokens": 1000, "micros": 1000, "calls": 100}
Client = Callable[[str], Awaitable[httpx2.AsyncClient]]


class RecordingQueue(list[str]):
    """A queue that only remembers whom it was asked to wake."""

    def __init__(self) -> None:
        super().__init__()
        self._growth = asyncio.Event()

    async def defer(self, connection: Connection, run: str) -> None:
        """Remember the run."""
        self.append(run)
        self._growth.set()

    async def accept(self, database: Database, access: Access, start: RunStart) -> Mapping[str, Any] | None:
        """Start the run as ever, and remember it unless its request came before."""
        earlier = await Queue().accept(database, access, start)
        if earlier is None:
            self.append(start.id)
            self._growth.set()
        return earlier

    async def wait_for(self, count: int) -> None:
        """Wait until this many were woken; their transactions may still be open."""
        while len(self) < count:
            self._growth.clear()
            await self._growth.wait()


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture
async def feed(database: Database) -> AsyncGenerator[Feed]:
    async with Feed.open(database) as feed:
        yield feed


class Job(BaseModel):
    model_config = ConfigDict(extra="forbid")

    job: str


@tool("jobs.look", effect="read")
async def look(args: Job, call: Call) -> dict[str, Json]:
    """Say how a job is."""
    return {"job": args.job}


@tool("jobs.pause", effect="write", keyed=True, playbook="jobs.paused")
async def pause(args: Job, call: Call) -> dict[str, Json]:
    """Pause a job."""
    return {"paused": args.job}


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog([look, pause])


@pytest.fixture
def services(database: Database, catalog: Catalog, queue: RecordingQueue, feed: Feed) -> Services:
    return Services(database, catalog, queue, feed, VirtualClock(), "p1", BUDGET)


@pytest.fixture(scope="session")
def shared_app() -> FastAPI:
    """Return the application of this worker's tests; its routes are built once."""
    return create_app()


@pytest.fixture
def app(shared_app: FastAPI, services: Services) -> FastAPI:
    """Return the application with this test's services."""
    shared_app.state.services = services
    return shared_app


@pytest.fixture
async def anonymous(app: FastAPI) -> AsyncGenerator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api", timeout=20) as client:
        yield client


async def key_of(database: Database, root: Access, person: str) -> NewKey:
    """Return a key of a person, made by root and, unless that is root's own, claimed."""
    key = await principals.issue(database, root, person)
    return await principals.claim(database, key.secret) if key.claim_until else key


@pytest.fixture
async def client(anonymous: httpx2.AsyncClient, database: Database, people: dict[str, Principal]) -> Client:
    """Return a factory of clients with the key of a person; root is an administrator."""

    async def make(person: str) -> httpx2.AsyncClient:
        key = await key_of(database, Access.of(people["root"]), person)
        return httpx2.AsyncClient(
            transport=anonymous._transport,  # pyright: ignore[reportPrivateUsage]  # one app for all its people
            base_url="http://api",
            headers={"Authorization": f"Bearer {key.secret}", "Accept": "application/json"},
            timeout=20,
        )

    return make


@pytest.fixture
async def a(client: Client) -> httpx2.AsyncClient:
    return await client("alice")


@pytest.fixture
async def b(client: Client) -> httpx2.AsyncClient:
    return await client("bob")


@pytest.fixture
async def c(client: Client) -> httpx2.AsyncClient:
    return await client("carol")


@pytest.fixture
async def ask(database: Database, owner: Connection, tenant: str) -> Callable[..., Awaitable[Lease]]:
    """Return a factory that leases a run, holds one action of it and parks it at that question."""
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        await owner.execute("select * from activate_policy('p1')")

    async def hold(run: str, *, need: int = 1, exposure: int = 100, **fields: Any) -> Lease:
        lease = await lead(database, run)
        body = {**_question(lease, f"ask-{run}"), "need": need, "exposure": exposure, **fields}
        code, approval = await effects.hold(database, lease, body)
        assert code == "held"
        assert approval
        await records.park(database, lease, approval)
        return lease

    return hold


async def lead(database: Database, run: str) -> Lease:
    """Take a run as soon as the transaction that starts or wakes it has committed."""
    leases: list[Lease] = []

    async def is_taken() -> bool:
        if lease := await records.lease(database, run, 1):
            leases.append(lease)
        return bool(leases)

    await until(is_taken, f"run {run}")
    return leases[0]


def _question(lease: Lease, id: str) -> dict[str, Any]:
    item = {"digest": "d1", "step": "pause", "tool": "jobs.pause", "amount": 100}
    return {
        "id": id,
        "nonce": f"nonce-{id}",
        "run": lease.run,
        "fence": lease.fence,
        "step": "pause",
        "role": "executor",
        "tool": "jobs.pause",
        "user": lease.access.principal.id,
        "plan": "h1",
        "pins": [],
        "policy": "p1",
        "rules": ["two-people"],
        "groups": ["finance"],
        "ttl": 600,
        "requester_excluded": True,
        "digest": "d1",
        "items": [item],
        "args": {"job": "retry"},
        "cost": {"tokens": 0, "micros": 0, "calls": 1},
        "shown": {"tool": "jobs.pause", "args": {"job": "retry"}, "reversible": True},
    }


@pytest.fixture
async def approval(a: httpx2.AsyncClient, ask: Callable[..., Awaitable[Lease]]) -> str:
    """Return the approval that alice's run waits for."""
    run = (await a.post("/api/runs", json={"message": "pause the retry job"})).json()["run"]
    await ask(run)
    return f"ask-{run}"


def decision(approval: str, kind: str = "approve", **fields: Any) -> dict[str, Any]:
    """Return the body of a decision on the round that is shown."""
    return {"decision": kind, "nonce": f"nonce-{approval}", **fields}


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Awaitable[Ran]]


@pytest.fixture(scope="session")
async def address(shared_app: FastAPI, anyio_backend: str) -> AsyncGenerator[str]:
    """Return where this worker's API listens."""
    with listening("127.0.0.1", 0) as listener:
        async with serving(http_server(shared_app, Edge(grace_seconds=1)), listener):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def api(app: FastAPI, address: str) -> str:
    """Return where the API listens, with this test's services."""
    return address


@pytest.fixture
async def run(
    api: str,
    database: Database,
    people: dict[str, Principal],
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Return a factory that runs a command line as a person, in a folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNTERSIGN_URL", api)

    async def run(person: str, *argv: str) -> Ran:
        key = await key_of(database, Access.of(people["root"]), person)
        monkeypatch.setenv("COUNTERSIGN_KEY", key.secret)
        code = await asyncio.to_thread(cli.run, list(argv))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run
