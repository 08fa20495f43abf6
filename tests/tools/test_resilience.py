"""Failed calls: retries, read-backs before them, and outcomes that nobody can know."""

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
SILENCE = Temporary("tool_failed", "silence", delay=1.0)
BUSY = Temporary("tool_failed", "not now", delay=1.0, is_refusal=True)
NO = Permanent("tool_failed", "never")
RECORD: Mapping[str, Json] = {"ok": 1}
EMPTY: Mapping[str, Json] = {}

Answer = Mapping[str, Json] | Exception


class NoArguments(BaseModel):
    """No arguments."""


class Script:
    """Plays answers in order and records the calls."""

    def __init__(self, runs: list[Answer], looks: list[Answer] | None = None) -> None:
        self.calls: list[str] = []
        self._runs, self._looks = runs, looks

    def tool(self, **options: Any) -> Tool:
        @tool("test.call", effect="write")
        async def call(args: NoArguments, call: Call) -> Mapping[str, Json]:
            """Call."""
            return self._play("run", self._runs)

        async def look(args: NoArguments, call: Call) -> Mapping[str, Json]:
            return self._play("look", self._looks or [])

        return replace(call, lookup=look if self._looks is not None else None, **options)

    def _play(self, call: str, answers: list[Answer]) -> Mapping[str, Json]:
        self.calls.append(call)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


CASES: dict[str, tuple[Script, dict[str, Any], str, list[str]]] = {
    "done at once": (Script([RECORD], []), {}, "done", ["run"]),
    "refused for good": (Script([NO], []), {}, "failed", ["run"]),
    "lost and found": (Script([SILENCE], [RECORD]), {}, "done", ["run", "look"]),
    "lost, not found, sent again": (Script([SILENCE, RECORD], [EMPTY]), {}, "done", ["run", "look", "run"]),
    "lost, read-back comes late": (Script([SILENCE], [SILENCE, RECORD]), {}, "done", ["run", "look", "look"]),
    "lost, refused, yet done": (Script([SILENCE, NO], [EMPTY, RECORD]), {}, "done", ["run", "look", "run", "look"]),
    "lost, refused, not done": (Script([SILENCE, NO], [EMPTY, EMPTY]), {}, "failed", ["run", "look", "run", "look"]),
    "lost, refused, nobody to ask": (Script([SILENCE, NO], [EMPTY, NO]), {}, "unknown", ["run", "look", "run", "look"]),
    "lost, nobody to ask": (
        Script([SILENCE], [SILENCE, SILENCE, SILENCE]),
        {},
        "unknown",
        ["run", "look", "look", "look"],
    ),
    "lost, read-back refused": (Script([SILENCE], [NO]), {}, "unknown", ["run", "look"]),
    "lost at a keyed service without read-back": (Script([SILENCE, RECORD]), {}, "done", ["run", "run"]),
    "lost at an unkeyed service": (Script([SILENCE]), {"keyed": False}, "unknown", ["run"]),
    "lost, unkeyed, not found": (Script([SILENCE], [EMPTY]), {"keyed": False}, "unknown", ["run", "look"]),
    "not now, then done": (Script([BUSY, RECORD]), {"keyed": False}, "done", ["run", "run"]),
    "not now for too long": (Script([BUSY, BUSY, BUSY]), {"keyed": False}, "failed", ["run", "run", "run"]),
    "not now, yet read back first": (Script([BUSY, RECORD], [EMPTY]), {}, "done", ["run", "look", "run"]),
    "a mistake of the adapter": (Script([KeyError("id")], [RECORD]), {}, "done", ["run", "look"]),
    "silent to the end": (
        Script([SILENCE, SILENCE, SILENCE], [EMPTY, EMPTY, EMPTY]),
        {},
        "unknown",
        ["run", "look", "run", "look", "run", "look"],
    ),
    "a read may simply be repeated": (
        Script([SILENCE, SILENCE, RECORD]),
        {"effect": "read"},
        "done",
        ["run", "run", "run"],
    ),
    "a read that stays silent": (
        Script([SILENCE, SILENCE]),
        {"effect": "read", "attempts": 2},
        "failed",
        ["run", "run"],
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_a_failure_leads_to(clock: VirtualClock, name: str) -> None:
    """R70 R71 R80"""
    script, options, state, calls = CASES[name]
    attempt = await call_tool(script.tool(**options), NoArguments(), CALL, clock)
    assert (attempt.state, script.calls) == (state, calls)


async def test_a_successor_looks_before_it_sends(clock: VirtualClock) -> None:
    """R71"""
    script = Script([], [RECORD])
    attempt = await call_tool(script.tool(), NoArguments(), CALL, clock, first_look=True)
    assert (attempt.state, attempt.read_back, attempt.attempts, script.calls) == ("done", True, 0, ["look"])


async def test_pauses_double_and_are_capped(clock: VirtualClock) -> None:
    """R72"""
    await call_tool(Script([SILENCE] * 6).tool(attempts=6), NoArguments(), CALL, clock)
    bounds = [(1.0, 1), (2.0, 2), (4.0, 3), (5.0, 4), (5.0, 5)]
    assert len(clock.pauses) == 5
    for pause, (mean, _) in zip(clock.pauses, bounds, strict=True):
        assert 0.8 * mean <= pause <= 1.2 * mean
    assert max(backoff(30, 1.0) for _ in range(100)) <= 6.0


async def test_people_hear_more_loudly_of_each_failure(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """R72"""
    with caplog.at_level(logging.INFO, "tools.resilience"):
        await call_tool(Script([SILENCE] * 4).tool(attempts=4), NoArguments(), CALL, clock)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "ERROR", "ERROR"]


async def test_a_call_that_takes_too_long_counts_as_lost(clock: VirtualClock) -> None:
    forever = asyncio.Event()

    async def wait(args: NoArguments, call: Call) -> Mapping[str, Json]:
        await forever.wait()
        return RECORD

    slow = replace(Script([], []).tool(timeout=0.01), run=wait, lookup=None, keyed=False)
    attempt = await call_tool(slow, NoArguments(), CALL, clock)
    assert (attempt.state, "lost" in attempt.message) == ("unknown", True)


async def test_being_stopped_is_not_a_failure_of_the_call(clock: VirtualClock) -> None:
    is_inside = asyncio.Event()

    async def wait(args: NoArguments, call: Call) -> Mapping[str, Json]:
        is_inside.set()
        await asyncio.Event().wait()
        return RECORD

    run: Callable[[Any, Call], Awaitable[Mapping[str, Json]]] = wait
    task = asyncio.create_task(call_tool(replace(Script([]).tool(), run=run), NoArguments(), CALL, clock))
    await is_inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
