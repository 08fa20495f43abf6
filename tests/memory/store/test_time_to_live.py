"""Time to live: a value that ends covers the lasting one of its subject, which holds again to the second."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope
from memory.store import erasure, pruning, search, transfer, versions, write
from memory.store.langgraph_store import MemoryStore
from memory.store.models import Memory, Provenance
from memory.store.pruning import PruningPolicy
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
Say = Callable[..., Awaitable[Memory]]
Pass = Callable[[timedelta], Awaitable[None]]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
INSTANT = timedelta(milliseconds=1)


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def say(database: Database, own_access: Access) -> Say:
    async def keep(body: str, ttl: timedelta | None = None, key: str | None = "office", trust: Any = "human") -> Memory:
        origin = Provenance(source="ab")
        return await write.remember(database, own_access, body, trust=trust, provenance=origin, key=key, ttl=ttl)

    return keep


@pytest.fixture
def pass_by(own_access: Access, superuser: Connect) -> Pass:
    """Let time pass for the tenant: all that is told about time moves into the past."""

    async def move(span: timedelta) -> None:
        changes = ", ".join(
            f"{column} = {column} - %(span)s"
            for column in ("created", "valid_from", "valid_to", "known_to", "expires", "covered_until")
        )
        async with superuser() as above:
            await above.execute(
                f"update memories set {changes} where tenant = %(tenant)s".encode(),
                {"span": span, "tenant": own_access.principal.tenant},
            )

    return move


async def live_bodies(database: Database, access: Access) -> list[str]:
    """Return what holds, as every reader tells it."""
    answer = await search.recall(database, access, "office", relevance="any")
    bodies = [memory.body for memory in await search.ls(database, access)]
    assert [hit.memory.body for hit in answer.hits] == bodies
    return bodies


async def sweep_all(database: Database) -> None:
    while await erasure.sweep(database):
        pass


@pytest.mark.parametrize("sweep", [False, True])
async def test_when_a_value_ends_its_predecessor_holds_again(
    database: Database, own_access: Access, say: Say, pass_by: Pass, sweep: bool
) -> None:
    """R91, R93: to the second, whether or not housekeeping was there."""
    await say("office is Bonn")
    await say("office is Berlin", HOUR)
    await pass_by(HOUR - timedelta(seconds=1))
    assert await live_bodies(database, own_access) == ["office is Berlin"]
    await pass_by(timedelta(seconds=1))
    if sweep:
        await sweep_all(database)
    assert await live_bodies(database, own_access) == ["office is Bonn"]
    answer = await search.recall(database, own_access, "office", relevance="any")
    assert (answer.expired_count, answer.superseded_count) == (0 if sweep else 1, 0)


async def test_covers_end_one_after_the_other(database: Database, own_access: Access, say: Say, pass_by: Pass) -> None:
    """R93: what holds is always the last told of what has not ended."""
    for body, ttl in (("Bonn", None), ("Berlin", DAY), ("Paris", HOUR), ("Rome", 2 * HOUR)):
        await say(body, ttl)
    texts: list[Sequence[str]] = []
    for span in (timedelta(0), 2 * HOUR, DAY):
        await pass_by(span)
        texts.append(await live_bodies(database, own_access))
    assert texts == [["Rome"], ["Berlin"], ["Bonn"]]


@pytest.mark.parametrize("before", ["while it is covered", "after that"])
async def test_a_lasting_value_supersedes_for_good(
    database: Database, own_access: Access, say: Say, pass_by: Pass, before: str
) -> None:
    """R93: nothing of what it replaces comes back."""
    await say("Bonn")
    await say("Berlin", HOUR)
    await pass_by(HOUR if before == "after that" else timedelta(0))
    last = await say("Rome")
    await pass_by(DAY)
    await sweep_all(database)
    assert await live_bodies(database, own_access) == ["Rome"]
    bonn = (await versions.versions(database, own_access, "office"))[-1]
    assert (bonn.memory.body, bonn.superseded_by, bonn.known_to is None) == ("Bonn", last.id, False)


async def test_the_same_value_told_again_lives_as_told_last(
    database: Database, own_access: Access, say: Say, pass_by: Pass
) -> None:
    """R91: what it covers waits exactly as long."""
    await say("Bonn")
    for ttl in (DAY, HOUR):
        berlin = await say("Berlin", ttl)
    assert (berlin.is_repeat, berlin.expires is not None) == (True, True)
    await pass_by(HOUR)
    assert await live_bodies(database, own_access) == ["Bonn"]
    for ttl in (HOUR, None):
        await say("Berlin", ttl)
    await pass_by(DAY)
    assert await live_bodies(database, own_access) == ["Berlin"]


async def test_what_a_person_says_again_lives_as_they_say_now(database: Database, own_access: Access, say: Say) -> None:
    """R91: also shorter than before; what others tell never shortens it."""
    first = await say("the gate code is on the wall", DAY, None)
    again = await say("the gate code is on the wall", HOUR, None)
    assert (again.id, again.is_repeat) == (first.id, True)
    assert None not in (first.expires, again.expires)
    assert again.expires is not None
    assert again.expires - again.created < 2 * HOUR
    report = await say("the gate code is on the wall", INSTANT, None, trust="tool")
    assert (report.id, report.expires) == (first.id, again.expires)
    assert (await say("the gate code is on the wall", None, None)).expires is None


async def test_a_tool_does_not_shorten_the_life_of_what_a_person_said(say: Say) -> None:
    """R91, R103"""
    await say("Bonn")
    assert (await say("Bonn", INSTANT, trust="tool")).expires is None


async def test_what_was_so_then_is_told_whatever_covered_it(
    database: Database, own_access: Access, say: Say, pass_by: Pass
) -> None:
    """R91, R95: a cover holds in its time, and ends without a trace."""
    bonn = await say("Bonn")
    berlin = await say("Berlin", HOUR)
    at = berlin.created
    assert await versions.as_of(database, own_access, "office", valid_at=at) == berlin
    assert await versions.as_of(database, own_access, "office", valid_at=at + DAY) == bonn
    assert (
        await versions.as_of(database, own_access, "office", valid_at=at, known_at=berlin.created - INSTANT / 1000)
        == bonn
    )
    await pass_by(HOUR)
    answer = await versions.as_of(database, own_access, "office", valid_at=at)
    assert answer is not None
    assert answer.body == "Bonn"


async def test_pruning_keeps_what_only_waits(database: Database, own_access: Access, say: Say) -> None:
    """R94: covered is not superseded."""
    await say("Bonn")
    await say("Berlin", HOUR)
    assert (await pruning.preview(database, own_access)).removals == ()


async def test_what_waits_is_exported_with_what_it_waits_for(
    database: Database, own_access: Access, bob: Principal, say: Say, pass_by: Pass
) -> None:
    """R101: also into the same scope twice."""
    await say("Bonn")
    await say("Berlin", HOUR)
    lines = [line async for line in transfer.export(database, own_access)]
    other_access = Access.of(bob)
    assert [await transfer.import_lines(database, other_access, lines) for _ in range(2)] == [(2, 0), (0, 2)]
    assert await live_bodies(database, other_access) == ["Berlin"]
    await pass_by(HOUR)
    assert await live_bodies(database, other_access) == ["Bonn"]


async def test_what_waited_holds_if_its_cover_ended_on_the_way(
    database: Database, own_access: Access, bob: Principal, say: Say
) -> None:
    """R91, R101"""
    await say("Bonn")
    berlin = await say("Berlin", HOUR)
    lines = [line async for line in transfer.export(database, own_access)]
    assert berlin.expires is not None
    end = berlin.expires.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0")
    late = [line.replace(end, "2026-01-01T00:00:00.0") for line in lines]
    assert await transfer.import_lines(database, Access.of(bob), late) == (1, 0)
    assert await live_bodies(database, Access.of(bob)) == ["Bonn"]


async def test_nothing_that_is_taken_in_holds_beside_what_waits(
    database: Database, own_access: Access, bob: Principal, say: Say
) -> None:
    """R93, R101: a subject has one value at any time."""
    await say("Rome")
    lines = [line async for line in transfer.export(database, own_access)]
    other_access = Access.of(bob)
    for body, ttl in (("Bonn", None), ("Berlin", HOUR)):
        await write.remember(
            database, other_access, body, trust="human", provenance=Provenance(), key="office", ttl=ttl
        )
    await pruning.prune(database, other_access, PruningPolicy(facts=1))
    with pytest.raises(Permanent, match="another value"):
        await transfer.import_lines(database, other_access, lines)


async def test_an_item_of_the_store_replaces_as_langgraph_says(
    database: Database, own_access: Access, say: Say, pass_by: Pass
) -> None:
    """R91: a put with a life is the item's only value; when it ends, there is none."""
    items = MemoryStore(database, own_access)
    await items.aput(("notes",), "a", {"v": 1})
    await items.aput(("notes",), "a", {"v": 2}, ttl=60)
    await pass_by(HOUR)
    await sweep_all(database)
    assert await items.aget(("notes",), "a") is None
    assert await search.ls(database, own_access) == []


