"""A service that is slower than one attempt and answers 409 to the repetition, with and without a death in the middle.

The first request stays at work at the service, whoever waits for it; only the virtual clock moves it on.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from memory.errors import Halt, Temporary
from memory.postgres.database import Database
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import POLICY, Desk, Item, act, open_desk
from tools import effects
from tools.action import Json, Outcome
from tools.tool import Call, ServiceRefusal, Tool, tool

pytestmark = pytest.mark.anyio
KINDS = ["bank.conflict", "bank.naive", "bank.keyed"]
RULES = POLICY.replace("// unattended: ", f"// unattended: {', '.join(KINDS)}, ")


class Gone(BaseException):
    """The worker is dead; nothing of it runs any more."""


@dataclass
class SlowBank:
    """Requests by key that are at work until it is told to finish them; `naive` ones are done each time."""

    at_work: list[str] = field(default_factory=list[str])
    requests: Counter[str] = field(default_factory=Counter[str])
    executions: Counter[str] = field(default_factory=Counter[str])
    is_held: bool = True
    worker_dies: bool = False

    async def pay(self, kind: str, key: str) -> Mapping[str, Json]:
        """Treat a request; while it is at work, its sender hears nothing."""
        self.requests[key] += 1
        if kind != "bank.naive" and key in self.executions:
            return {"paid": 1}
        if kind == "bank.conflict" and key in self.at_work:
            raise ServiceRefusal("tool_failed", "a request with this key is still at work", 409)
        if kind == "bank.naive" or key not in self.at_work:
            self.at_work.append(key)
        if self.is_held:
            if self.worker_dies:
                self.worker_dies = False
                raise Gone
            raise Temporary("tool_failed", "no reply")
        self.finish()
        return {"paid": 1}

    def finish(self) -> None:
        """Do what is at work."""
        self.is_held = False
        self.executions.update(self.at_work)
        self.at_work.clear()

    def tool(self, kind: str) -> Tool:
        """Return a tool over this bank."""

        async def find(args: Item, call: Call) -> Mapping[str, Json]:
            return {"paid": 1} if call.key in self.executions else {}

        @tool(kind, effect="write", key=lambda args: f"{kind}:{args.id}", lookup=find, keyed=kind != "bank.naive")
        async def pay(args: Item, call: Call) -> Mapping[str, Json]:
            """Pay at a slow bank."""
            return await self.pay(kind, call.key)

        return pay


@dataclass
class Case:
    """A desk over a slow bank."""

    desk: Desk
    bank: SlowBank
    kind: str

    async def perform(self, lease: Lease) -> Outcome:
        """Pay in a run."""
        return await self.desk.gateway.perform(lease, act(lease, tool=self.kind))

    async def states(self) -> list[str]:
        """Return the states of all effects."""
        return [row.state for row in await effects.ls(self.desk.database, self.desk.access("bob"))]

    async def heal(self, superuser: Connect) -> None:
        """Let the pause before the next look be over, and look."""
        async with superuser() as connection:
            await connection.execute("update effects set look_at = null where state = 'in_doubt'")
        for _ in range(4):
            await self.desk.gateway.look_again()

    async def ask_again(self) -> Outcome:
        """Ask for the same event in a run of its own."""
        return await self.perform(await self.desk.run())


@pytest.fixture(params=KINDS)
async def case(
    request: pytest.FixtureRequest, database: Database, people: Mapping[str, Principal], clock: VirtualClock
) -> Case:
    bank, kind = SlowBank(), str(request.param)
    tools: list[Any] = [bank.tool(name) for name in KINDS]
    return Case(await open_desk(database, people, clock, tools=tools, policy=RULES), bank, kind)


async def test_a_service_slower_than_one_attempt_does_it_once(case: Case, superuser: Connect) -> None:
    """No crash at all: what may have been sent is not called failed, and asked again it is not done again."""
    lease = await case.desk.run()
    with pytest.raises(Halt, match="nobody knows"):
        await case.perform(lease)
    await case.desk.end(lease, "stopped", "in_doubt")
    with pytest.raises(Halt, match="in_doubt"):
        await case.ask_again()
    assert await case.states() == ["in_doubt"]
    case.bank.finish()
    await case.heal(superuser)
    assert (await case.states(), (await case.ask_again()).state) == (["done"], "skipped")
    assert case.bank.executions == {f"{case.kind}:a": 1}


@pytest.mark.parametrize("finishes_first", [False, True], ids=["still at work", "finished meanwhile"])
async def test_a_successor_of_a_dead_worker_does_it_no_second_time(
    case: Case, superuser: Connect, *, finishes_first: bool
) -> None:
    """The first request is still at work at the service while the successor leads."""
    lease = await case.desk.run()
    case.bank.worker_dies = True
    with pytest.raises(Gone):
        await case.perform(lease)
    successor = await case.desk.retake(lease)
    if finishes_first:
        case.bank.finish()
        assert (await case.perform(successor)).state == "done"
    else:
        with pytest.raises(Halt, match="nobody knows"):
            await case.perform(successor)
        assert await case.states() == ["in_doubt"]
        await case.desk.end(successor, "stopped", "in_doubt")
        case.bank.finish()
        await case.heal(superuser)
    assert (await case.states(), (await case.ask_again()).state) == (["done"], "skipped")
    assert case.bank.executions == {f"{case.kind}:a": 1}
