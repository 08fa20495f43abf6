"""Crash matrix: `python -m tests.bench.crashes --kills 30 --seed 1 --profile busy409:2 --on-request` on real processes.

Two workers, the API and the demo business run as children, Postgres beside them. People ask for refunds and agree to
them, each request repeated under its key until it is answered. SIGKILL strikes one process after the other, with
`--on-request` only while a refund is under way at the business. In the end no charge may be refunded twice, no accepted
run be lost or stuck, and none say done without its refund, nor failed with it.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from app import bootstrap
from app.addresses import Addresses, addresses_of, service_keys
from app.settings import Settings
from app.supervisor import Child, ServerKeeper, Supervisor, answers, environment, supervise
from memory.postgres.embedded import attach
from tests.scenarios.waiting import until

CUSTOMERS = 900
TARGETS = ("worker", "worker2", "worker", "worker2", "serve", "world", "world", "postgres")
RESTING = frozenset({"done", "failed", "denied", "stopped", "cancelled"})
_STRIKE_SECONDS = 0.4
_CROWD = 12
"""Runs that are open at once at most; more would only wait."""


@dataclass
class House:
    """The whole product as processes, and what its people were told."""

    addresses: Addresses
    supervisor: Supervisor
    server: ServerKeeper
    api: str
    keys: dict[str, str]
    rng: random.Random
    charges: list[tuple[str, int]]
    runs: dict[str, str] = field(default_factory=dict[str, str])
    """Charge by accepted run."""
    votes: int = 0
    kills: Counter[str] = field(default_factory=Counter[str])
    last_strike: str = "-infinity"
    """When the last process was killed, on the database's clock."""

    async def send(self, person: str, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Send a request until it is answered, under one key."""
        headers = {"Authorization": f"Bearer {self.keys[person]}", "Idempotency-Key": uuid4().hex}
        async with httpx2.AsyncClient(base_url=self.api, headers=headers, timeout=20, trust_env=False) as client:
            while True:
                with suppress(httpx2.TransportError):
                    answer = await client.request(method, path, json=body)
                    if not answer.is_server_error and answer.status_code != HTTPStatus.CONFLICT:
                        return answer
                    if answer.status_code == HTTPStatus.CONFLICT and "at work" not in answer.text:
                        return answer
                await asyncio.sleep(0.1)

    async def ask(self) -> None:
        """Ask for refunds for ever; now and then two people ask for the same one."""
        while True:
            if await self.open_runs() >= _CROWD or not self.charges:
                await asyncio.sleep(0.1)
                continue
            charge, amount = self.charges.pop()
            args = {"charge": charge, "amount": amount}
            expect = "result.refunded + result.replayed == 1"
            step = {"id": "refund", "tool": "billing.refund", "effect": "write", "args": args, "expect": expect}
            step["backout"] = "none"
            body = {"plan": {"id": "crash", "goal": f"refund {charge}", "steps": [step]}}
            for _ in range(self.rng.choice([1, 1, 2])):
                answer = await self.send("alice", "POST", "/api/runs", body)
                self.runs[answer.raise_for_status().json()["run"]] = charge

    async def agree(self, person: str) -> None:
        """Agree to whatever is asked, for ever."""
        while True:
            answer = await self.send(person, "GET", "/api/approvals?status=open&limit=100")
            for question in answer.json().get("items", []):
                view = (await self.send(person, "GET", f"/api/approvals/{question['id']}")).json()
                decision = {"decision": "approve", "nonce": view.get("nonce", ""), "reason": "agreed"}
                answer = await self.send(person, "POST", f"/api/approvals/{question['id']}/decisions", decision)
                self.votes += answer.is_success
            await asyncio.sleep(0.1)

    async def strike(self, *, on_request: bool) -> None:
        """Kill one process, at once or while a refund is under way."""
        if on_request:
            await until(self.is_busy, "a refund under way", 120)
            await asyncio.sleep(self.rng.uniform(0, _STRIKE_SECONDS))
        else:
            await asyncio.sleep(self.rng.uniform(0.1, 2.0))
        name = self.rng.choice(TARGETS)
        pid = self.server.server.pid if name == "postgres" else self.supervisor.pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.kills[name] += 1
            ((self.last_strike,),) = await self.read("select clock_timestamp()::text")

    async def is_busy(self) -> bool:
        """Return whether a refund was sent since the last strike and is not settled: its request is under way."""
        query = (
            f"select 1 from effects where state = 'claimed' and coalesce(sent, claimed) > '{self.last_strike}' limit 1"
        )
        return bool(await self.read(query))

    async def open_runs(self) -> int:
        """Return how many runs have not come to rest."""
        query = "select 1 from runs where kind = 'run' and status in ('queued', 'running', 'waiting')"
        return len(await self.read(query))

    async def read(self, query: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Return rows, as the owner who entered the tenant; waits for a database that is away."""
        while True:
            with suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(url or self.addresses.owner_url) as connection:
                    if url is None:
                        await connection.execute("select enter('main', 'bench', '{}', '{}')")
                    return await (await connection.execute(query.encode())).fetchall()
            await asyncio.sleep(0.1)

    async def figures(self) -> dict[str, Any]:
        """Return what came of it."""
        business = self.addresses.business_url
        refunds = await self.read("select charge, run from world_billing.refunds where not by_support", business)
        counts, acting = Counter(charge for charge, _ in refunds), {run for _, run in refunds}
        rows = {run: (status, reason) for run, status, reason in await self.read("select id, status, reason from runs")}
        ends = {run: rows.get(run, ("lost", None)) for run in self.runs}
        doubts = await self.read("select key from effects where state in ('in_doubt', 'claimed')")
        verification = (await self.send("bob", "GET", "/api/journal/verify")).json()
        return {
            "kills": dict(self.kills),
            "accepted runs": len(self.runs),
            "votes": self.votes,
            "refunds": sum(counts.values()),
            "ends": dict(Counter(f"{status} {reason or ''}".strip() for status, reason in ends.values())),
            "effects in doubt": len(doubts),
            "journal verified": verification.get("ok"),
            "duplicates": [charge for charge, count in counts.items() if count > 1],
            "lost": [run for run, (status, _) in ends.items() if status == "lost"],
            "stuck": [run for run, (status, _) in ends.items() if status not in {*RESTING, "lost"}],
            "done without a refund": [r for r, (s, _) in ends.items() if s == "done" and not counts[self.runs[r]]],
            "failed with one": [r for r, (s, _) in ends.items() if s == "failed" and r in acting],
        }


@asynccontextmanager
async def open_house(folder: Path, profile: str, seed: int) -> AsyncGenerator[House]:
    """Start everything on fresh data."""
    world = free()
    settings = Settings(data_dir=folder, port=free(), world_url=f"http://127.0.0.1:{world}")
    async with AsyncExitStack() as stack:
        addresses = stack.enter_context(addresses_of(settings))
        server = ServerKeeper(lambda: attach(folder))
        stack.callback(server.close)
        await bootstrap.set_up(settings, addresses)
        service_keys(settings)
        names = ("alice", "bob", "carol")
        keys = {name: (await bootstrap.first_key(settings, addresses, name)).secret for name in names}
        variables = environment(settings)
        business = ("world", f"--port={world}", f"--customers={CUSTOMERS}", f"--seed={seed}", f"--faults={profile}")
        children = [
            Child("world", business, variables),
            Child("serve", ("serve", "--no-worker"), variables),
            Child("worker", ("worker",), variables),
            Child("worker2", ("worker",), variables),
        ]
        supervisor = await stack.enter_async_context(supervise(children, logs=folder / "logs", server=server))
        await until(lambda: answers(f"{settings.api}/readyz"), "the API", 90)
        await until(lambda: answers(f"{settings.world_url}/livez"), "the business", 90)
        house = House(addresses, supervisor, server, settings.api, keys, random.Random(seed), [])
        query = """
        select c.id, c.amount from world_billing.charges c join world_billing.labels l on l.charge = c.id
         where l.label = 'clean_duplicate' order by c.id
        """
        house.charges = [
            (str(charge), int(amount)) for charge, amount in await house.read(query, addresses.business_url)
        ]
        yield house


async def measure(kills: int, seed: int, profile: str, *, on_request: bool, seconds: float) -> dict[str, Any]:
    """Return the figures of so many kills, or of as many as there is time for."""
    with tempfile.TemporaryDirectory(prefix="cs-crash-") as name:
        folder = passable(name)
        async with open_house(folder / "data", profile, seed) as house:
            end = time.monotonic() + seconds
            asking = asyncio.create_task(house.ask())
            agreeing = [asyncio.create_task(house.agree(person)) for person in ("bob", "carol")]
            while sum(house.kills.values()) < kills and time.monotonic() < end:
                await house.strike(on_request=on_request)
            asking.cancel()

            async def are_over() -> bool:
                return await house.open_runs() == 0

            with suppress(AssertionError):
                await until(are_over, "the end of all runs", 180)
            figures = await house.figures()
            for task in agreeing:
                task.cancel()
            await asyncio.gather(asking, *agreeing, return_exceptions=True)
            return {**figures, "seconds": round(time.monotonic() - end + seconds)}


def main() -> None:
    """Measure and print one object; exit 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="busy409:2", help="fault profile of the demo business")
    parser.add_argument("--on-request", action="store_true", help="strike only while a refund is under way")
    parser.add_argument("--seconds", type=float, default=600, help="no more kills after so long")
    options = parser.parse_args()
    work = measure(options.kills, options.seed, options.profile, on_request=options.on_request, seconds=options.seconds)
    figures = asyncio.run(work)
    sys.stdout.write(json.dumps({"seed": options.seed, "profile": options.profile, **figures}, indent=1) + "\n")
    wrong = ("duplicates", "lost", "stuck", "done without a refund", "failed with one")
    sys.exit(1 if any(figures[name] for name in wrong) or not figures["journal verified"] else 0)


def passable(name: str) -> Path:
    """Return a folder through which a server that must not be root may pass."""
    folder = Path(name)
    folder.chmod(0o711)
    return folder


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
