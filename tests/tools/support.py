"""A shop at the adapter's edge for gateway tests: it counts effects, and fails in the ways real services do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from memory.clock import Clock
from memory.errors import Permanent, Temporary
from memory.evidence import texts
from memory.governance import approvals, journal, policy_version
from memory.governance.approvals import VoteKind, VoteResult
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tools.action import Action, Decision, Json, Role
from tools.admission import AdmittedAction, admit
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.money import Money
from tools.policy import PolicySet
from tools.tool import BusinessServices, Call, Tool, ToolOptions, tool

WORKER = 1_000_000_007
"""A number that the sequence gives to no real worker."""
PLENTY = {"tokens": 1_000, "micros": 1_000, "calls": 1_000}
POLICY = """
// unattended: shop.charge, shop.slow, shop.unkeyed, shop.fail, shop.undo, shop.plain
@id("read")
@layer("capability")
permit (principal in Group::"workers", action in Action::"read", resource);
@id("act")
@layer("capability")
permit (principal == Agent::"executor", action in [Action::"write", Action::"destructive"], resource);
@id("never")
@layer("hard")
@code("policy_denied") @message("nobody pays 13")
forbid (principal, action in [Action::"shop.charge", Action::"shop.refund"], resource)
when { context.amount == 13 };
@id("one")
@layer("approval")
@approvals("1") @ttl("600") @groups("finance")
forbid (principal, action == Action::"shop.refund", resource) unless { context.approvals >= 1 };
@id("two")
@layer("approval")
@approvals("2") @ttl("600") @groups("finance")
forbid (principal, action == Action::"shop.refund", resource)
when { context.exposure > 1000 } unless { context.approvals >= 2 };
@id("attended")
@layer("approval")
@approvals("1")
forbid (principal, action in Action::"write", resource)
unless { context.approvals >= 1 || action in Action::"unattended" };
"""


class Item(BaseModel):
    """One thing to pay."""

    model_config = ConfigDict(extra="forbid")

    id: str
    amount: int = 10


@dataclass
class Shop:
    """The service: commits effects by key, and loses replies on request."""

    effects: list[str] = field(default_factory=list[str])
    """Keys of the effects in their order; a key twice would be a duplicate effect."""
    calls: int = 0
    lose: int = 0
    """How many of the next replies get lost after the commit."""
    before: Callable[[], Awaitable[None]] | None = None
    """Runs inside the call, before the effect."""
    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the answer."""
    permits: list[str | None] = field(default_factory=list[str | None])
    """Permit of each call."""

    def bind(self, role: Role, run: str, *, permit: str | None = None, key: str | None = None) -> BusinessServices:
        """Return the way to the shop for one call; remember its permit."""
        self.permits.append(permit)
        return _Counter(self, key or "")


