"""All that a run needs, on the real database: the gateway over a tiny shop, the driver, and people who decide."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from app.worker import Driver
from graphs.deps import Deps
from graphs.execution.capabilities import Planner
from graphs.planning.plan import Plan
from graphs.planning.proposal import Proposal
from graphs.state import State
from memory.clock import Clock
from memory.evidence import texts
from memory.governance import approvals, journal, policy_version
from memory.governance.approvals import ApprovalRecord, VoteKind, VoteResult
from memory.governance.journal import JournalEntry
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.checkpoints import Checkpoints
from memory.runs.leases import Lease
from memory.runs.models import Run
from memory.scope import Access, Principal
from tests.fakes.shop import Shop, tools
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.policy import PolicySet

POLICY = """
@id("reads") @layer("capability")
permit (principal in Group::"workers", action in Action::"read", resource);
@id("effects") @layer("capability")
permit (principal == Agent::"executor", action in [Action::"write", Action::"destructive"], resource);
@id("reads-only") @layer("hard") @code("role_scope")
forbid (principal, action in Action::"write", resource) unless { principal == Agent::"executor" };
"""
HOLD = """
@id("money") @layer("approval") @approvals("1") @ttl("600")
forbid (principal, action in Action::"write", resource)
when { context.exposure > 0 } unless { context.approvals >= 1 };
"""
BUDGET = {"tokens": 10_000, "micros": 1_000_000, "calls": 1_000}


async def silent(state: State) -> Proposal:
    """Plan nothing: most tests give a complete plan."""
    raise AssertionError("nobody asked the planner")


@dataclass
class Stage:
    """One tenant's system; `number` stands for the worker, which holds no seat here."""

    database: Database
    clock: Clock
    people: Mapping[str, Principal]
    shop: Shop = field(default_factory=Shop)
    policy: str = POLICY
    planner: Planner = silent
    number: int = 1

    def __post_init__(self) -> None:
        self.catalog = Catalog(tools(self.shop))
        self.rules = PolicySet({"test.cedar": self.policy}, self.catalog.cards)

    @property
    def access(self) -> Access:
        """Return what alice may see outside runs."""
        return Access.of(self.people["alice"])

    async def activate(self, policy: str) -> None:
        """Put a policy version in force."""
        await policy_version.activate(self.database, policy_version.installation(self.access.principal.tenant), policy)

    def deps(self) -> Deps:
        """Return the flow's parts."""
        gateway = Gateway(self.database, self.catalog, self.rules, self.shop, self.clock)
        return Deps.of(self.database, self.catalog, gateway, lambda lease: self.planner)

    def driver(self, number: int | None = None) -> Driver:
        """Return a worker's driver."""
        return Driver(self.database, self.deps(), self.clock, number or self.number)

    def saver(self) -> Checkpoints:
        """Return a saver for reading history."""
        return Checkpoints(self.database)

    async def start(
        self, request: str = "", plan: Plan | None = None, thread: str | None = None, flow: str = "governed"
    ) -> str:
        """Let alice start a run; returns its id."""
        await texts.keep(self.database, self.access, "policy", self.rules.text)
        await texts.keep(self.database, self.access, "cards", self.rules.cards_text)
        await self.activate(self.rules.version)
        run = str(uuid4())
        complete_plan = plan.model_dump(mode="json") if plan else None
        request_body = {"request": request, "inputs": {}, "given": complete_plan}
        async with self.database.transaction(self.access) as connection:
            await records.start(
                connection, id=run, thread=thread or run, input=request_body, correlation=run, budget=BUDGET, flow=flow
            )
        return run

    async def run(self, plan: Plan) -> Run:
        """Start a plan and drive it as far as it goes; returns its row."""
        run = await self.start(plan=plan)
        await self.driver().drive(run)
        return await self.row(run)

    async def drive(self, run: str) -> Run:
        """Lead a run on as far as it goes; returns its row."""
        await self.driver().drive(run)
        return await self.row(run)

    async def lease(self, run: str, number: int = 1) -> Lease:
        """Lead a run without driving it."""
        lease = await records.lease(self.database, run, number)
        assert lease is not None
        return lease

    async def row(self, run: str) -> Run:
        """Return the run's row."""
        return await records.get(self.database, self.access, run)

    async def entries(self, run: str) -> list[JournalEntry]:
        """Return the run's journal."""
        return await journal.read(self.database, self.access, run, limit=5000)

    async def bodies(self, run: str, kind: str) -> list[Mapping[str, Any]]:
        """Return the bodies of one kind of entry."""
        return [entry.body for entry in await self.entries(run) if entry.kind == kind]

    async def ending(self, run: str) -> Mapping[str, Any]:
        """Return the last terminal entry."""
        return (await self.bodies(run, "ended"))[-1]

    async def open_approval(self, run: str) -> ApprovalRecord:
        """Return the question that the run waits for."""
        rounds = await approvals.ls(self.database, self.access, run=run, status="open")
        return await approvals.show(self.database, self.access, rounds[0].id)

    async def decide(
        self,
        run: str,
        person: str = "bob",
        decision: VoteKind = "approve",
        **options: Any,
    ) -> VoteResult:
        """Let a person answer the run's open question."""
        request_body = await self.open_approval(run)
        async with self.database.transaction(Access.of(self.people[person])) as connection:
            return await approvals.decide(
                connection,
                approval=request_body.approval.id,
                nonce=request_body.approval.nonce,
                decision=decision,
                reason=options.pop("reason", "because"),
                channel="test",
                **options,
            )

    async def cancel(self, run: str) -> None:
        """Let the requester cancel the run."""
        async with self.database.transaction(self.access) as connection:
            await records.cancel(connection, run, "enough")

    async def requeue(self, run: str) -> None:
        """Let the sweep find that the run's worker is dead: worker numbers here hold no seat."""
        async with self.database.worker() as connection:
            assert run in await records.sweep(connection)


