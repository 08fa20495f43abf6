"""Deadlines of attempts: pieces put them off, silence does not, and nothing puts them off for ever."""

import asyncio

import pytest

from tools.deadline import deadline, put_off

SECONDS = 100.0


async def test_each_piece_counts_the_seconds_anew() -> None:
    async with deadline(SECONDS) as timeout:
        timeout.reschedule(0.5 + asyncio.get_running_loop().time())
        put_off()
        assert timeout.when() == pytest.approx(asyncio.get_running_loop().time() + SECONDS, abs=10)


async def test_a_service_that_pages_for_ever_is_given_up() -> None:
    loop = asyncio.get_running_loop()
    began, real = loop.time(), loop.time
    async with deadline(SECONDS) as timeout:
        loop.time = lambda: began + 59.5 * SECONDS
        put_off()
        loop.time = real
        assert timeout.when() == pytest.approx(began + 60 * SECONDS, abs=10)


async def test_silence_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        async with deadline(0.01):
            await asyncio.Event().wait()


async def test_an_attempt_puts_off_its_own_deadline_alone() -> None:
    put_off()
    async with deadline(SECONDS) as outer:
        before = outer.when()
        async with deadline(1.0):
            put_off()
        assert outer.when() == before
