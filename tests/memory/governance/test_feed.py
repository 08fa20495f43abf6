"""The feed: one connection wakes every follower whom an entry concerns, and one statement a second all it missed."""

import asyncio
import logging
from collections.abc import Collection, Mapping

import pytest

from memory.governance import journal
from memory.governance.feed import SETTLING, Feed
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.bench.counting import count_statements
from tests.conftest import Connect, VirtualClock
from tests.tools.support import Desk, open_desk

pytestmark = pytest.mark.anyio

END = """
  select pg_terminate_backend(pid) from pg_stat_activity
   where query = 'listen journal' and datname = current_database()
"""


class DeafFeed(Feed):
    """A feed that every notice is lost to."""

    def hear(self, payload: str) -> None:
        """Drop it."""


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


async def follow(feed: Feed, desk: Desk, lease: Lease, until: int) -> list[int]:
    """Read a run as a stream does, until it has that many entries."""
    numbers: list[int] = []
    with feed.follow(lease.access, lease.run, 0) as follower:
        while True:
            after = numbers[-1] if numbers else 0
            entries = await journal.read(desk.database, lease.access, lease.run, after=after)
            numbers += [entry.seq for entry in entries]
            if len(numbers) >= until:
                return numbers
            await follower.wait(numbers[-1])


async def grow(desk: Desk, lease: Lease, entries: int) -> None:
    for n in range(entries):
        await journal.append(desk.database, lease.access, lease.run, {"kind": "note", "n": n})


async def test_every_follower_sees_every_entry_in_order(desk: Desk) -> None:
    """R120"""
    lease = await desk.run()
    async with Feed.open(desk.database) as feed:
        *readings, _ = await asyncio.gather(*(follow(feed, desk, lease, 21) for _ in range(3)), grow(desk, lease, 20))
    assert readings == [list(range(1, 22))] * 3


async def test_a_follower_misses_and_repeats_nothing_though_every_notice_is_lost(desk: Desk) -> None:
    lease = await desk.run()
    async with DeafFeed.open(desk.database) as feed, asyncio.timeout(20):
        *readings, _ = await asyncio.gather(*(follow(feed, desk, lease, 21) for _ in range(3)), grow(desk, lease, 20))
    assert readings == [list(range(1, 22))] * 3


async def test_a_notice_wakes_and_nothing_is_asked_before(desk: Desk) -> None:
    """R120"""
    lease = await desk.run()
    async with Feed.open(desk.database) as feed:
        await feed.ready()
        with feed.follow(lease.access, lease.run, 1) as follower:
            wakeup = asyncio.ensure_future(follower.wait(1))
            await grow(desk, lease, 1)
            assert await wakeup


async def test_other_runs_wake_nobody_here(desk: Desk) -> None:
    quiet, busy = await desk.run(), await desk.run()
    async with Feed.open(desk.database) as feed:
        await feed.ready()
        with feed.follow(quiet.access, quiet.run, 1) as follower, feed.follow(busy.access, busy.run, 1) as other:
            await grow(desk, busy, 3)
            assert await other.wait(3)
            assert not await follower.wait(1, 0)


@pytest.mark.parametrize(
    ("kinds", "notices", "woken"),
    [
        (None, ["{run}:2:permitted"], True),
        (SETTLING, ["{run}:2:permitted", "{run}:3:outcome"], False),
        (SETTLING, ["{run}:2:permitted", "{run}:3:ended"], True),
        (SETTLING, ["{run}:1:parked"], True),
        (SETTLING, ["{run}:3:outcome"], True),
        (None, ["{run}:1:requested"], False),
        (None, ["{run}:1:parked", "other:9:ended", "", "::", "{run}:x:ended", "{run}", "{run}:2:"], False),
    ],
    ids=["any", "of no concern", "an end", "a park", "one is missing", "read before", "no notice of an entry"],
)
async def test_who_waits_is_woken_by_what_concerns_them(
    desk: Desk, kinds: Collection[str] | None, notices: list[str], *, woken: bool
) -> None:
    """What a notice that was lost in between was about, nobody knows: it concerns everybody."""
    lease = await desk.run()
    feed = Feed(desk.database)
    with feed.follow(lease.access, lease.run, 1, kinds) as follower:
        for notice in notices:
            feed.hear(notice.format(run=lease.run))
        # A park tells of no entry, so that streams look and find none.
        assert await follower.wait(1, 0) == (woken or (kinds is None and "parked" in notices[0]))