@dataclass
class _Counter:
    shop: Shop
    key: str

    async def get(self, service: str, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        self.shop.calls += 1
        self._drop()
        return {"seen": path, "calls": self.shop.calls}

    async def post(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        self.shop.calls += 1
        if self.shop.before:
            await self.shop.before()
        if path == "refuse":
            raise Permanent("tool_failed", "account_closed")
        if path == "unkeyed" or self.key not in self.shop.effects:
            self.shop.effects.append(self.key)
        self._drop()
        return {"paid": self.key, **self.shop.answer}

    async def find_operation(self, service: str, key: str) -> Mapping[str, Any]:
        return {"paid": key} if key in self.shop.effects else {}

    def _drop(self) -> None:
        if self.shop.lose:
            self.shop.lose -= 1
            raise Temporary("tool_failed", "the connection was dropped")


def _key(args: Item) -> str:
    return f"shop:{args.id}"


def _amount(args: Item) -> Money:
    return Money(args.amount, "EUR")


async def _look(args: Item, call: Call) -> Mapping[str, Json]:
    return await call.services.find_operation("shop", call.key)


_NET: ToolOptions = {"key": _key, "lookup": _look, "keyed": True, "playbook": "p"}
_CHARGE: ToolOptions = {**_NET, "amount": _amount, "compensate": "shop.undo"}


@tool("shop.charge", effect="write", **_CHARGE)
async def charge(args: Item, call: Call) -> Mapping[str, Json]:
    """Charge, keyed and with read-back."""
    return await call.services.post("shop", "pay", {})


@tool("shop.unkeyed", effect="write", key=_key, attempts=1, playbook="p")
async def charge_without_key(args: Item, call: Call) -> Mapping[str, Json]:
    """Charge at a service that neither de-duplicates nor can be asked."""
    return await call.services.post("shop", "unkeyed", {})


@tool("shop.fail", effect="write", **_NET)
async def fail(args: Item, call: Call) -> Mapping[str, Json]:
    """Always be refused."""
    return await call.services.post("shop", "refuse", {})


@tool("shop.undo", effect="write", key=lambda args: f"undo:{args.id}", keyed=True, playbook="p")
async def undo(args: Item, call: Call) -> Mapping[str, Json]:
    """Take a charge back."""
    return await call.services.post("shop", "pay", {})


@tool("shop.peek", effect="read", attempts=1)
async def peek(args: Item, call: Call) -> Mapping[str, Json]:
    """Look."""
    return await call.services.get("shop", args.id)


TOOLS: list[Tool] = [
    charge,
    replace(charge, name="shop.refund"),
    replace(charge, name="shop.plain", key=None, compensate=""),
    replace(charge, name="shop.slow", settles_within=60.0),
    charge_without_key,
    fail,
    undo,
    replace(undo, name="shop.tell"),
    peek,
]


@dataclass
class Desk:
    """A shop, a gateway to it and people: what a gateway test starts from."""

    database: Database
    shop: Shop
    catalog: Catalog
    gateway: Gateway
    policy: PolicySet
    people: Mapping[str, Principal]
    clock: Clock

    async def run(self, *, requester: str = "alice", **budget: int) -> Lease:
        """Start a run on a fresh thread and lease it."""
        name, thread = f"r-{uuid4().hex[:12]}", f"th-{uuid4().hex[:8]}"
        async with self.database.transaction(Access.of(self.people[requester])) as connection:
            await records.start(
                connection, id=name, thread=thread, input={}, correlation=name, budget={**PLENTY, **budget}
            )
        return await self.lease(name)

    async def lease(self, run: str) -> Lease:
        """Lease a queued run."""
        lease = await records.lease(self.database, run, WORKER)
        assert lease is not None
        return lease

    async def retake(self, lease: Lease) -> Lease:
        """Let another worker take a run over, as after a crash."""
        async with self.database.worker() as connection:
            assert lease.run in await records.sweep(connection)
        return await self.lease(lease.run)

    async def end(self, lease: Lease, status: Any = "done", reason: str | None = None) -> None:
        """End this attempt of the run."""
        async with self.database.transaction(lease.access) as connection:
            await records.finish(connection, lease, status=status, reason=reason, message="", body={})

    async def resume(self, run: str, person: str = "bob") -> Lease:
        """Let a person resume a stopped run, and lease it."""
        async with self.database.transaction(self.access(person)) as connection:
            await records.resume(connection, run)
        return await self.lease(run)

    def access(self, person: str) -> Access:
        """Return what a person may do outside runs."""
        return Access.of(self.people[person])

    def judge(self, action: Action) -> tuple[AdmittedAction, Decision]:
        """Admit and decide as the gateway does."""
        admission = admit(action, self.catalog)
        return admission, self.policy.decide(action.role, action.tool, admission.facts)

    async def ask(self, lease: Lease, action: Action) -> str:
        """Perform an action that is held; returns the approval's id."""
        outcome = await self.gateway.perform(lease, action)
        assert (outcome.state, bool(outcome.approval)) == ("held", True), outcome
        return str(outcome.approval)

    async def decide(self, approval: str, person: str, decision: VoteKind = "approve", **options: Any) -> VoteResult:
        """Let a person answer with the nonce that the approval shows."""
        access = self.access(person)
        nonce = options.pop("nonce", None) or (await approvals.show(self.database, access, approval)).approval.nonce
        values: dict[str, Any] = {"reason": "", "channel": "test", **options}
        async with self.database.transaction(access) as connection:
            return await approvals.decide(connection, approval=approval, nonce=nonce, decision=decision, **values)

    async def story(self, lease: Lease) -> list[Mapping[str, Any]]:
        """Return the bodies of the run's journal."""
        return [entry.body for entry in await journal.read(self.database, lease.access, lease.run)]

    async def kinds(self, lease: Lease) -> list[str]:
        """Return the kinds of the run's entries, in order."""
        return [body["kind"] for body in await self.story(lease)]

    async def count(self, table: str) -> int:
        """Return how many rows of a table this tenant has."""
        async with self.database.transaction(self.access("alice")) as connection:
            row = await (await connection.execute(f"select count(*) as n from {table}".encode())).fetchone()
        return (row or {})["n"]

    async def activate(self, policy: str) -> list[str]:
        """Make a policy version the one in force; returns the runs that wake."""
        installation = policy_version.installation(self.access("bob").principal.tenant)
        return await policy_version.activate(self.database, installation, policy)


async def open_desk(
    database: Database,
    people: Mapping[str, Principal],
    clock: Clock,
    *,
    tools: Sequence[Tool] = (),
    policy: str = POLICY,
) -> Desk:
    """Build a desk with its policy in force; further tools stand beside those of the shop."""
    shop = Shop()
    catalog = Catalog([*TOOLS, *tools])
    rules = PolicySet({"shop.cedar": policy}, catalog.cards)
    desk = Desk(database, shop, catalog, Gateway(database, catalog, rules, shop, clock), rules, people, clock)
    await texts.keep(database, desk.access("alice"), "policy", rules.text)
    await texts.keep(database, desk.access("alice"), "cards", rules.cards_text)
    await desk.activate(rules.version)
    return desk


def act(lease: Lease, item: str = "a", *, tool: str = "shop.charge", **options: Any) -> Action:
    """Return an action of the executor on one item; further words are fields of the action or `amount`."""
    args: dict[str, Json] = {"id": item}
    if "amount" in options:
        args["amount"] = options.pop("amount")
    defaults: dict[str, Any] = {
        "step": f"s-{item}",
        "role": "executor",
        "args": args,
        "plan_hash": "plan-1",
        "user": lease.access.principal.id,
    }
    return Action(run=lease.run, tool=tool, **{**defaults, **options})
