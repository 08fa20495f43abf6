"""Postgres is killed while agents work: what a client was told stands, and the work goes on by itself."""

import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import bootstrap
from app.addresses import addresses_of, service_keys
from app.demo.people import Person
from app.settings import Settings
from app.supervisor import Child, ServerKeeper, answers, environment, supervise
from app.world.store import actual_counts, true_counts
from memory.errors import ControlError
from memory.postgres.embedded import attach
from tests.scenarios.test_incident import COUNTED
from tests.scenarios.town import ENDED, REQUEST
from tests.scenarios.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CUSTOMERS = 900


@dataclass
class Place:
    """A running installation with real processes."""

    server: ServerKeeper
    world: str
    alice: Person
    bob: Person
    carol: Person


@asynccontextmanager
async def installation(folder: Path) -> AsyncGenerator[Place]:
    settings = Settings(data_dir=folder, port=free(), world_url=f"http://127.0.0.1:{(world := free())}")
    async with AsyncExitStack() as stack:
        addresses = stack.enter_context(addresses_of(settings))
        server = ServerKeeper(lambda: attach(folder))
        stack.callback(server.close)
        await bootstrap.set_up(settings, addresses)
        service_keys(settings)
        keys = [(await bootstrap.first_key(settings, addresses, name)).secret for name in ("alice", "bob", "carol")]
        people = [await stack.enter_async_context(Person("", key, settings.api)) for key in keys]
        variables = environment(settings)
        children = [
            Child("world", ("world", f"--port={world}", f"--customers={CUSTOMERS}", "--faults=drop7"), variables),
            Child("serve", ("serve", "--no-worker"), variables),
            Child("worker", ("worker",), variables),
        ]
        await stack.enter_async_context(supervise(children, logs=folder / "logs", server=server))
        await until(lambda: answers(f"{settings.api}/readyz"), "the API", 60)
        await until(lambda: answers(f"{settings.world_url}/livez"), "the business", 60)
        yield Place(server, addresses.business_url, *people)


async def test_what_was_acknowledged_outlives_postgres(passable: Path) -> None:
    """R79: the run, every vote and every effect that a client saw is there after kill -9 of the server."""
    async with installation(passable / "data") as place:
        run = (await place.alice.post("/api/runs", {"message": REQUEST}))["run"]
        votes = Votes(place, run)
        await until(trying(lambda: votes.until_settled(2)), "two settled refunds", 60)
        known = await settled(place, run)
        assert place.server.server.pid is not None
        os.kill(place.server.server.pid, signal.SIGKILL)
        await until(trying(votes.until_ended), "the end of the run", 90)
        after = {effect["id"]: effect["state"] for effect in (await effects(place, run))}
        assert {id: after.get(id) for id in known} == known
        assert votes.given <= await votes.recorded()
        assert (await place.alice.get(f"/api/runs/{run}"))["status"] == "done"
        wanted, seen = await true_counts(place.world, "world"), await actual_counts(place.world, "world")
    assert {name: seen[name] for name in COUNTED} == {name: wanted[name] for name in COUNTED}


@dataclass
class Votes:
    """Two people who agree to everything, and what they were told about it."""

    place: Place
    run: str

    def __post_init__(self) -> None:
        self.given: set[tuple[str, str]] = set()

    async def give(self) -> None:
        """Agree to what is asked at the moment; a vote counts as given once the API says so."""
        for asked in (await self.place.alice.get("/api/approvals", run=self.run, status="open"))["items"]:
            for name in ("bob", "carol")[: asked["need"]]:
                if (asked["id"], name) not in self.given:
                    await getattr(self.place, name).approves(asked["id"], "agreed")
                    self.given.add((asked["id"], name))

    async def recorded(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for asked in (await self.place.alice.get("/api/approvals", run=self.run))["items"]:
            shown = await self.place.alice.get(f"/api/approvals/{asked['id']}")
            found |= {(asked["id"], vote["approver"]) for vote in shown["votes"]}
        return found

    async def until_settled(self, count: int) -> bool:
        await self.give()
        refunds = [each for each in await effects(self.place, self.run) if each["tool"] == "billing.refund_batch"]
        return sum(each["state"] == "done" for each in refunds) >= count

    async def until_ended(self) -> bool:
        await self.give()
        return (await self.place.alice.get(f"/api/runs/{self.run}"))["status"] in ENDED


async def effects(place: Place, run: str) -> list[dict[str, Any]]:
    return (await place.alice.get("/api/effects", run=run, limit=200))["items"]


async def settled(place: Place, run: str) -> dict[str, str]:
    return {each["id"]: "done" for each in await effects(place, run) if each["state"] == "done"}


def trying(ask: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Return a question that counts as unanswered while the server is away."""

    async def asked() -> bool:
        try:
            return await ask()
        except (ControlError, httpx2.TransportError):
            return False

    return asked


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
