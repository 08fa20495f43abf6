"""Keys of states and of events: what still holds is decided by the world, not by the record."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from memory.postgres.database import Database
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.observed import Hall, open_hall, refuse
from tests.tools.support import Desk, act
from tools import effects
from tools.action import Json, Outcome
from tools.admission import reversed_keys
from tools.tool import ServiceRefusal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hall(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> tuple[Desk, Hall]:
    """Return a desk over a hall that can be looked at."""
    return await open_hall(database, people, clock)


async def perform(desk: Desk, name: str, **options: Any) -> Outcome:
    """Perform one write in a run of its own."""
    lease = await desk.run()
    return await desk.gateway.perform(lease, act(lease, tool=name, **options))


async def test_on_off_on_in_three_runs_switches_three_times(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    states = [(await perform(desk, name)).state for name in ("hall.on", "hall.off", "hall.on")]
    assert (states, world.lamps) == (["done", "done", "done"], {"a": "on"})


async def test_on_off_on_off_in_one_run_switches_four_times(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    lease = await desk.run()
    for number, name in enumerate(("hall.on", "hall.off", "hall.on", "hall.off")):
        outcome = await desk.gateway.perform(lease, act(lease, tool=name, step=f"s{number}"))
        assert (outcome.state, world.lamps["a"]) == ("done", name.partition(".")[2])


async def test_a_state_that_somebody_changed_by_hand_is_set_anew(hall: tuple[Desk, Hall]) -> None:
    """Under a key of its own, else the service would answer the old reply and do nothing."""
    desk, world = hall
    first = await perform(desk, "hall.on")
    world.lamps["a"] = "off"
    second = await perform(desk, "hall.on")
    assert (second.state, second.checked, world.lamps, world.calls) == ("done", True, {"a": "on"}, ["on:a", "on:a#1"])
    rows = await effects.ls(desk.database, desk.access("bob"))
    assert [(row.id, row.state) for row in rows] == [(second.effect, "done"), (first.effect, "done")]


async def test_a_state_that_is_so_is_not_set_again(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    await perform(desk, "hall.on")
    second = await perform(desk, "hall.on")
    assert (second.state, second.checked, second.observed, world.calls) == ("skipped", True, {"lamp": "on"}, ["on:a"])


async def test_a_state_that_cannot_be_looked_at_is_neither_skipped_nor_set(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    await perform(desk, "hall.on")
    world.glass = refuse
    second = await perform(desk, "hall.on")
    assert (second.state, world.calls) == ("unverified", ["on:a"])


async def test_a_state_is_set_to_something_else_under_the_same_key(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    for amount in (30, 70, 70, 30):
        await perform(desk, "hall.set", amount=amount)
    assert (world.lamps, world.calls) == ({"a": "30"}, ["set:a", "set:a#1", "set:a#2"])


async def test_of_many_that_find_a_state_gone_one_sets_it_anew(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    await perform(desk, "hall.on")
    world.lamps["a"] = "off"
    leases = [await desk.run() for _ in range(6)]
    outcomes = await asyncio.gather(*(desk.gateway.perform(lease, act(lease, tool="hall.on")) for lease in leases))
    assert sorted(outcome.state for outcome in outcomes) == ["done", *["skipped"] * 5]
    assert world.calls == ["on:a", "on:a#1"]


async def test_an_event_that_is_still_to_be_seen_is_skipped(hall: tuple[Desk, Hall]) -> None:
    """The result keeps what only the first answer said; what is expected of it is judged by the fresh look."""
    desk, world = hall
    await perform(desk, "hall.book")
    second = await perform(desk, "hall.book")
    assert (second.state, second.observed, world.calls) == ("skipped", {"booked": 1}, ["book:a"])
    assert second.result == {"booked": 1, "reference": "book:a"}


async def test_an_event_undone_by_hand_is_a_question_and_never_repeated(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    await perform(desk, "hall.book")
    world.booked.clear()
    lease = await desk.run()
    second = await desk.gateway.perform(lease, act(lease, tool="hall.book", checkpoint="c1"))
    assert (second.state, second.code, world.calls) == ("unverified", "unverified", ["book:a"])
    last = (await desk.story(lease))[-1]
    assert (last["kind"], last["checkpoint"]) == ("contradicted", "c1")


async def test_an_event_that_cannot_be_looked_at_now_is_not_skipped(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    await perform(desk, "hall.book")
    world.glass = refuse
    assert ((await perform(desk, "hall.book")).state, world.calls) == ("unverified", ["book:a"])


async def test_a_governed_reverse_in_any_run_frees_the_key_for_another_event(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    names = ("hall.book", "hall.unbook", "hall.book", "hall.unbook", "hall.book")
    assert [(await perform(desk, name)).state for name in names] == ["done"] * 5
    assert (world.booked, len(set(world.calls))) == ({"a": 1}, 5)


async def test_a_reverse_of_other_arguments_frees_nothing(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    await perform(desk, "hall.book", amount=10)
    await perform(desk, "hall.unbook", amount=11)
    world.booked["a"] = 1
    assert (await perform(desk, "hall.book", amount=10)).state == "skipped"


async def test_a_reverse_that_was_refused_frees_nothing(hall: tuple[Desk, Hall]) -> None:
    desk, _ = hall
    first = await perform(desk, "hall.book")
    lease = await desk.run(calls=0)
    with pytest.raises(Exception, match="budget_exceeded"):
        await desk.gateway.perform(lease, act(lease, tool="hall.unbook"))
    assert (await effects.show(desk.database, lease.access, str(first.effect))).state == "done"


async def test_after_a_failure_the_key_stays_unless_the_service_says_that_it_is_dead(hall: tuple[Desk, Hall]) -> None:
    """Under a dead key it would do nothing for ever; under a living one its own protection goes on working."""
    desk, world = hall
    keys: list[str] = []
    for is_key_dead in (False, True, False):
        world.refusals = [ServiceRefusal("tool_failed", "refused", 422, is_key_dead=is_key_dead)]
        assert (await perform(desk, "hall.book")).state == "failed"
        keys = world.calls
    assert ((await perform(desk, "hall.book")).state, keys) == ("done", ["book:a", "book:a", "book:a#1", "book:a#1"])


async def test_a_reverse_frees_the_key_whoever_finds_out_that_it_was_done(hall: tuple[Desk, Hall]) -> None:
    """Also if its reply was lost and a person says that it was done."""
    desk, world = hall
    await perform(desk, "hall.book")
    lease = await desk.run()
    claim = await effects.claim(desk.database, lease, claim_of(desk, lease, "hall.unbook"))
    await desk.end(lease, "stopped", "killed")
    world.booked["a"] = 0
    async with desk.database.transaction(desk.access("bob")) as connection:
        await effects.resolve(connection, str(claim.effect), "done", "seen at the counter")
    assert ((await perform(desk, "hall.book")).state, world.booked) == ("done", {"a": 1})


def claim_of(desk: Desk, lease: Lease, name: str) -> dict[str, Json]:
    """Return a claim as the gateway makes it."""
    admission, decision = desk.judge(act(lease, tool=name))
    return {**effects.request(lease, admission, decision), "reverses": reversed_keys(admission, desk.catalog)}


async def test_led_from_an_older_checkpoint_a_run_does_not_do_again_what_it_took_back(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    lease = await desk.run()
    for name, step in (("hall.book", "s1"), ("hall.unbook", "s2")):
        await desk.gateway.perform(lease, act(lease, tool=name, step=step))
    again = await desk.gateway.perform(lease, act(lease, tool="hall.book", step="s1"))
    assert (again.state, world.booked) == ("unverified", {"a": 0})


async def test_a_key_under_which_a_service_lied_is_not_used_again(hall: tuple[Desk, Hall]) -> None:
    """It said ok and did nothing; once people say so, another attempt goes under another key."""
    desk, world = hall
    world.lies = True
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, tool="hall.book"))
    await desk.end(lease, "failed", "audit_failed")
    async with desk.database.transaction(desk.access("bob")) as connection:
        await effects.resolve(connection, str(outcome.effect), "failed", "not there")
    world.lies = False
    assert ((await perform(desk, "hall.book")).state, world.calls) == ("done", ["book:a", "book:a#1"])