async def test_who_comes_after_the_notice_is_told_of_it(desk: Desk) -> None:
    lease = await desk.run()
    feed = Feed(desk.database)
    for notice in ("2:planned", "3:ended", "4:forgotten"):
        feed.hear(f"{lease.run}:{notice}")
    with feed.follow(lease.access, lease.run, 0, SETTLING) as waiting, feed.follow(lease.access, lease.run, 4) as late:
        assert await waiting.wait(0, 0)
        assert not await late.wait(4, 0)


@pytest.mark.parametrize("number", ["9" * 5_000, "٣" * 5_000])
async def test_a_notice_with_a_number_beyond_all_ends_no_feed(desk: Desk, number: str) -> None:
    """Python refuses to read numbers of so many digits, and nothing may come of it."""
    lease = await desk.run()
    feed = Feed(desk.database)
    with feed.follow(lease.access, lease.run, 1) as follower:
        feed.hear(f"{lease.run}:{number}:ended")
        assert not await follower.wait(1, 0)


async def test_a_forged_notice_wakes_once(desk: Desk) -> None:
    lease = await desk.run()
    feed = Feed(desk.database)
    with feed.follow(lease.access, lease.run, 1) as follower:
        feed.hear(f"{lease.run}:999999999:ended")
        assert await follower.wait(1, 0)
        assert not await follower.wait(1, 0)
        feed.hear(f"{lease.run}:2:planned")
        assert await follower.wait(1, 0)


async def test_a_lost_connection_is_opened_again_and_followers_read_on(
    desk: Desk, superuser: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    lease = await desk.run()
    async with Feed.open(desk.database) as feed:
        await feed.ready()
        with caplog.at_level(logging.WARNING, "memory.feed"):
            async with superuser() as connection:
                await connection.execute(END)
            numbers, _ = await asyncio.gather(follow(feed, desk, lease, 3), grow(desk, lease, 2))
            await feed.ready()
    assert (numbers, "lost its connection" in caplog.text) == ([1, 2, 3], True)


async def test_a_follower_that_leaves_is_forgotten(desk: Desk) -> None:
    lease = await desk.run()
    async with Feed.open(desk.database) as feed:
        await follow(feed, desk, lease, 1)
        assert feed.runs == frozenset()


async def test_one_statement_catches_up_with_all_that_is_followed(desk: Desk) -> None:
    """Whatever the number of runs and of tenants."""
    leases = [await desk.run() for _ in range(20)]
    elsewhere = Access(Principal("another tenant", "somebody"), ())
    feed = Feed(desk.database)
    followers = [feed.follow(lease.access, lease.run, 0) for lease in leases]
    handles = [follower.__enter__() for follower in followers]
    with feed.follow(elsewhere, leases[0].run, 0), feed.follow_tenant(leases[0].access, 0):
        with count_statements() as count:
            await feed.catch_up()
        assert count.statements == 1
    assert all([await handle.wait(0, 0) for handle in handles])


async def test_a_run_is_told_of_only_within_its_tenant(desk: Desk) -> None:
    lease = await desk.run()
    feed = Feed(desk.database)
    with feed.follow(Access(Principal("another tenant", "somebody"), ()), lease.run, 0) as follower:
        await feed.catch_up()
        assert not await follower.wait(0, 0)


async def test_who_waits_for_an_end_is_not_woken_while_the_run_goes_on(desk: Desk) -> None:
    """Every notice is lost here: the catch-up says when there is something to look at."""
    lease = await desk.run()
    feed = DeafFeed(desk.database)
    with feed.follow(lease.access, lease.run, 1, SETTLING) as follower:
        await grow(desk, lease, 2)
        await feed.catch_up()
        assert not await follower.wait(1, 0)
        async with desk.database.transaction(lease.access) as connection:
            await records.finish(connection, lease, status="done", reason=None, message="", body={})
        await feed.catch_up()
        assert await follower.wait(1, 0)


async def test_a_reader_that_does_not_read_keeps_nothing_but_a_number(desk: Desk) -> None:
    """However much is recorded meanwhile, nobody waits for it, and it misses nothing."""
    lease = await desk.run()
    async with Feed.open(desk.database) as feed:
        with feed.follow(lease.access, lease.run, 1) as slow:
            await asyncio.gather(follow(feed, desk, lease, 61), grow(desk, lease, 60))
            assert await slow.wait(1)
            entries = await journal.read(desk.database, lease.access, lease.run, after=1)
    assert [entry.seq for entry in entries] == list(range(2, 62))
