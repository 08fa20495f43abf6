"""Cancellation that went under: a task that was told to end ends at the next look."""

import asyncio
from contextlib import suppress

import pytest

from app import housekeeping
from memory.cancellation import heed_cancellation
from memory.errors import Temporary

pytestmark = pytest.mark.anyio


async def drop_cancellation(started: asyncio.Event, error: Exception | None) -> None:
    """Wait, and lose the cancellation that comes meanwhile, as `asyncio.wait_for` may before Python 3.12."""
    started.set()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    if error:
        raise error


@pytest.mark.parametrize("error", [None, Temporary("unavailable", "the server died"), RuntimeError("a mistake")])
async def test_a_duty_that_lost_its_cancellation_ends_all_the_same(error: Exception | None) -> None:
    started, rounds = asyncio.Event(), list[int]()

    async def go_on() -> None:
        while True:
            rounds.append(len(rounds))
            await housekeeping.attempt("a duty", drop_cancellation(started, error))

    task = asyncio.create_task(go_on())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rounds == [0]


async def test_nobody_who_was_not_cancelled_is_ended() -> None:
    heed_cancellation()
    assert await housekeeping.attempt("a duty", asyncio.sleep(0, "done")) == "done"
