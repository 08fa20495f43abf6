"""Stop switch under load: `python -m tests.bench.stopping --tries 300 --seed 1` pulls it while two workers act.

Each try queues runs at two workers with pools of their own, lets some requests reach a toy service, pulls a switch, and
counts what arrives after its answer. Right is: nothing but, of each claim that the answer named, the send under way.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from app.worker import work
from graphs.deps import Deps
from graphs.planning.plan import Plan
from memory.clock import SystemClock
from memory.errors import Temporary
from memory.governance import policy_version
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import records
from memory.runs.queue import Queue
from memory.scope import Access, Principal
from tests.bench.ground import ALICE, BOB, BUDGET, open_ground
from tests.bench.toy import ToyService, send_item, serve_toy
from tests.graphs.stage import silent
from tests.scenarios.waiting import until
from tools import kills
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.kills import KillReport
from tools.policy import PolicySet
from tools.services import ServiceClient

RUNS, STEPS = 4, 3
POLICY = """
// unattended: toy.send
@id("act") @layer("capability")
permit (principal == Agent::"executor", action in Action::"write", resource);
"""
REACHES: tuple[tuple[kills.Reach, str], ...] = (
    ("all", ""),
    ("tool", "toy.send"),
    ("agent", "executor"),
    ("user", ALICE.id),
)
LOCKS = ("pg_advisory_xact_lock", "pg_advisory_lock", "pg_advisory_lock_shared")


class SlowWire(httpx2.AsyncHTTPTransport):
    """A network on which requests are on their way for a while."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Deliver a request late."""
        await asyncio.sleep(self._rng.uniform(0.0, 0.05))
        return await super().handle_async_request(request)


@dataclass
class Tally:
    """Figures of all tries."""

    tries: int = 0
    requests: int = 0
    late: int = 0
    """Requests after an answer, each the send under way of a claim that the answer named."""
    wrong: list[str] = field(default_factory=list[str])
    """Requests after an answer that no claim accounts for, or a second one of it."""
    claims_after: int = 0
    open: int = 0
    duplicates: int = 0
    answers: list[float] = field(default_factory=list[float])
    """Seconds until the switch answered."""
    hostile_answers: list[float] = field(default_factory=list[float])
    """The same while hostile SQL holds the lock of all claims."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as they are printed."""
        return {
            "tries": self.tries,
            "requests": self.requests,
            "claims named as open": self.open,
            "their sends that arrived after the answer": self.late,
            "requests after the answer beyond those": len(self.wrong),
            "claims after the answer": self.claims_after,
            "effects that happened twice": self.duplicates,
            "slowest answer, s": round(max(self.answers, default=0.0), 3),
            "slowest answer under a hostile lock, s": round(max(self.hostile_answers, default=0.0), 3),
        }


