"""Tools that can be looked at, for gateway tests: switches that set a state, bookings that are events, and a world."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memory.errors import Temporary
from tests.conftest import VirtualClock
from tests.tools.support import POLICY, Desk, Item, open_desk
from tools.action import Json
from tools.tool import Call, Observation, ServiceRefusal, Tool, tool

RULES = POLICY.replace("// unattended: ", "// unattended: hall.on, hall.off, hall.set, hall.book, hall.unbook, ")


@dataclass
class Hall:
    """The world: lamps, and what is booked; it can lie, lag and refuse to be looked at."""

    clock: VirtualClock
    lamps: dict[str, str] = field(default_factory=dict[str, str])
    booked: dict[str, int] = field(default_factory=dict[str, int])
    answers: dict[str, Mapping[str, Json]] = field(default_factory=dict[str, Mapping[str, Json]])
    calls: list[str] = field(default_factory=list[str])
    lies: bool = False
    refusals: list[ServiceRefusal] = field(default_factory=list[ServiceRefusal])
    """What the next bookings are told."""
    lag: float = 0.0
    """Seconds until a booking is seen."""
    since: float = 0.0
    glass: Callable[[Observation], Awaitable[Any]] | None = None
    """What stands between the world and who looks."""

    async def switch(self, lamp: str, state: str, key: str) -> Mapping[str, Json]:
        """Switch a lamp; a key that is known answers as before and does nothing."""
        self.calls.append(key)
        if key not in self.answers and not self.lies:
            self.lamps[lamp] = state
        return self.answers.setdefault(key, {"lamp": state})

    async def book(self, seat: str, change: int, key: str) -> Mapping[str, Json]:
        """Book a seat, or give it back."""
        self.calls.append(key)
        if self.refusals:
            raise self.refusals.pop(0)
        if key not in self.answers and not self.lies:
            self.booked[seat] = self.booked.get(seat, 0) + change
            self.since = self.clock.monotonic()
        return self.answers.setdefault(key, {"booked": max(change, 0), "reference": key})

    async def show(self, observation: Observation) -> Observation:
        """Show something, through whatever stands in between."""
        return await self.glass(observation) if self.glass else observation


async def refuse(observation: Observation) -> Observation:
    """Show nothing."""
    raise Temporary("tool_failed", "nobody answers")


def tools(hall: Hall) -> list[Tool]:
    """Return the hall's tools."""
    return [*_lamps(hall), *_seats(hall)]


def _lamps(hall: Hall) -> list[Tool]:
    def lamp_is(state: str | None) -> Any:
        async def observe(args: Item, call: Call, report: Mapping[str, Json]) -> Observation:
            wanted, current = state or str(args.amount), hall.lamps.get(args.id, "off")
            return await hall.show(Observation(current == wanted, {"lamp": current}))

        return observe

    @tool(
        "hall.on", effect="write", key=lambda args: f"on:{args.id}", observe=lamp_is("on"), sets_state=True, keyed=True
    )
    async def on(args: Item, call: Call) -> Mapping[str, Json]:
        """Switch a lamp on."""
        return await hall.switch(args.id, "on", call.key)

    @tool("hall.off", effect="write", observe=lamp_is("off"), sets_state=True, keyed=True)
    async def off(args: Item, call: Call) -> Mapping[str, Json]:
        """Switch a lamp off."""
        return await hall.switch(args.id, "off", call.key)

    @tool(
        "hall.set",
        effect="write",
        key=lambda args: f"set:{args.id}",
        observe=lamp_is(None),
        sets_state=True,
        keyed=True,
    )
    async def dim(args: Item, call: Call) -> Mapping[str, Json]:
        """Dim a lamp to an amount."""
        return await hall.switch(args.id, str(args.amount), call.key)

    return [on, off, dim]


def _seats(hall: Hall) -> list[Tool]:
    async def seat(args: Item, call: Call, report: Mapping[str, Json]) -> Observation:
        is_late = hall.clock.monotonic() - hall.since < hall.lag
        count = 0 if is_late else hall.booked.get(args.id, 0)
        return await hall.show(Observation(count == 1, {"booked": count}))

    @tool(
        "hall.book", effect="write", key=lambda args: f"book:{args.id}", observe=seat, compensate="hall.unbook",
        settles_within=10.0, keyed=True,
    )  # fmt: skip
    async def book(args: Item, call: Call) -> Mapping[str, Json]:
        """Book a seat."""
        return await hall.book(args.id, 1, call.key)

    @tool("hall.unbook", effect="write", key=lambda args: f"unbook:{args.id}", keyed=True)
    async def unbook(args: Item, call: Call) -> Mapping[str, Json]:
        """Give a seat back."""
        return await hall.book(args.id, -1, call.key)

    return [book, unbook]


async def open_hall(database: Any, people: Any, clock: VirtualClock) -> tuple[Desk, Hall]:
    """Return a desk whose tools can be looked at, and the world behind them."""
    hall = Hall(clock)
    desk = await open_desk(database, people, clock, tools=tools(hall), policy=RULES)
    return desk, hall