Stages = Callable[..., Stage]


def plan(*steps: Mapping[str, Any], **fields: Any) -> Plan:
    """Return a complete plan by a client."""
    defaults: dict[str, Any] = {"id": "test", "source": "given", "goal": "a test", **fields}
    return Plan.model_validate({**defaults, "steps": list(steps)})


def read(id: str = "orders", tool: str = "shop.list", **options: Any) -> dict[str, Any]:
    """Return a read step."""
    return {"id": id, "tool": tool, "effect": "read", "args": {}, "expect": "result.size() >= 0", **options}


def pay(order: str, amount: int = 100, **options: Any) -> dict[str, Any]:
    """Return a step that pays one order."""
    return {
        "id": f"pay_{order}",
        "tool": "shop.pay",
        "effect": "write",
        "args": {"order": order, "amount": amount},
        "expect": "result.paid == 1",
        "backout": f"ask the payee of {order} to pay it back",
        **options,
    }


def pay_all(size: int = 10, start: int = 0, **options: Any) -> dict[str, Any]:
    """Return a step that pays what `orders` found, in batches."""
    return {
        "id": "pay_all",
        "tool": "shop.pay_batch",
        "effect": "write",
        "args": {},
        "batch": {"of": {"ref": "steps.orders.orders"}, "into": "orders", "size": size, "start": start},
        "expect": "result.paid == args.orders.count",
        "backout": "ask the payees",
        **options,
    }


def close(desk: str, **options: Any) -> dict[str, Any]:
    """Return a step that closes a desk and can be taken back."""
    return {
        "id": f"close_{desk}",
        "tool": "shop.close",
        "effect": "write",
        "args": {"desk": desk},
        "expect": "result.closed == 1",
        "backout": "open it again",
        "compensate": {"tool": "shop.open", "args": {"desk": desk}},
        **options,
    }


def trace(entries: list[JournalEntry]) -> list[str]:
    """Return kinds and steps of a journal, in order."""
    return [" ".join(filter(None, [entry.kind, entry.body.get("step")])) for entry in entries]
