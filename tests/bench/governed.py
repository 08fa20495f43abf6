"""Cost of governing: one action through the gateway, and a whole run, each with everything durable."""

import asyncio
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from app.worker import Driver
from graphs.deps import Deps
from graphs.planning.plan import Plan
from graphs.planning.proposal import Proposal
from graphs.state import State
from memory.clock import SystemClock
from memory.governance import policy_version
from memory.postgres.database import Database
from memory.runs.queue import Queue, RunStart
from memory.scope import Access
from tests.bench.counting import count_statements
from tests.bench.ground import BUDGET, Ground, per_second, percentile
from tests.bench.rounds import by_turns
from tests.bench.savers import RUNS, stock, stock_rate
from tests.tools.support import POLICY, TOOLS, Shop, act
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.policy import PolicySet

ACTIONS = {1: 400, 8: 1_600}
STEPS = [
    {"id": "look", "tool": "shop.peek", "effect": "read", "args": {"id": "a"}, "expect": "size(result.seen) > 0"},
    {
        "id": "act",
        "tool": "shop.charge",
        "effect": "write",
        "args": {"id": {"ref": "inputs.item"}},
        "expect": "size(result.paid) > 0",
        "backout": "take it back",
    },
]


@dataclass(frozen=True, slots=True)
class Shopping:
    """The product over an in-process shop, so that figures are the product's alone."""

    database: Database
    gateway: Gateway
    catalog: Catalog
    policy: str

    def deps(self) -> Deps:
        """Return the flow's parts, with a planner that always has the same idea."""
        return Deps.of(self.database, self.catalog, self.gateway, lambda lease: _propose)


async def _propose(state: State) -> Proposal:
    fields = {"id": "bench", "source": "runbook", "goal": "bench", "inputs": state.get("inputs"), "steps": STEPS}
    return {"plan": Plan.model_validate(fields), "round": 1, "note": ""}


_BYTES = """
select sum(pg_column_size(j.*))::float8 / count(distinct j.run) as bytes from journal j
 where j.run in (select e.run from journal e where e.kind = 'ended')
"""


def shopping(database: Database, *, seconds: float = 0.0) -> Shopping:
    """Return the product over a fresh shop, whose payments take so long."""
    catalog = Catalog(TOOLS)
    policy = PolicySet({"shop.cedar": POLICY}, catalog.cards)
    shop = Shop(before=partial(asyncio.sleep, seconds)) if seconds else Shop()
    return Shopping(database, Gateway(database, catalog, policy, shop, SystemClock()), catalog, policy.version)


async def activate(database: Database, access: Access, policy: str) -> None:
    """Put a policy version in force."""
    await policy_version.activate(database, policy_version.installation(access.principal.tenant), policy)


async def actions(ground: Ground) -> dict[str, float]:
    """Return milliseconds of a governed write around an adapter that takes no time, and its statements."""
    shop, figures = shopping(ground.database), dict[str, float]()
    await activate(ground.database, ground.access, shop.policy)
    for lanes, count in ACTIONS.items():
        leases, millis = await ground.leases(lanes), list[float]()

        async def perform(number: int, leases: Any = leases, millis: list[float] = millis) -> None:
            lease = leases[number % len(leases)]
            began = time.perf_counter()
            outcome = await shop.gateway.perform(lease, act(lease, uuid4().hex))
            millis.append((time.perf_counter() - began) * 1000)
            assert outcome.state == "done", outcome

        with count_statements() as count_of:
            await per_second(perform, count, lanes)
        figures |= {f"p50_{lanes}": statistics.median(millis), f"p99_{lanes}": percentile(millis, 0.99)}
        figures["statements"] = count_of.statements / count
    return figures


async def runs(ground: Ground) -> dict[str, float]:
    """Return governed runs per second beside the bare graph with the stock saver, in turns, and statements per run."""
    shop, figures = shopping(ground.database), dict[str, float]()
    await activate(ground.database, ground.access, shop.policy)
    driver = Driver(ground.database, shop.deps(), SystemClock(), 0)
    async with stock(ground) as rival:
        for lanes, count in RUNS.items():
            await _rate(ground, driver, 8, lanes)
            await stock_rate(rival, 8, lanes)
            own, other = partial(_rate, ground, driver, count, lanes), partial(stock_rate, rival, count, lanes)
            figures |= await by_turns(own, other, ("governed", "bare"), lanes)
        with count_statements() as count_of:
            await _rate(ground, driver, 20, 1)
        figures["statements"] = count_of.statements / 20
    rows = await ground.database.rows(ground.access, _BYTES)
    return figures | {"journal_bytes": float(rows[0]["bytes"])}


async def _rate(ground: Ground, driver: Driver, count: int, lanes: int) -> float:
    async def run(_: int) -> None:
        await driver.drive(await start(ground.database, ground.access))

    return await per_second(run, count, lanes)


async def start(database: Database, access: Access) -> str:
    """Record a request, as the API would; returns its run."""
    run = uuid4().hex
    request = {"request": "go", "inputs": {"item": run}, "runbook": None, "given": None}
    await Queue().accept(database, access, RunStart(run, request, run, BUDGET))
    return run
