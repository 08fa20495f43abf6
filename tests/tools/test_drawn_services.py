"""Services whose behaviour is drawn: whatever they do, a write has at most one effect and its outcome is true.

`CS_EXAMPLES=5000 pytest -n 0 tests/tools/test_drawn_services.py --hypothesis-seed=1` draws 5,000 of them.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from memory.errors import Temporary
from tests.conftest import VirtualClock
from tools.action import Json
from tools.resilience import Attempt, call_tool
from tools.tool import FINAL, Call, ServiceRefusal, Tool, tool

EXAMPLES = int(os.environ.get("CS_EXAMPLES", "1000"))

SLOWEST = 20.0
"""Seconds that a service takes at most whose card does not say it."""
CALL = Call("k", "r", "s", "alice", "executor", cast(Any, None), cast(Any, None))
REFUSALS = [301, 400, 401, 403, 404, 408, 409, 410, 413, 422, 423, 425, 429, 499, 500, 503]


@dataclass(frozen=True)
class Behaviour:
    """One request as the service treats it."""

    arrives: bool
    works: float
    """Share of the time in which the service settles until it commits, if it has not refused for good."""
    reply: int
    """200, 0 for silence, -1 for a connection that was never made, or a status."""


@dataclass(frozen=True)
class Look:
    """One look-up as the service treats it."""

    answers: bool
    lag: float
    """Share of the time in which the service settles that a commit is not shown yet."""
    takes: float
    """Share of that time that the answer is on its way."""


BEHAVIOURS = st.builds(
    Behaviour,
    arrives=st.booleans(),
    works=st.sampled_from([0.0, 0.1, 0.5, 0.7]),
    reply=st.sampled_from([200, 0, -1, *REFUSALS]),
)
LOOKS = st.builds(
    Look, answers=st.booleans(), lag=st.sampled_from([0.0, 0.1, 0.25]), takes=st.sampled_from([0.0, 0.5, 1.5])
)


class NoArguments(BaseModel):
    """No arguments."""


@dataclass
class Service:
    """A business that de-duplicates by key or does not, and tells the truth only where its card says so."""

    clock: VirtualClock
    is_keyed: bool
    behaviours: list[Behaviour]
    looks: list[Look]
    slowest: float
    commits: list[datetime] = field(default_factory=list[datetime])
    """When each effect happens: now, or later."""
    sends: int = 0
    last: datetime | None = None
    """When the last request came."""

    async def act(self, args: NoArguments, call: Call) -> Mapping[str, Json]:
        """Treat a request as it was drawn."""
        behaviour = self.behaviours[self.sends % len(self.behaviours)]
        if behaviour.reply == -1:
            raise Temporary("tool_failed", "nobody there", is_unsent=True)
        self.sends += 1
        # A final status is a promise to the only request, and once earlier ones have settled; while one may still be at
        # work, what a repetition is told promises nothing.
        has_settled = self.last is None or self.clock.now() - self.last >= timedelta(seconds=self.slowest)
        is_final = behaviour.reply in FINAL and has_settled
        self.last = self.clock.now()
        if (behaviour.arrives or behaviour.reply == 200) and not is_final and not (self.is_keyed and self.commits):
            delay = 0.0 if behaviour.reply == 200 else behaviour.works
            self.commits.append(self.clock.now() + timedelta(seconds=delay * self.slowest))
        if behaviour.reply == 200 and min(self.commits) <= self.clock.now():
            return {"ok": 1}
        if behaviour.reply in (0, 200):
            raise Temporary("tool_failed", "silence", delay=1.0)
        raise ServiceRefusal("tool_failed", str(behaviour.reply), behaviour.reply)

    async def find(self, args: NoArguments, call: Call) -> Mapping[str, Json]:
        """Show what was done, late."""
        look = self.looks.pop(0) if self.looks else Look(answers=True, lag=0.0, takes=0.0)
        if not look.answers:
            raise Temporary("tool_failed", "busy", delay=0.5)
        visible = [at for at in self.commits if at + timedelta(seconds=look.lag * self.slowest) <= self.clock.now()]
        await self.clock.sleep(look.takes * self.slowest)
        return {"ok": 1} if visible else {}


@tool("drawn.act", effect="write", attempts=4)
async def act(args: NoArguments, call: Call) -> Mapping[str, Json]:
    """Act."""
    raise AssertionError("replaced by a service")


@dataclass(frozen=True)
class Case:
    """One service and one card."""

    is_keyed: bool
    has_lookup: bool
    settles_within: float | None
    is_successor: bool
    behaviours: list[Behaviour]
    looks: list[Look]


CASES = st.builds(
    Case,
    is_keyed=st.booleans(),
    has_lookup=st.booleans(),
    settles_within=st.sampled_from([None, 0.0, 4.0, 60.0]),
    is_successor=st.booleans(),
    behaviours=st.lists(BEHAVIOURS, min_size=1, max_size=5),
    looks=st.lists(LOOKS, max_size=8),
)
_SLOW_409 = Case(
    is_keyed=True,
    has_lookup=True,
    settles_within=None,
    is_successor=False,
    behaviours=[Behaviour(arrives=True, works=0.7, reply=0), Behaviour(arrives=True, works=0.0, reply=409)],
    looks=[],
)
"""A request takes longer than an attempt, and its repetition is told 409: once this was paid twice."""


async def perform(case: Case) -> tuple[Attempt, Service]:
    """Perform one write; of a successor's, the first request was sent by a worker that died."""
    clock = VirtualClock()
    slowest = SLOWEST if case.settles_within is None else case.settles_within
    service = Service(clock, case.is_keyed, case.behaviours, list(case.looks), slowest)
    drawn: Tool = replace(
        act,
        run=service.act,
        keyed=case.is_keyed,
        lookup=service.find if case.has_lookup else None,
        settles_within=case.settles_within,
    )
    if case.is_successor:
        with suppress(Temporary, ServiceRefusal):
            await service.act(NoArguments(), CALL)
    return await call_tool(drawn, NoArguments(), CALL, clock, first_look=case.is_successor), service


@given(CASES)
@example(_SLOW_409)
@example(replace(_SLOW_409, is_successor=True))
@settings(deadline=None, max_examples=EXAMPLES, print_blob=True)
def test_a_write_has_at_most_one_effect_and_its_outcome_is_true(case: Case) -> None:
    """Nothing is reported done that the world lacks, nothing reported failed that it has or will have."""
    attempt, service = asyncio.run(perform(case))
    note(f"{attempt.state} after {service.sends} sends, commits at {service.commits}")
    assert len(service.commits) <= 1
    if attempt.state == "done":
        assert service.commits
    if attempt.state == "failed":
        assert service.commits == []