async def test_a_covered_value_in_working_memory_ends_with_its_run(database: Database, alice: Principal) -> None:
    """R91"""
    run = Scope("run", "r1")
    access = Access(alice, (run,), run)
    for body, ttl in (("Bonn", None), ("Berlin", HOUR)):
        await write.remember(database, access, body, trust="tool", provenance=Provenance(), key="office", ttl=ttl)
    async with database.transaction(access) as connection:
        assert await erasure.erase_run(connection, "r1") == 2


async def test_whoever_writes_and_sweeps_at_once_leaves_one_value(
    database: Database, own_access: Access, say: Say
) -> None:
    """R93: covers that end at once, lasting values and housekeeping, all on one subject."""
    lives = (timedelta(0), HOUR, None, timedelta(0))
    writes = [say(f"office is {n}", lives[n % 4]) for n in range(40)]
    await asyncio.gather(*writes, *(erasure.sweep(database) for _ in range(20)))
    await sweep_all(database)
    assert len(await live_bodies(database, own_access)) == 1
    last = await say("office is at last")
    assert (await versions.versions(database, own_access, "office"))[0].memory.id == last.id
    assert await live_bodies(database, own_access) == [last.body]
    rows = await database.rows(own_access, "select 1 from memories where covered_until is not null")
    assert rows == []
