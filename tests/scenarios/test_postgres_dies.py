"""Death of Postgres while agents work: acknowledged facts stand, and the work goes on by itself."""

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
from memory.errors import ControlError, Temporary
from memory.postgres.embedded import Embedded, attach
from tests.scenarios.test_incident import FIGURES
from tests.scenarios.town import REQUEST, TERMINAL
from tests.scenarios.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CUSTOMERS = 900


@dataclass
class Installation:
    """A running installation with real processes."""

    server: ServerKeeper
    world: str
    alice: Person
    bob: Person
    carol: Person


@asynccontextmanager
async def installation(folder: Path) -> AsyncGenerator[Installation]:
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
        yield Installation(server, addresses.business_url, *people)


async def test_what_was_acknowledged_outlives_postgres(passable: Path) -> None:
    """R79: the run, every vote and every effect that a client saw is there after kill -9 of the server."""
    async with installation(passable / "data") as house:
        run = (await house.alice.post("/api/runs", {"message": REQUEST}))["run"]
        votes = Votes(house, run)
        await until(trying(lambda: votes.have_refunded(2)), "two settled refunds", 60)
        effects_before = await settlements(house, run)
        assert house.server.server.pid is not None
        os.kill(house.server.server.pid, signal.SIGKILL)
        await until(trying(votes.have_finished), "the end of the run", 90)
        effects_after = {effect["id"]: effect["state"] for effect in (await effects(house, run))}
        assert {id: effects_after.get(id) for id in effects_before} == effects_before
        assert votes.receipts <= await votes.read()
        assert (await house.alice.get(f"/api/runs/{run}"))["status"] == "done"
        labels, counts = await true_counts(house.world, "world"), await actual_counts(house.world, "world")
    assert {name: counts[name] for name in FIGURES} == {name: labels[name] for name in FIGURES}


@dataclass
class Votes:
    """Two people who agree to everything, and the receipts of their votes."""

    house: Installation
    run: str

    def __post_init__(self) -> None:
        self.receipts: set[tuple[str, str]] = set()

    async def give(self) -> None:
        """Agree to what is asked at the moment; a vote counts as given once the API says so."""
        for question in (await self.house.alice.get("/api/approvals", run=self.run, status="open"))["items"]:
            for name in ("bob", "carol")[: question["need"]]:
                if (question["id"], name) not in self.receipts:
                    await getattr(self.house, name).approves(question["id"], "agreed")
                    self.receipts.add((question["id"], name))

    async def read(self) -> set[tuple[str, str]]:
        records: set[tuple[str, str]] = set()
        for question in (await self.house.alice.get("/api/approvals", run=self.run))["items"]:
            approval = await self.house.alice.get(f"/api/approvals/{question['id']}")
            records |= {(question["id"], vote["approver"]) for vote in approval["votes"]}
        return records

    async def have_refunded(self, count: int) -> bool:
        await self.give()
        refunds = [effect for effect in await effects(self.house, self.run) if effect["tool"] == "billing.refund_batch"]
        return sum(effect["state"] == "done" for effect in refunds) >= count

    async def have_finished(self) -> bool:
        await self.give()
        return (await self.house.alice.get(f"/api/runs/{self.run}"))["status"] in TERMINAL


async def effects(house: Installation, run: str) -> list[dict[str, Any]]:
    return (await house.alice.get("/api/effects", run=run, limit=200))["items"]


async def settlements(house: Installation, run: str) -> dict[str, str]:
    return {effect["id"]: "done" for effect in await effects(house, run) if effect["state"] == "done"}


def trying(ask: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """Return a question that counts as unanswered while the server is away."""

    async def answer() -> bool:
        try:
            return await ask()
        except (ControlError, httpx2.TransportError):
            return False

    return answer


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_server_that_dies_again_while_it_is_recovered_is_recovered_all_the_same(passable: Path) -> None:
    failures = [Temporary("unavailable", "it died at once")]

    def attach_again() -> Embedded:
        if keepers and failures:
            raise failures.pop()
        return attach(passable / "data")

    keepers: list[ServerKeeper] = []
    keepers.append(keeper := ServerKeeper(attach_again))
    try:
        assert keeper.server.pid is not None
        os.kill(keeper.server.pid, signal.SIGKILL)
        await until(lambda: keeper.server.pid is None, "the server's death")
        await keeper.recover()
        assert (keeper.recoveries, failures, keeper.server.pid is None) == (1, [], False)
    finally:
        keeper.close()
