"""Failed calls: retries, read-backs before them, and outcomes that nobody can know."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from pydantic import BaseModel

from memory.errors import Permanent, Temporary
from tests.conftest import VirtualClock
from tools.action import Json
from tools.resilience import backoff, call_tool
from tools.tool import FINAL, Call, ServiceRefusal, Tool, tool

pytestmark = pytest.mark.anyio

CALL = Call("k", "r", "s", "alice", "executor", cast(Any, None), cast(Any, None))
SILENCE = Temporary("tool_failed", "silence", delay=1.0)
UNSENT = Temporary("tool_failed", "nobody there", delay=1.0, is_unsent=True)
NO = Permanent("tool_failed", "never")
CONFLICT = ServiceRefusal("tool_failed", "still at it", 409)
INVALID = ServiceRefusal("tool_failed", "invalid", 422)
RECORD: Mapping[str, Json] = {"ok": 1}
EMPTY: Mapping[str, Json] = {}

Answer = Mapping[str, Json] | Exception


class NoArguments(BaseModel):
    """No arguments."""


class Script:
    """Plays answers in order and records the calls."""

    def __init__(self, runs: Sequence[Answer], looks: Sequence[Answer] | None = None) -> None:
        self.calls: list[str] = []
        self._runs, self._looks = [*runs], None if looks is None else [*looks]

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


KEYED: dict[str, Any] = {"keyed": True}
SETTLED: dict[str, Any] = {"settles_within": 0.0}
SOON: dict[str, Any] = {"settles_within": 4.0}
LATE: dict[str, Any] = {"settles_within": 60.0}
CASES: dict[str, tuple[Script, dict[str, Any], str, list[str]]] = {
    "done at once": (Script([RECORD], []), KEYED, "done", ["run"]),
    "refused for good": (Script([NO], []), KEYED, "failed", ["run"]),
    "refused as invalid": (Script([INVALID], []), KEYED, "failed", ["run"]),
    "invalid, but this card says otherwise": (
        Script([INVALID, RECORD], [EMPTY]), {**KEYED, "final": frozenset({410})}, "done", ["run", "look", "run"]
    ),
    "a conflict proves nothing": (Script([CONFLICT, RECORD], [EMPTY]), KEYED, "done", ["run", "look", "run"]),
    "a conflict proves something where the card says so": (
        Script([CONFLICT]), {**KEYED, "final": frozenset({409})}, "failed", ["run"]
    ),
    "lost and found": (Script([SILENCE], [RECORD]), KEYED, "done", ["run", "look"]),
    "lost, not found, sent again": (Script([SILENCE, RECORD], [EMPTY]), KEYED, "done", ["run", "look", "run"]),
    "lost, read-back comes late": (Script([SILENCE], [SILENCE, RECORD]), KEYED, "done", ["run", "look", "look"]),
    "lost, read-back answers nonsense": (Script([SILENCE], [cast(Any, ["?"])]), KEYED, "unknown", ["run", "look"]),
    "lost, refused, yet done": (Script([SILENCE, NO], [EMPTY, RECORD]), KEYED, "done", ["run", "look", "run", "look"]),
    "lost, refused, not there yet": (
        Script([SILENCE, INVALID, INVALID], [EMPTY, EMPTY, EMPTY]), KEYED, "unknown", ["run", "look"] * 3
    ),
    "lost, refused again as the card knows it": (
        Script([SILENCE, INVALID], [EMPTY]), {**KEYED, "final_repeats": FINAL}, "failed", ["run", "look", "run"]
    ),
    "lost, refused, nobody to ask": (
        Script([SILENCE, NO], [EMPTY, NO]), KEYED, "unknown", ["run", "look", "run", "look"]
    ),
    "lost, nobody to ask": (
        Script([SILENCE], [SILENCE, SILENCE, SILENCE]), KEYED, "unknown", ["run", "look", "look", "look"]
    ),
    "lost, read-back refused": (Script([SILENCE], [NO]), KEYED, "unknown", ["run", "look"]),
    "lost at a keyed service without read-back": (Script([SILENCE, RECORD]), KEYED, "done", ["run", "run"]),
    "lost at a service of which nothing is known": (Script([SILENCE]), {}, "unknown", ["run"]),
    "refused in between at such a service": (Script([CONFLICT]), {}, "unknown", ["run"]),
    "lost, unkeyed, not found": (Script([SILENCE], [EMPTY]), {}, "unknown", ["run", "look"]),
    "lost, unkeyed, not found when it is settled": (
        Script([SILENCE, RECORD], [EMPTY, EMPTY]), SOON, "done", ["run", "look", "look", "run"]
    ),
    "lost, unkeyed, found when it is settled": (
        Script([SILENCE], [EMPTY, RECORD]), SOON, "done", ["run", "look", "look"]
    ),
    "lost, unkeyed, settled long after": (Script([SILENCE], [EMPTY, EMPTY]), LATE, "unknown", ["run", "look"]),
    "never sent, then done": (Script([UNSENT, RECORD]), {}, "done", ["run", "run"]),
    "what never left does not count": (Script([*[UNSENT] * 5, RECORD]), {"attempts": 1}, "done", ["run"] * 6),
    "lost, then never sent, then done": (
        Script([SILENCE, *[UNSENT] * 4, RECORD]), {**KEYED, "attempts": 2}, "done", ["run"] * 6
    ),
    "lost, and nobody to ask for a while": (
        Script([SILENCE], [*[UNSENT] * 5, RECORD]), {**KEYED, "attempts": 1}, "done", ["run", *["look"] * 6]
    ),
    "a read waits for a service that is away": (
        Script([*[UNSENT] * 5, RECORD]), {"effect": "read", "attempts": 1}, "done", ["run"] * 6
    ),
    "a mistake of the adapter": (Script([KeyError("id")], [RECORD]), KEYED, "done", ["run", "look"]),
    "silent to the end": (Script([SILENCE] * 3, [EMPTY] * 3), KEYED, "unknown", ["run", "look"] * 3),
    "silent to the end, but settled": (
        Script([SILENCE] * 3, [EMPTY] * 3), {**KEYED, **SETTLED}, "failed", ["run", "look"] * 3
    ),
    "silent to the end, settled soon after": (
        Script([SILENCE] * 3, [EMPTY] * 4), {**KEYED, **SOON}, "failed", [*["run", "look"] * 3, "look"]
    ),
    "silent to the end, and then there": (
        Script([SILENCE] * 3, [EMPTY] * 3 + [RECORD]), {**KEYED, **SOON}, "done", [*["run", "look"] * 3, "look"]
    ),
    "a read may simply be repeated": (
        Script([SILENCE, SILENCE, RECORD]), {"effect": "read"}, "done", ["run", "run", "run"]
    ),
    "a read that stays silent": (
        Script([SILENCE, SILENCE]), {"effect": "read", "attempts": 2}, "failed", ["run", "run"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_what_a_failure_leads_to(clock: VirtualClock, name: str) -> None:
    """R70 R71 R80"""
    script, options, state, calls = CASES[name]
    attempt = await call_tool(script.tool(**options), NoArguments(), CALL, clock)
    assert (attempt.state, script.calls) == (state, calls)


@pytest.mark.parametrize(
    ("earlier", "options", "state"),
    [([], {}, "failed"), ([SILENCE], KEYED, "unknown"), ([], {"effect": "read"}, "failed")],
    ids=["a write that never left", "a write whose reply was lost", "a read"],
)
async def test_a_service_that_stays_away_is_given_up_after_some_time(
    clock: VirtualClock, earlier: Sequence[Answer], options: dict[str, Any], state: str
) -> None:
    start = clock.monotonic()
    attempt = await call_tool(Script([*earlier, *[UNSENT] * 99]).tool(**options), NoArguments(), CALL, clock)
    assert attempt.state == state
    assert 20 <= clock.monotonic() - start < 30


async def test_a_successor_looks_before_it_sends(clock: VirtualClock) -> None:
    """R71"""
    script = Script([], [RECORD])
    attempt = await call_tool(script.tool(), NoArguments(), CALL, clock, first_look=True)
    assert (attempt.state, attempt.read_back, attempt.attempts, script.calls) == ("done", True, 0, ["look"])


STATUSES = [301, 401, 403, 408, 409, 423, 425, 429, 451, 499, 500, 502, 503, 504]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("took_over", [False, True], ids=["first send", "successor"])
async def test_a_status_that_is_not_final_never_ends_a_write_as_failed(
    clock: VirtualClock, status: int, *, took_over: bool
) -> None:
    """The first request may still be at work, whatever the repetition is told."""
    refusals: list[Answer] = [ServiceRefusal("tool_failed", str(status), status) for _ in range(3)]
    script = Script(refusals, [EMPTY] * 4)
    attempt = await call_tool(script.tool(keyed=True), NoArguments(), CALL, clock, first_look=took_over)
    assert attempt.state == "unknown"


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_a_final_status_is_a_proof_for_the_only_send_alone(clock: VirtualClock, status: int) -> None:
    refusal = ServiceRefusal("tool_failed", str(status), status)
    alone = await call_tool(Script([refusal], []).tool(keyed=True), NoArguments(), CALL, clock)
    after = Script([refusal] * 3, [EMPTY] * 4)
    repeat = await call_tool(after.tool(keyed=True), NoArguments(), CALL, clock, first_look=True)
    assert (alone.state, repeat.state) == ("failed", "unknown")


@pytest.mark.parametrize("sends", [1, 2])
async def test_nothing_is_sent_any_more_once_it_may_not_be(clock: VirtualClock, sends: int) -> None:
    """The look is before every later send; what was sent is still looked up."""
    script = Script([SILENCE] * 3, [EMPTY] * 2 + [RECORD])
    answers = [None] * (sends - 1) + ["killed"]

    async def may_send() -> str | None:
        return answers.pop(0)

    attempt = await call_tool(script.tool(keyed=True), NoArguments(), CALL, clock, may_send=may_send)
    assert script.calls.count("run") == sends
    assert (attempt.state, attempt.read_back) == (("unknown", False) if sends == 1 else ("done", True))


async def test_what_was_never_sent_has_failed_when_it_is_stopped(clock: VirtualClock) -> None:
    async def may_send() -> str | None:
        return "killed"

    attempt = await call_tool(Script([UNSENT]).tool(), NoArguments(), CALL, clock, may_send=may_send)
    assert (attempt.state, attempt.message) == ("failed", "not sent again: killed")


async def test_pauses_double_and_are_capped(clock: VirtualClock) -> None:
    """R72"""
    await call_tool(Script([SILENCE] * 6).tool(attempts=6, keyed=True), NoArguments(), CALL, clock)
    bounds = [(1.0, 1), (2.0, 2), (4.0, 3), (5.0, 4), (5.0, 5)]
    assert len(clock.pauses) == 5
    for pause, (mean, _) in zip(clock.pauses, bounds, strict=True):
        assert 0.8 * mean <= pause <= 1.2 * mean
    assert max(backoff(30, 1.0) for _ in range(100)) <= 6.0


async def test_people_hear_more_loudly_of_each_failure(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """R72"""
    with caplog.at_level(logging.INFO, "tools.resilience"):
        await call_tool(Script([SILENCE] * 4).tool(attempts=4, keyed=True), NoArguments(), CALL, clock)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "WARNING", "ERROR", "ERROR"]


async def test_a_call_that_takes_too_long_counts_as_lost(clock: VirtualClock) -> None:
    forever = asyncio.Event()

    async def wait(args: NoArguments, call: Call) -> Mapping[str, Json]:
        await forever.wait()
        return RECORD

    slow = replace(Script([], []).tool(timeout=0.01), run=wait, lookup=None)
    attempt = await call_tool(slow, NoArguments(), CALL, clock)
    assert (attempt.state, "no answer" in attempt.message) == ("unknown", True)


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
