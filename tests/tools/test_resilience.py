"""Calls that fail: what is retried, what is read back first, and what nobody can know."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import BaseModel

from memory.errors import Permanent, Temporary
from tests.conftest import VirtualClock
from tools.action import Json
from tools.resilience import backoff, call_tool
from tools.tool import Call, Tool, tool

pytestmark = pytest.mark.anyio

CALL = Call("k", "r", "s", "alice", "executor", cast(Any, None), cast(Any, None))
LOST = Temporary("tool_failed", "silence", delay=1.0)
BUSY = Temporary("tool_failed", "not now", delay=1.0, is_refusal=True)
NO = Permanent("tool_failed", "never")
DONE: Mapping[str, Json] = {"ok": 1}
NOTHING: Mapping[str, Json] = {}

Answer = Mapping[str, Json] | Exception


class Nothing(BaseModel):
    """No arguments."""


class Script:
    """Plays answers in order; what is asked is remembered."""

    def __init__(self, runs: list[Answer], looks: list[Answer] | None = None) -> None:
        self.asked: list[str] = []
        self._runs, self._looks = runs, looks

    def tool(self, **options: Any) -> Tool:
        @tool("test.call", effect="write")
        async def call(args: Nothing, call: Call) -> Mapping[str, Json]:
            """Call."""
            return self._play("run", self._runs)

        async def look(args: Nothing, call: Call) -> Mapping[str, Json]:
            return self._play("look", self._looks or [])

        return replace(call, lookup=look if self._looks is not None else None, **options)

    def _play(self, what: str, answers: list[Answer]) -> Mapping[str, Json]:
        self.asked.append(what)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


CASES: dict[str, tuple[Script, dict[str, Any], str, list[str]]] = {
    "done at once": (Script([DONE], []), {}, "done", ["run"]),
    "refused for good": (Script([NO], []), {}, "failed", ["run"]),
    "lost and found": (Script([LOST], [DONE]), {}, "done", ["run", "look"]),
    "lost, not found, sent again": (Script([LOST, DONE], [NOTHING]), {}, "done", ["run", "look", "run"]),
    "lost, read-back comes late": (Script([LOST], [LOST, DONE]), {}, "done", ["run", "look", "look"]),
    "lost, refused, yet done": (Script([LOST, NO], [NOTHING, DONE]), {}, "done", ["run", "look", "run", "look"]),
    "lost, refused, not done": (Script([LOST, NO], [NOTHING, NOTHING]), {}, "failed", ["run", "look", "run", "look"]),
    "lost, refused, nobody to ask": (Script([LOST, NO], [NOTHING, NO]), {}, "unknown", ["run", "look", "run", "look"]),
    "lost, nobody to ask": (Script([LOST], [LOST, LOST, LOST]), {}, "unknown", ["run", "look", "look", "look"]),
    "lost, read-back refused": (Script([LOST], [NO]), {}, "unknown", ["run", "look"]),
    "lost at a keyed service without read-back": (Script([LOST, DONE]), {}, "done", ["run", "run"]),
    "lost at an unkeyed service": (Script([LOST]), {"keyed": False}, "unknown", ["run"]),
    "lost, unkeyed, not found": (Script([LOST], [NOTHING]), {"keyed": False}, "unknown", ["run", "look"]),
    "not now, then done": (Script([BUSY, DONE]), {"keyed": False}, "done", ["run", "run"]),
    "not now for too long": (Script([BUSY, BUSY, BUSY]), {"keyed": False}, "failed", ["run", "run", "run"]),
    "not now, yet read back first": (Script([BUSY, DONE], [NOTHING]), {}, "done", ["run", "look", "run"]),
    "a mistake of the adapter": (Script([KeyError("id")], [DONE]), {}, "done", ["run", "look"]),
    "silent to the end": (
        Script([LOST, LOST, LOST], [NOTHING, NOTHING, NOTHING]),
        {},
        "unknown",
        ["run", "look", "run", "look", "run", "look"],
    ),
    "a read may simply be repeated": (Script([LOST, LOST, DONE]), {"effect": "read"}, "done", ["run", "run", "run"]),
    "a read that stays silent": (Script([LOST, LOST]), {"effect": "read", "attempts": 2}, "failed", ["run", "run"]),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_a_failure_leads_to(clock: VirtualClock, name: str) -> None:
    """R70 R71 R80"""
    script, options, state, asked = CASES[name]
    tried = await call_tool(script.tool(**options), Nothing(), CALL, clock)
    assert (tried.state, script.asked) == (state, asked)


async def test_a_successor_looks_before_it_sends(clock: VirtualClock) -> None:
    """R71"""
    script = Script([], [DONE])
    tried = await call_tool(script.tool(), Nothing(), CALL, clock, first_look=True)
    assert (tried.state, tried.read_back, tried.attempts, script.asked) == ("done", True, 0, ["look"])


async def test_pauses_double_and_are_capped(clock: VirtualClock) -> None:
    """R72"""
    await call_tool(Script([LOST] * 6).tool(attempts=6), Nothing(), CALL, clock)
    bounds = [(1.0, 1), (2.0, 2), (4.0, 3), (5.0, 4), (5.0, 5)]
    assert len(clock.slept) == 5
    for slept, (mean, _) in zip(clock.slept, bounds, strict=True):
        assert 0.8 * mean <= slept <= 1.2 * mean
    assert max(backoff(30, 1.0) for _ in range(100)) <= 6.0


async def test_people_hear_more_loudly_of_each_failure(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """R72"""
    with caplog.at_level(logging.INFO, "tools.resilience"):
        await call_tool(Script([LOST] * 4).tool(attempts=4), Nothing(), CALL, clock)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "ERROR", "ERROR"]


async def test_a_call_that_takes_too_long_counts_as_lost(clock: VirtualClock) -> None:
    forever = asyncio.Event()

    async def wait(args: Nothing, call: Call) -> Mapping[str, Json]:
        await forever.wait()
        return DONE

    slow = replace(Script([], []).tool(timeout=0.01), run=wait, lookup=None, keyed=False)
    tried = await call_tool(slow, Nothing(), CALL, clock)
    assert (tried.state, "lost" in tried.message) == ("unknown", True)


async def test_being_stopped_is_not_a_failure_of_the_call(clock: VirtualClock) -> None:
    entered = asyncio.Event()

    async def wait(args: Nothing, call: Call) -> Mapping[str, Json]:
        entered.set()
        await asyncio.Event().wait()
        return DONE

    run: Callable[[Any, Call], Awaitable[Mapping[str, Json]]] = wait
    task = asyncio.create_task(call_tool(replace(Script([]).tool(), run=run), Nothing(), CALL, clock))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
