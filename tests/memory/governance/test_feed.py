"""The feed: one connection wakes every follower of a run, at once and again after it was lost."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing

import pytest

from memory.governance import journal
from memory.governance.feed import Feed
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import Desk, open_desk

pytestmark = pytest.mark.anyio

END = """
  select pg_terminate_backend(pid) from pg_stat_activity
   where query = 'listen journal' and datname = current_database()
"""


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


async def follow(feed: Feed, desk: Desk, lease: Lease, until: int) -> list[int]:
    """Read a run as a stream does, until it has that many entries."""
    numbers: list[int] = []
    async with aclosing(feed.wakeups(lease.run)) as wakeups:
        async for _ in wakeups:
            entries = await journal.read(desk.database, lease.access, lease.run, after=numbers[-1] if numbers else 0)
            numbers += [entry.seq for entry in entries]
            if len(numbers) >= until:
                break
    return numbers


async def grow(desk: Desk, lease: Lease, entries: int) -> None:
    for n in range(entries):
        await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "n": n})


async def test_every_follower_sees_every_entry_in_order(desk: Desk, urls: Urls) -> None:
    """R120"""
    lease = await desk.run()
    async with Feed.open(urls.app) as feed:
        *readings, _ = await asyncio.gather(*(follow(feed, desk, lease, 21) for _ in range(3)), grow(desk, lease, 20))
    assert readings == [list(range(1, 22))] * 3


async def test_a_notification_wakes_before_the_catch_up_does(desk: Desk, urls: Urls) -> None:
    """R120"""
    lease = await desk.run()
    async with Feed.open(urls.app) as feed:
        await feed.ready()
        async with aclosing(feed.wakeups(lease.run)) as wakeups:
            await anext(wakeups)
            wakeup = asyncio.ensure_future(anext(wakeups))
            began = asyncio.get_running_loop().time()
            await grow(desk, lease, 1)
            await wakeup
            assert asyncio.get_running_loop().time() - began < 0.8


async def test_other_runs_wake_nobody_here(desk: Desk, urls: Urls) -> None:
    quiet, busy = await desk.run(), await desk.run()
    async with Feed.open(urls.app) as feed:
        await feed.ready()
        async with aclosing(feed.wakeups(quiet.run)) as wakeups:
            await anext(wakeups)
            wakeup = asyncio.ensure_future(anext(wakeups))
            await grow(desk, busy, 3)
            assert not wakeup.done()
            await wakeup


async def test_a_lost_connection_is_opened_again_and_followers_read_on(
    desk: Desk, urls: Urls, superuser: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    lease = await desk.run()
    async with Feed.open(urls.app) as feed:
        await feed.ready()
        with caplog.at_level(logging.WARNING, "memory.feed"):
            async with superuser() as connection:
                await connection.execute(END)
            numbers, _ = await asyncio.gather(follow(feed, desk, lease, 3), grow(desk, lease, 2))
            await feed.ready()
    assert (numbers, "lost its connection" in caplog.text) == ([1, 2, 3], True)


async def test_a_follower_that_leaves_is_forgotten(desk: Desk, urls: Urls) -> None:
    lease = await desk.run()
    async with Feed.open(urls.app) as feed:
        await follow(feed, desk, lease, 1)
        assert feed.runs == frozenset()
