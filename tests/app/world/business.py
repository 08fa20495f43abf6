"""The demo business on a real socket, small and fast; used by its own tests and by those of the adapters."""

import hashlib
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from app.world import store
from app.world.generator import Situation
from app.world.requests import World, permit_digest
from app.world.service import open_world, server
from memory.postgres.roles import Urls
from tests.conftest import Connect
from tests.serving import serving
from tools.certificates import trust_of

KEYS = {"researcher": "reads-only", "executor": "reads-and-writes"}
SMALL = 300


@dataclass
class Business:
    """A served instance and a client without any patience: no retries."""

    url: str
    database: str
    world: World
    client: httpx2.AsyncClient

    @property
    def instance(self) -> str:
        """Return the instance's name."""
        return self.world.instance

    async def get(self, path: str, *, role: str = "researcher", **params: str | int) -> httpx2.Response:
        """Ask a read."""
        return await self.client.get(path, params=params, headers={"Authorization": f"Bearer {KEYS[role]}"})

    async def read(self, path: str, **params: str | int) -> Any:
        """Return the answer of a read that must succeed."""
        return (await self.get(path, role="researcher", **params)).raise_for_status().json()

    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        key: str | None = None,
        permit: str | None = None,
        role: str = "executor",
    ) -> httpx2.Response:
        """Ask a write; without a key every request is a new one, as a naive client's is."""
        headers = {"Authorization": f"Bearer {KEYS[role]}", "X-Correlation-Id": "tests"}
        headers |= {"Idempotency-Key": key} if key else {}
        headers |= {"Countersign-Permit": permit} if permit else {}
        return await self.client.post(path, json=body, headers=headers)

    async def duplicates(self, **values: object) -> list[dict[str, Any]]:
        """Return what the duplicate query shows, as far as the rows are as wanted."""
        rows = (await self.read("/billing/duplicates"))["rows"]
        return [row for row in rows if all(row[name] == value for name, value in values.items())]

    async def clean(self) -> list[dict[str, Any]]:
        """Return the rows that may be refunded."""
        return await self.duplicates(same_invoice=True, refunded=False, disputed=False, account="open")

    async def pause(self) -> None:
        """Stop the retry job."""
        (await self.post("/billing/pause_job", {"job": store.RETRY_JOB}, key="pause")).raise_for_status()

    async def true_counts(self) -> dict[str, int]:
        """Return what the labels say."""
        return await store.true_counts(self.database, self.instance)

    async def actual_counts(self) -> dict[str, int]:
        """Return what happened."""
        return await store.actual_counts(self.database, self.instance)

    async def rows(self, statement: str) -> Sequence[dict[str, Any]]:
        """Run a statement as the world's role, {i} standing for the instance."""
        async with await store.connect(self.database) as connection:
            cursor = await connection.execute(statement.replace("{i}", self.instance).encode())
            return await cursor.fetchall()


@asynccontextmanager
async def business(
    urls: Urls,
    *,
    seed: int = 1,
    customers: int = SMALL,
    situation: Situation = "double_charge",
    faults: str = "none",
    permits: bool = False,
) -> AsyncGenerator[Business]:
    """Load an instance of its own and serve it on a free port for the length of the block."""
    instance = f"w_{uuid4().hex[:12]}"
    await store.load(urls.world, instance, seed, customers, situation)
    # The socket listens before the server runs, so that nobody has to wait until it does; with its protocol named,
    # replies are not held back for 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_world(urls.world, instance, KEYS, permits=permits, faults=faults) as world:
            trust = trust_of(url)
            async with (
                serving(server(world, "127.0.0.1", 0), listener),
                httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False, verify=trust) as client,
            ):
                yield Business(url, urls.world, world, client)
    async with await store.connect(urls.world) as connection:
        for service in ("billing", "tickets", "cloud"):
            await connection.execute(f"drop schema {instance}_{service} cascade".encode())


async def permit(superuser: Connect, tool: str, body: Mapping[str, Any], *, seconds: int = 120) -> str:
    """Issue a permit for a body as it will be sent, past the claim that does so in earnest."""
    jti = uuid4().hex
    async with superuser() as connection:
        await connection.execute(
            "insert into permits.permit values "
            "(%s, 'tests', %s, %s, 'alice', 'executor', 'run-1', 'effect-1', now() + %s * interval '1 second', null)",
            [jti, tool, permit_digest(body), seconds],
        )
    return jti


def fingerprint(rows: Sequence[object]) -> str:
    """Return a digest of many rows, to compare them by."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()
