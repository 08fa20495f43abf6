"""A run with a refund that two people agreed to, for tests of what people are shown of it."""

from dataclasses import dataclass
from typing import Any

from memory.governance import principals, rounds
from memory.postgres.database import Database
from memory.runs import records, run_story
from memory.runs.leases import Lease
from tests.tools.support import PLENTY, Desk, act
from tools import effect_account, explanations

PLAN: dict[str, Any] = {"goal": "refund", "steps": [{"id": "s-a"}]}


@dataclass(frozen=True)
class Refund:
    """What was done, by its ids."""

    desk: Desk
    lease: Lease
    approval: str
    effect: str

    @property
    def database(self) -> Database:
        return self.desk.database


async def key_of(desk: Desk, person: str) -> str:
    """Return the hash of a key that root made and the person claimed."""
    code = await principals.issue(desk.database, desk.access("root"), person)
    return principals.key_hash((await principals.claim(desk.database, code.secret)).secret).hex()


async def adopt_plan(desk: Desk, lease: Lease) -> None:
    """Give a run its plan."""
    await records.adopt(desk.database, lease, plan=PLAN, plan_hash="plan-1", budget=PLENTY, facts={"goal": "refund"})


async def refund(desk: Desk) -> Refund:
    """Ask for a refund, let bob and carol agree, do it and end the run."""
    lease = await desk.run()
    await adopt_plan(desk, lease)
    action = act(lease, tool="shop.refund", amount=2_000)
    approval = await desk.ask(lease, action)
    await desk.decide(approval, "bob", reason="checked the invoice", credential=await key_of(desk, "bob"))
    await desk.decide(approval, "carol", reason="fine")
    outcome = await desk.gateway.perform(lease, action)
    assert outcome.state == "done", outcome
    async with desk.database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message="refunded 20.00", body={})
    return Refund(desk, lease, approval, str(outcome.effect))


async def differences(desk: Desk) -> list[str]:
    """Return what any view of this tenant's effects, rounds and runs says of a difference."""
    access, database = desk.access("alice"), desk.database
    views = {"effects": effect_account.show, "approvals": rounds.show, "runs where kind = 'run'": run_story.show}
    names = [
        f"{table} {row['id']}: {name}"
        for table, show in views.items()
        for row in await database.rows(access, f"select id from {table}")
        for name in (await show(database, access, row["id"])).differs
    ]
    effect_rows = await database.rows(access, "select id from effects")
    chains = [await explanations.explain(database, access, row["id"]) for row in effect_rows]
    return [*names, *(name for chain in chains for name in chain.differs)]
