"""Whole threads: deleted, copied and pruned by whoever leads their run, else once all their runs have ended."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from langgraph.types import Command

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.conftest import Connect
from tests.memory.runs.conftest import Leases
from tests.memory.runs.test_checkpoints import finish, play, story, taken_over

pytestmark = pytest.mark.anyio
_ROWS = """select (select count(*) from checkpoints where thread_id = %(thread)s) as checkpoints,
  (select count(*) from checkpoint_blobs where thread_id = %(thread)s) as blobs,
  (select count(*) from checkpoint_writes where thread_id = %(thread)s) as writes"""


async def rows(superuser: Connect, thread: str) -> list[int]:
    """Return how many checkpoints, values and writes a thread has."""
    async with superuser() as above:
        row = await (await above.execute(_ROWS, {"thread": thread})).fetchone() or {}
    return [row["checkpoints"], row["blobs"], row["writes"]]


async def led(saver: Checkpoints, leases: Leases, **choices: Any) -> Lease:
    """Lead a run up to its question."""
    lease = await leases()
    await play(story(saver, asks=True), lease, {"lines": [choices.get("line", "old")]})
    return lease


async def test_nothing_of_a_deleted_thread_is_left_and_all_of_others(
    saver: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    lease, other = await led(saver, leases), await led(saver, leases)
    before = await rows(superuser, other.thread)
    await saver.adelete_thread(lease.thread)
    assert await rows(superuser, lease.thread) == [0, 0, 0]
    assert await rows(superuser, other.thread) == before


@pytest.mark.parametrize("way", ["delete_thread", "prune", "delete_for_runs"])
async def test_a_late_writer_brings_nothing_back_and_another_run_may_begin(
    database: Database, saver: Checkpoints, leases: Leases, superuser: Connect, way: str
) -> None:
    lease = await led(saver, leases)
    match way:
        case "delete_thread":
            await saver.adelete_thread(lease.thread)
        case "prune":
            await saver.aprune([lease.thread], strategy="delete")
        case _:
            await saver.adelete_for_runs([lease.run])
    with pytest.raises(Permanent, match="were deleted") as refusal:
        await play(story(saver), lease, {"lines": ["late"]})
    with pytest.raises(Permanent, match="were deleted"):
        await saver.aput_writes(leading(lease, checkpoint="c"), [("lines", ["late"])], "task")
    assert (refusal.value.code, await rows(superuser, lease.thread)) == ("conflict", [0, 0, 0])
    await finish(database, lease)
    following = await leases(lease.thread)
    assert (await play(story(saver), following, {"lines": ["new"]}))["lines"] == ["new", "first", "second"]


async def test_a_writer_at_the_same_time_leaves_nothing_either(
    saver: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    lease = await led(saver, leases)

    async def write(number: int) -> None:
        await saver.aput_writes(leading(lease, checkpoint=f"c{number}"), [("lines", ["late"])], f"task {number}")

    work = [write(number) for number in range(30)]
    ends = await asyncio.gather(*work[:15], saver.adelete_thread(lease.thread), *work[15:], return_exceptions=True)
    assert all(end is None or isinstance(end, Permanent) for end in ends)
    assert await rows(superuser, lease.thread) == [0, 0, 0]


async def test_an_open_run_that_another_leads_is_left_alone(
    database: Database, saver: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    lease = await led(saver, leases)
    successor = await taken_over(database, lease)
    before = await rows(superuser, lease.thread)
    for work in (
        saver.adelete_thread(lease.thread),
        saver.aprune([lease.thread]),
        saver.aprune([lease.thread], strategy="delete"),
        saver.adelete_for_runs([lease.run]),
        saver.acopy_thread(lease.thread, uuid4().hex),
    ):
        with pytest.raises(Permanent, match=f"open run '{lease.run}'") as refusal:
            await work
        assert refusal.value.code == "busy"
    assert await rows(superuser, lease.thread) == before
    await finish(database, successor)
    await Checkpoints(database, access=lease.access).adelete_thread(lease.thread)
    assert await rows(superuser, lease.thread) == [0, 0, 0]


async def test_threads_of_others_are_theirs_and_the_administrators(
    database: Database, saver: Checkpoints, leases: Leases, people: dict[str, Principal], superuser: Connect
) -> None:
    lease, bob = await led(saver, leases), people["bob"]
    await finish(database, lease)
    before = await rows(superuser, lease.thread)
    with pytest.raises(Permanent, match="another person's") as refusal:
        await Checkpoints(database, access=Access.of(bob)).adelete_thread(lease.thread)
    assert refusal.value.code == "forbidden"
    await Checkpoints(database, access=Access.of(replace(bob, tenant="t-nobody"))).adelete_thread(lease.thread)
    assert await rows(superuser, lease.thread) == before
    await Checkpoints(database, access=Access.of(people["root"])).adelete_thread(lease.thread)
    assert await rows(superuser, lease.thread) == [0, 0, 0]


async def test_somebody_elses_lease_is_no_right(
    database: Database, leases: Leases, saver: Checkpoints, bob: Principal
) -> None:
    """Who leads a run is known by its requester too, not by a number that can be guessed."""
    lease = await led(saver, leases)
    body = {"threads": [lease.thread], "leases": {lease.run: lease.fence}}
    row = await database.call(Access.of(bob), "delete_checkpoints", body)
    assert row["code"] == "busy"


async def test_whose_thread_it_is_must_be_said(database: Database, leases: Leases, saver: Checkpoints) -> None:
    lease = await led(saver, leases)
    saver.forget(lease.run)
    with pytest.raises(ValueError, match="access="):
        await saver.adelete_thread(lease.thread)


async def test_a_run_goes_on_from_what_was_copied_into_its_thread(
    database: Database, saver: Checkpoints, other: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    lease, target = await led(saver, leases), uuid4().hex
    await saver.acopy_thread(lease.thread, target)
    assert await rows(superuser, target) == await rows(superuser, lease.thread)
    following = await leases(target)
    state = await play(story(other, asks=True), following, Command(resume="go"), fresh=False)
    assert state["lines"] == ["old", "first", "second"]
    source = await saver.aget_tuple(reading(lease.access, lease.thread))
    assert source is not None
    assert len(source.pending_writes or []) == 1


async def test_a_run_that_wants_no_copies_starts_from_its_request(saver: Checkpoints, leases: Leases) -> None:
    lease, target = await led(saver, leases), uuid4().hex
    await saver.acopy_thread(lease.thread, target)
    following = await leases(target)
    assert await saver.aget_tuple(leading(following, copies=False)) is None
    state = await story(saver).ainvoke({"lines": ["new"]}, leading(following, copies=False), durability="sync")
    assert state["lines"] == ["new", "first", "second"]


async def test_a_thread_with_checkpoints_is_no_target(saver: Checkpoints, leases: Leases) -> None:
    lease, target = await led(saver, leases), await led(saver, leases)
    for thread in (target.thread, lease.thread):
        with pytest.raises(Permanent, match="copy into an empty one") as refusal:
            await saver.acopy_thread(lease.thread, thread)
        assert refusal.value.code == "conflict"


async def test_a_waiting_thread_goes_on_after_pruning(
    database: Database, saver: Checkpoints, other: Checkpoints, leases: Leases, superuser: Connect
) -> None:
    lease = await led(saver, leases)
    await saver.aprune([lease.thread])
    assert (await rows(superuser, lease.thread))[0] == 1
    history = [row async for row in saver.alist(reading(lease.access, lease.thread))]
    assert history[0].parent_config is None
    successor = await taken_over(database, lease)
    state = await play(story(other, asks=True), successor, Command(resume="go"), fresh=False)
    assert state["lines"] == ["old", "first", "second"]


async def test_what_one_run_left_goes_and_later_runs_keep_their_values(
    database: Database, saver: Checkpoints, leases: Leases
) -> None:
    first = await led(saver, leases)
    await finish(database, first)
    second = await leases(first.thread)
    state = await play(story(saver), second, {"lines": ["new"]})
    await saver.adelete_for_runs([first.run])
    history = [row async for row in saver.alist(reading(second.access, second.thread))]
    assert {row.metadata.get("run") for row in history} == {second.run}
    assert history[0].checkpoint["channel_values"]["lines"] == state["lines"]


async def test_strategies_and_lists_are_checked(saver: Checkpoints) -> None:
    with pytest.raises(TypeError, match="list"):
        await saver.aprune("thread")
    with pytest.raises(ValueError, match="keep_latest"):
        await saver.aprune(["thread"], strategy="keep_all")
    await saver.aprune([])
    await saver.adelete_for_runs([])
