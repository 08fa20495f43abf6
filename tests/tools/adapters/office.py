"""A gateway with the real tools before the real demo business, for the tests of adapters."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs.leases import Lease
from memory.runs.results import RunRows
from memory.scope import Principal
from tests.app.world.business import KEYS, Business, business
from tests.conftest import VirtualClock
from tests.tools.support import Desk, Shop
from tools.action import Action, Json, Outcome
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.policy import PolicySet
from tools.services import ServiceClient

PERMIT_ALL = """
@id("anything") @layer("capability")
permit (principal, action in [Action::"read", Action::"write", Action::"destructive"], resource);
"""


@dataclass
class Office(Desk):
    """Everything between an action and the business."""

    business: Business
    own_lease: Lease

    async def perform(
        self, tool: str, args: Mapping[str, Json], *, step: str | None = None, lease: Lease | None = None
    ) -> Outcome:
        """Let the executor perform one action of the office's own run, or of another."""
        run_lease = lease or self.own_lease
        return await self.gateway.perform(run_lease, self.action(tool, args, step=step, lease=run_lease))

    def action(
        self, tool: str, args: Mapping[str, Json], *, step: str | None = None, lease: Lease | None = None
    ) -> Action:
        """Return an action of the executor; the tool's own name serves as the step."""
        run_lease, name = lease or self.own_lease, step or tool.replace(".", "_")
        return Action(run_lease.run, name, "executor", tool, args, "plan-1", run_lease.access.principal.id)

    async def succeed(self, tool: str, args: Mapping[str, Json], *, step: str | None = None) -> Mapping[str, Any]:
        """Perform an action that must succeed and return its result."""
        outcome = await self.perform(tool, args, step=step)
        assert outcome.state == "done", outcome
        return outcome.result

    async def clean(self) -> Mapping[str, Any]:
        """Find the duplicates and return the slice that may be refunded, by the runbook's own cases."""
        duplicates = await self.succeed("billing.duplicates", {})
        return (await self.succeed("sets.split", {"of": duplicates["found"], "cases": CASES, "otherwise": "unclear"}))[
            "clean"
        ]

    async def cut(self, part: Mapping[str, Any], start: int, count: int) -> Mapping[str, Any]:
        """Return a part of a slice."""
        rows = RunRows(self.database, self.own_lease.access, self.own_lease.run, "cut")
        return await rows.cut({**part}, start, count)  # pyright: ignore[reportArgumentType]  # a slice as plain JSON


CASES = [
    "different_invoice: !same_invoice",
    "already_refunded: refunded",
    "disputed: disputed",
    "closed: account == 'closed'",
    "clean: account == 'open'",
]


@asynccontextmanager
async def office(
    urls: Urls,
    database: Database,
    people: Mapping[str, Principal],
    *,
    policy: str | None = PERMIT_ALL,
    seconds: float | None = None,
    **night: Any,
) -> AsyncGenerator[Office]:
    """Open an office whose policy allows anything, or the shipped one for None; permits are demanded.

    `seconds` is the time after which it gives an attempt up, for all tools.
    """
    async with (
        business(urls, permits=True, **night) as demo_business,
        ServiceClient(demo_business.url, KEYS) as services,
    ):
        catalog, clock = Catalog.discover(), VirtualClock()
        if seconds:
            catalog = Catalog(replace(catalog.get(name), timeout=seconds) for name in catalog.cards)
        rules = PolicySet({"open.cedar": policy}, catalog.cards) if policy else PolicySet.load(catalog.cards)
        gateway = Gateway(database, catalog, rules, services, clock)
        desk = Desk(database, Shop(), catalog, gateway, rules, people, clock)
        await desk.activate(rules.version)
        lease = await desk.run()
        yield Office(database, Shop(), catalog, gateway, rules, people, clock, demo_business, lease)
