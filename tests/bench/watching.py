"""Cost of waiting and watching over HTTP: statements of one run with a waiting caller, and what idle streams cost.

Rounds are paired, so that what else the machine does falls on both sides: `python -m tests.bench.watching`.
"""

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx2

from app.api.dependencies import Services
from app.api.server import create_app, http_server
from app.edge import Edge
from app.processes import listening
from app.worker import Driver
from graphs.deps import Deps
from graphs.planning.plan import Plan
from graphs.planning.proposal import Proposal
from graphs.state import State
from memory.clock import SystemClock
from memory.governance import principals
from memory.governance.feed import Feed
from memory.runs import queue, records
from memory.runs.queue import Queue, Seat
from memory.runs.records import Lease
from tests.app.api.sockets import connect
from tests.bench.counting import count_statements
from tests.bench.governed import STEPS, activate, shopping
from tests.bench.ground import BUDGET, TENANT, Ground, open_ground
from tests.serving import serving

ROUNDS, REQUESTS, RUNS = 3, 300, 20
STREAMS, CROWD = 1_000, Edge(connections=1_200, connections_per_peer=1_200)
IDLE_SECONDS = 5.0
LIVE = b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n"
STREAM = "GET /api/runs/{run}/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n"


@dataclass(frozen=True, slots=True)
class House:
    """The API on a port, and lanes of a worker without any duties, in this process."""

    ground: Ground
    port: int
    key: str


@asynccontextmanager
async def _open(ground: Ground) -> AsyncGenerator[House]:
    shop, bell, clock = shopping(ground.database), Queue(), SystemClock()
    await activate(ground.database, ground.access, shop.policy)
    async with AsyncExitStack() as stack:
        feed = await stack.enter_async_context(Feed.open(ground.database))
        services = Services(ground.database, shop.catalog, bell, feed, clock, shop.policy, BUDGET)
        listener = stack.enter_context(listening("127.0.0.1", 0))
        await stack.enter_async_context(serving(http_server(create_app(services), CROWD), listener))
        seat = await stack.enter_async_context(Seat.take(ground.server.urls.worker))
        deps = Deps.of(ground.database, shop.catalog, shop.gateway, lambda lease: _propose)
        driver = Driver(ground.database, deps, clock, seat.number)

        async def take(most: int) -> Sequence[Lease]:
            return await queue.take(ground.database, seat.number, driver.flow_names, most)

        tasks = [asyncio.create_task(seat.watch(bell.ring)), asyncio.create_task(bell.work(take, driver.lead, lanes=8))]
        try:
            yield House(ground, listener.getsockname()[1], await _key(ground))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _propose(state: State) -> Proposal:
    steps = [{**step, "args": {"id": uuid4().hex}} for step in STEPS]
    return {
        "plan": Plan.model_validate({"id": "b", "source": "runbook", "goal": "b", "steps": steps}),
        "round": 1,
        "note": "",
    }


async def _key(ground: Ground) -> str:
    key = await principals.bootstrap(ground.server.urls.owner, TENANT, "alice", "bench")
    return (await principals.claim(ground.database, key.secret)).secret if key.claim_until else key.secret


async def waiting(house: House) -> dict[str, float]:
    """Return the statements of one run whose caller waits for its end, from the request to the answer."""
    headers = {"Authorization": f"Bearer {house.key}", "Accept": "application/json"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{house.port}", headers=headers, timeout=60) as client:
        await _ask(client)
        with count_statements() as count:
            for _ in range(RUNS):
                await _ask(client)
    return {"statements": count.statements / RUNS}


async def _ask(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/chat", json={"message": "go"})
    assert answer.json()["status"] == "done", answer.text


async def streams(house: House) -> dict[str, float]:
    """Return the median of `/livez` beside a thousand idle streams and alone, and the statements they cost."""
    run = uuid4().hex
    async with house.ground.database.transaction(house.ground.access) as connection:
        await records.start(
            connection, id=run, thread=run, input={}, correlation=run, budget=BUDGET, flow="led_by_nobody"
        )
    alone: list[float] = []
    beside: list[float] = []
    statements: list[float] = []
    for _ in range(ROUNDS):
        alone.append(await _seconds(house.port))
        rest = await _statements()
        async with _crowd(house, run):
            beside.append(await _seconds(house.port))
            statements.append(await _statements() - rest)
    ratios = [one / other for one, other in zip(beside, alone, strict=True)]
    return {
        "alone_us": round(statistics.median(alone) * 1e6),
        "beside_us": round(statistics.median(beside) * 1e6),
        "ratio": round(statistics.median(ratios), 2),
        "worst_ratio": round(max(ratios), 2),
        "statements_per_second": round(statistics.median(statements), 2),
    }


@asynccontextmanager
async def _crowd(house: House, run: str) -> AsyncGenerator[None]:
    """Keep that many streams open, each of which has had its first event."""
    request = STREAM.format(run=run, key=house.key).encode()
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS // 50):
            wires = [await stack.enter_async_context(connect(house.port)) for _ in range(50)]
            await asyncio.gather(*(wire.send(request) for wire in wires))
            await asyncio.gather(*(wire.until(b"event: run") for wire in wires))
        # The first look at what each might have missed comes within a second.
        await asyncio.sleep(2)
        yield


async def _statements() -> float:
    with count_statements() as count:
        await asyncio.sleep(IDLE_SECONDS)
    return count.statements / IDLE_SECONDS


async def _seconds(port: int) -> float:
    """Return the median time of a request on a connection that stays."""
    times: list[float] = []
    async with connect(port) as wire:
        for _ in range(REQUESTS):
            began = time.perf_counter()
            await wire.send(LIVE)
            await wire.reply()
            times.append(time.perf_counter() - began)
    return statistics.median(times)


async def measure(names: Sequence[str]) -> None:
    """Print the figures that are named, or all."""
    async with open_ground() as ground, _open(ground) as house:
        for name, work in (("waiting", waiting), ("streams", streams)):
            if not names or name in names:
                sys.stdout.write(json.dumps({name: await work(house)}) + "\n")


def main(names: Sequence[str]) -> None:
    """Measure with room for as many files as the streams need."""
    import uvloop

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * STREAMS), most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(names))


if __name__ == "__main__":
    main(sys.argv[1:])
