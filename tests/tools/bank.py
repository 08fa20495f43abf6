"""A bank whose behaviour is drawn: it commits late, refuses, stays silent, lags and lies, and counts what it did.

It keeps what its cards promise and nothing more: the time within which a request settles, and protection by key where
the card says so. Time is virtual; what was committed late happens when its time comes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memory.errors import Temporary
from tests.conftest import VirtualClock
from tests.fakes.shop import NO_SERVICES
from tests.tools.support import POLICY, Item
from tools.action import Json, Role
from tools.money import Money
from tools.tool import FINAL, BusinessServices, Call, Observation, ServiceRefusal, Tool, tool

SETTLES = 4.0
RULES = POLICY.replace("// unattended: ", "// unattended: bank.pay, bank.back, bank.open, bank.shut, bank.note, ")


class Crash(BaseException):
    """The worker is gone; nothing of it runs any more."""


@dataclass(frozen=True)
class Reply:
    """One request as the bank treats it."""

    arrives: bool = True
    works: float = 0.0
    """Share of the time in which a request settles until it commits."""
    status: int = 200
    """200, 0 for silence, -1 for a connection that was never made, -2 for a worker that dies here, or a status."""
    is_lie: bool = False
    """True if it says 200 and does nothing."""


@dataclass(frozen=True)
class Look:
    """One look as the bank treats it."""

    answers: bool = True
    lag: float = 0.0
    """Share of the time in which a request settles that a commit is not shown yet."""
    dies: bool = False
    """True if the worker dies here: after the answer, before anything is settled."""


@dataclass(frozen=True)
class Commit:
    """Something that happened at the bank, or will."""

    at: float
    key: str
    item: str
    change: int
    is_state: bool = False
    """True if it sets something instead of adding to it."""


@dataclass
class Bank:
    """What happened, and how the next requests and looks are treated."""

    clock: VirtualClock
    is_keyed: bool
    commits: list[Commit] = field(default_factory=list[Commit])
    replies: list[Reply] = field(default_factory=list[Reply])
    looks: list[Look] = field(default_factory=list[Look])
    sends: int = 0
    lies: set[str] = field(default_factory=set[str])
    """Keys under which it said that something was done and did nothing."""
    last: dict[str, float] = field(default_factory=dict[str, float])
    """When the last request under each key came."""

    def bind(self, role: Role, run: str, *, permit: str | None = None, key: str | None = None) -> BusinessServices:
        """Return no services: these tools are the service."""
        return NO_SERVICES

    def of(self, key: str, *, lag: float = 0.0) -> list[Commit]:
        """Return what happened under a key, as far as it is shown."""
        return [commit for commit in self.commits if commit.key == key and self._is_past(commit, lag)]

    def standing(self, item: str, *, lag: float = 0.0) -> int:
        """Return how often a thing stands done now: what was taken back counts against it, a state is as last set."""
        count = 0
        for commit in sorted(self.commits, key=lambda commit: commit.at):
            if commit.item == item and self._is_past(commit, lag):
                count = max(commit.change, 0) if commit.is_state else count + commit.change
        return count

    async def request(self, call: Call, item: str, change: int, *, is_state: bool, lies: bool) -> Mapping[str, Json]:
        """Treat a request as it was drawn; `lies` says whether a lie could be found out."""
        reply = self.replies.pop(0) if self.replies else Reply()
        is_lie = reply.is_lie and lies
        if reply.status == -1:
            raise Temporary("tool_failed", "nobody there", is_unsent=True)
        now = self.clock.monotonic()
        has_settled = now - self.last.get(call.key, -SETTLES) >= SETTLES
        self.sends += 1
        is_final = reply.status in FINAL and has_settled
        # What was refused for good is not at work any more.
        self.last[call.key] = now - SETTLES if is_final else now
        is_known = self.is_keyed and any(commit.key == call.key for commit in self.commits)
        if (reply.arrives or reply.status == 200) and not (is_final or is_known or is_lie):
            delay = 0.0 if reply.status == 200 else reply.works * SETTLES
            self.commits.append(Commit(now + delay, call.key, item, change, is_state))
        if is_lie and reply.status == 200:
            self.lies.add(call.key)
        if reply.status == -2:
            raise Crash
        if reply.status == 0 or (reply.status == 200 and not (is_lie or self.of(call.key))):
            raise Temporary("tool_failed", "silence", delay=0.5)
        if reply.status != 200:
            raise ServiceRefusal("tool_failed", str(reply.status), reply.status)
        return {"ok": 1}

    def look(self) -> Look:
        """Treat a look as it was drawn; raises Temporary if it is not answered."""
        look = self.looks.pop(0) if self.looks else Look()
        if look.dies:
            raise Crash
        if not look.answers:
            raise Temporary("tool_failed", "busy", delay=0.5)
        return look

    def _is_past(self, commit: Commit, lag: float) -> bool:
        return commit.at + lag * SETTLES <= self.clock.monotonic()


def _key(name: str) -> Callable[[Item], str]:
    return lambda args: f"{name}:{args.id}"


def _amount(args: Item) -> Money:
    return Money(args.amount, "EUR")


def tools(bank: Bank) -> list[Tool]:
    """Return the bank's tools: payments that can be taken back, accounts that are open or shut, and notes."""

    async def find(args: Item, call: Call) -> Mapping[str, Json]:
        return {"ok": 1} if bank.of(call.key, lag=bank.look().lag) else {}

    def stands(thing: str, change: int) -> Any:
        async def observe(args: Item, call: Call, report: Mapping[str, Json]) -> Observation:
            count = bank.standing(f"{thing}/{args.id}", lag=bank.look().lag)
            return Observation(count == max(change, 0), {"ok": count})

        return observe

    def declare(name: str, thing: str, change: int, **options: Any) -> Tool:
        is_state, lies = bool(options.get("sets_state")), bool(options.get("observe"))

        @tool(name, effect="write", lookup=find, settles_within=SETTLES * 1.25, keyed=bank.is_keyed, **options)
        async def send(args: Item, call: Call) -> Mapping[str, Json]:
            """Send a request to the bank."""
            return await bank.request(call, f"{thing}/{args.id}", change, is_state=is_state, lies=lies)

        return send

    paid, opened = {"observe": stands("payment", 1)}, {"observe": stands("account", 1), "sets_state": True}
    back, shut = {"observe": stands("payment", -1)}, {"observe": stands("account", -1), "sets_state": True}
    return [
        declare("bank.pay", "payment", 1, key=_key("pay"), compensate="bank.back", **paid),
        declare("bank.back", "payment", -1, key=_key("back"), **back),
        declare("bank.open", "account", 1, key=_key("open"), **opened),
        declare("bank.shut", "account", -1, **shut),
        declare("bank.note", "note", 1),
        declare("bank.big", "payment", 1, key=_key("big"), amount=_amount),
    ]
