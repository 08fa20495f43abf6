"""A counter: the API in process before a stage, whose runs the test drives when it wants to."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from app.api.dependencies import Services
from app.api.server import create_app
from memory.governance.feed import Feed
from memory.postgres.roles import Urls
from memory.scope import Access
from tests.app.conftest import RecordingQueue, key_of
from tests.conftest import VirtualClock
from tests.graphs.stage import BUDGET, HOLD, POLICY, Stage, Stages

FINANCE = HOLD.replace('@ttl("600")', '@ttl("600") @groups("finance")')
ONE = POLICY + FINANCE
TWO = POLICY + FINANCE.replace('"1"', '"2"').replace(">= 1", ">= 2")
"""Rules by which one person of finance, or two, countersign what costs something."""


@dataclass
class Counter:
    """A stage and its people, each with a client of their own."""

    stage: Stage
    clients: Mapping[str, httpx2.AsyncClient]

    async def send(self, person: str, method: str, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        """Send one request as somebody."""
        return await self.clients[person].request(method, path, json=body, **options)

    async def start(self, *steps: Mapping[str, Any], person: str = "alice", **options: Any) -> httpx2.Response:
        """Ask for a plan of these steps."""
        body = {"plan": {"id": "asked", "goal": "a test", "steps": list(steps)}}
        return await self.send(person, "POST", "/api/runs", body, **options)

    async def asked(self, *steps: Mapping[str, Any], person: str = "alice") -> str:
        """Ask for a plan and drive it as far as it goes; returns the run."""
        run = (await self.start(*steps, person=person)).raise_for_status().json()["run"]
        await self.stage.drive(run)
        return run

    async def question(self, run: str, person: str = "bob") -> dict[str, Any]:
        """Return the open question of a run as somebody reads it."""
        (row,) = (await self.send(person, "GET", f"/api/approvals?status=open&run={run}")).json()["items"]
        return (await self.send(person, "GET", f"/api/approvals/{row['id']}")).json()

    async def decide(
        self, person: str, question: Mapping[str, Any], decision: str = "approve", *, edited: Any = None, **options: Any
    ) -> httpx2.Response:
        """Answer a question as it was read."""
        body = {"decision": decision, "nonce": question["nonce"], "reason": "because", "edited": edited}
        return await self.send(person, "POST", f"/api/approvals/{question['id']}/decisions", body, **options)


Counters = Callable[..., AbstractAsyncContextManager[Counter]]


@asynccontextmanager
async def open_counter(urls: Urls, stages: Stages, policy: str = ONE) -> AsyncGenerator[Counter]:
    """Open the API before a stage; its queue only remembers whom it woke."""
    stage = stages(policy=policy)
    await stage.activate(stage.rules.version)
    app = create_app()
    async with Feed.open(stage.database) as feed:
        app.state.services = Services(
            stage.database,
            stage.catalog,
            RecordingQueue(),
            feed,
            VirtualClock(),
            stage.rules.version,
            BUDGET,
            rules=stage.rules,
        )
        root = Access.of(stage.people["root"])
        keys = {person: await key_of(stage.database, root, person) for person in stage.people}
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        clients = {
            person: httpx2.AsyncClient(
                transport=transport,
                base_url="http://api",
                headers={"Authorization": f"Bearer {key.secret}"},
                timeout=60,
            )
            for person, key in keys.items()
        }
        yield Counter(stage, clients)