@dataclass
class Yard:
    """Two workers, a toy service, and somebody at the switch."""

    database: Database
    queue: Queue
    toy: ToyService
    urls: Urls
    alice: Access
    bob: Access
    rng: random.Random
    tally: Tally = field(default_factory=Tally)

    async def attempt(self) -> None:
        """Pull a switch once in the middle of things."""
        reach, name = self.rng.choice(REACHES)
        seen = len(self.toy.arrivals)
        runs = [await self.start() for _ in range(RUNS)]
        goal = seen + self.rng.randint(1, RUNS * STEPS // 2)
        await until(lambda: len(self.toy.arrivals) >= goal, "requests", 20)
        began = time.monotonic()
        report = await kills.kill(self.database, self.bob, reach, name, "a try")
        answered = time.monotonic()
        claims = await self.claims()
        self.tally.answers.append(answered - began)
        await self.rest(runs)
        self.judge(report, answered, runs)
        self.tally.claims_after += await self.claims() - claims
        self.tally.tries += 1
        await kills.unkill(self.database, self.bob, reach, name)

    async def attempt_under_lock(self, lock: str) -> None:
        """Pull the switch while hostile SQL of the application's role holds the lock of all claims."""
        hostile = await psycopg.AsyncConnection.connect(self.urls.app, autocommit="xact" not in lock)
        try:
            await hostile.execute("set lock_timeout = 0")
            await hostile.execute("set idle_in_transaction_session_timeout = 0")
            await hostile.execute(f"select {lock}(7200, hashtext(%s))".encode(), [self.bob.principal.tenant])
            seen, claims = len(self.toy.arrivals), await self.claims()
            runs = [await self.start() for _ in range(RUNS)]
            began = time.monotonic()
            await kills.kill(self.database, self.bob, "all", "", "a try")
            self.tally.hostile_answers.append(time.monotonic() - began)
            # A shared lock lets claims pass until the switch is pulled.
            claims = await self.claims() if "shared" in lock else claims
            seen = len(self.toy.arrivals) if "shared" in lock else seen
            await self.rest(runs)
            self.tally.claims_after += await self.claims() - claims
            if "shared" not in lock:
                self.tally.wrong += [key for _, key in self.toy.arrivals[seen:]]
        finally:
            await hostile.close()
        await kills.unkill(self.database, self.bob, "all")

    def judge(self, report: KillReport, answered: float, runs: list[str]) -> None:
        """Count what arrived after the answer."""
        keys = {f"toy:{claim.run}/{claim.step}" for claim in report.open if claim.run in runs}
        late = Counter(key for at, key in self.toy.arrivals if at > answered)
        self.tally.open += len(keys)
        self.tally.late += sum(min(count, 1) for key, count in late.items() if key in keys)
        self.tally.wrong += [key for key, count in late.items() for _ in range(count - (key in keys))]
        self.tally.requests += len(self.toy.arrivals)
        self.tally.duplicates += sum(count > 1 for count in self.toy.effects.values())
        self.toy.forget()

    async def start(self) -> str:
        """Queue a run of a few sends."""
        run = uuid4().hex
        steps = [
            {"id": f"s{n}", "tool": "toy.send", "effect": "write", "args": {"item": f"{run}/s{n}"},
             "expect": "result.sent == 1", "backout": "none"}
            for n in range(STEPS)
        ]  # fmt: skip
        plan = Plan.model_validate({"id": "try", "source": "given", "goal": "a try", "steps": steps})
        request = {"request": "", "inputs": {}, "given": plan.model_dump(mode="json")}
        async with self.database.transaction(self.alice) as connection:
            await records.start(connection, id=run, thread=run, input=request, correlation=run, budget=BUDGET)
            await self.queue.defer(connection, run)
        return run

    async def claims(self) -> int:
        """Return how many effects were ever claimed."""
        return (await self.database.rows(self.alice, "select count(*) as n from effects"))[0]["n"]

    async def rest(self, runs: list[str]) -> None:
        """Wait until the runs have ended."""
        query = "select count(*) as n from runs where id = any(%s) and status in ('queued', 'running')"

        async def have_ended() -> bool:
            return (await self.database.rows(self.alice, query, runs))[0]["n"] == 0

        await until(have_ended, "the end of the runs", 60)


@asynccontextmanager
async def open_yard(urls: Urls, tenant: str, seed: int) -> AsyncGenerator[Yard]:
    """Start two workers before a toy service, for a tenant that has ALICE and BOB."""
    rng = random.Random(seed)  # draws tries, protects nothing
    catalog = Catalog([send_item])
    policy = PolicySet({"toy.cedar": POLICY}, catalog.cards)
    async with AsyncExitStack() as stack:
        toy, url = await stack.enter_async_context(serve_toy(rng))
        pools = [await Database.open(urls.app, size=6, worker_url=urls.worker) for _ in range(3)]
        for pool in pools:
            stack.push_async_callback(pool.close)
        keys = {"executor": "key", "researcher": "key"}
        services = await stack.enter_async_context(ServiceClient(url, keys, transport=SlowWire(rng)))
        queue = Queue()
        await policy_version.activate(pools[0], policy_version.installation(tenant), policy.version)
        for pool in pools[1:]:
            gateway = Gateway(pool, catalog, policy, services, SystemClock())
            await stack.enter_async_context(_worker(pool, Deps.of(pool, catalog, gateway, lambda lease: silent)))
        alice, bob = (Access.of(Principal(tenant, name, frozenset({"finance"}))) for name in (ALICE.id, BOB.id))
        yield Yard(pools[0], queue, toy, urls, alice, bob, rng)


@asynccontextmanager
async def _worker(pool: Database, deps: Deps) -> AsyncGenerator[None]:
    task = asyncio.create_task(work(pool, Queue(), deps, SystemClock(), lanes=3))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Temporary):
            await task


async def measure(tries: int, seed: int) -> Tally:
    """Return the figures of so many tries, and of five for each way to hold the lock of all claims."""
    async with open_ground() as ground, open_yard(ground.server.urls, ALICE.tenant, seed) as yard:
        for _ in range(tries):
            await yard.attempt()
        for lock in LOCKS * 5:
            await yard.attempt_under_lock(lock)
        return yard.tally


def main() -> None:
    """Measure and print one object; exit 1 if the switch did not stop everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stopping", description=__doc__)
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally = asyncio.run(measure(options.tries, options.seed))
    sys.stdout.write(json.dumps({"seed": options.seed, **tally.as_json()}, indent=1) + "\n")
    sys.exit(1 if tally.wrong or tally.claims_after or tally.duplicates else 0)


if __name__ == "__main__":
    main()
