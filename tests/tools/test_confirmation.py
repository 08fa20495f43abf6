"""Confirmation: after a write the world is looked at, and what it contradicts is not called done."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.observed import Hall, open_hall, refuse
from tests.tools.support import Desk, Item, act
from tools import effects
from tools.action import Json, Outcome, digest
from tools.tool import Call, Observation, tool

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hall(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> tuple[Desk, Hall]:
    """Return a desk over a hall that can be looked at."""
    return await open_hall(database, people, clock)


async def perform(desk: Desk, name: str, item: str = "a", **options: Any) -> Outcome:
    """Perform one write in a run of its own."""
    lease = await desk.run()
    return await desk.gateway.perform(lease, act(lease, item, tool=name, **options))


async def settled(desk: Desk, name: str) -> tuple[Outcome, Mapping[str, Any]]:
    """Perform one write; returns its outcome and its last entry."""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, tool=name))
    return outcome, (await desk.story(lease))[-1]


async def test_a_write_that_is_seen_is_done_and_checked(hall: tuple[Desk, Hall]) -> None:
    """The settled entry holds the digest of what was seen."""
    outcome, entry = await settled(hall[0], "hall.book")
    assert (outcome.state, outcome.checked) == ("done", True)
    assert (entry["kind"], entry["state"], entry["checked"]) == ("outcome", "done", True)
    assert entry["check"] == {"verdict": "confirmed", "digest": digest({"booked": 1})}


async def test_a_write_that_nobody_can_look_at_is_done_and_not_checked(hall: tuple[Desk, Hall]) -> None:
    outcome, entry = await settled(hall[0], "shop.charge")
    assert (outcome.state, outcome.checked, entry["checked"]) == ("done", False, False)


async def test_a_tool_that_lies_is_unverified_and_its_key_is_kept(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    world.lies = True
    outcome, entry = await settled(desk, "hall.book")
    assert (outcome.state, outcome.code) == ("unverified", "unverified")
    assert (entry["state"], entry["checked"]) == ("unverified", False)
    again = await perform(desk, "hall.book")
    assert (again.state, world.calls) == ("unverified", ["book:a"]), "never a licence to do it again"
    assert "'hall.book' reported success, but its target shows {\"booked\":0}" in outcome.message


@pytest.mark.parametrize("lag", [0.5, 3.0, 9.0])
async def test_a_read_that_lags_is_no_contradiction_while_the_service_may_be_at_it(
    hall: tuple[Desk, Hall], lag: float
) -> None:
    desk, world = hall
    world.lag = lag
    assert (await perform(desk, "hall.book")).checked


async def test_what_is_not_seen_after_the_service_must_have_settled_is_contradicted(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    world.lag = 60.0
    assert (await perform(desk, "hall.book")).state == "unverified"
    assert world.clock.monotonic() >= world.since + 10.0


async def test_changed_too_much_is_contradicted_as_well(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    world.booked["a"] = 1
    outcome = await perform(desk, "hall.book")
    assert (outcome.state, world.booked) == ("unverified", {"a": 2})


async def test_a_target_that_cannot_be_looked_at_leaves_a_write_unchecked(hall: tuple[Desk, Hall]) -> None:
    desk, world = hall
    world.glass = refuse
    outcome = await perform(desk, "hall.book")
    assert (outcome.state, outcome.checked, world.booked) == ("done", False, {"a": 1})


ODD: list[Any] = [
    None, [], "seen", 7, {"holds": True}, Observation("yes", {}), Observation(1, {"a": 1}),  # pyright: ignore[reportArgumentType]
    Observation(True, {"x": float("nan")}), Observation(True, {"x": "y" * 5_000}), Observation(True, {"x": "\0"}),  # pyright: ignore[reportArgumentType]
    Observation(True, {"x": "\ud800"}), Observation(True, []), Permanent("internal", "no"), RuntimeError("no"),  # pyright: ignore[reportArgumentType]
]  # fmt: skip


@pytest.mark.parametrize("answer", ODD, ids=repr)
async def test_an_observation_of_any_shape_settles_the_write_and_confirms_nothing(
    hall: tuple[Desk, Hall], answer: Any
) -> None:
    desk, world = hall

    async def glass(_: Observation) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    world.glass = glass
    outcome = await perform(desk, "hall.book")
    assert (outcome.state in ("done", "unverified"), outcome.checked, world.booked) == (True, False, {"a": 1})


async def test_a_reply_that_was_lost_is_confirmed_like_any_other(hall: tuple[Desk, Hall]) -> None:
    """What a look-up finds is the service's memory of us; how the world stands is another question."""
    desk, world = hall
    lease = await desk.run()
    action = act(lease, tool="hall.book")
    body = effects.request(lease, *desk.judge(action))
    await effects.claim(desk.database, lease, body)
    world.answers["book:a"] = {"booked": 1}
    outcome = await desk.gateway.perform(await desk.retake(lease), action)
    assert (outcome.state, world.booked) == ("unverified", {})


async def test_a_state_needs_an_observation() -> None:
    with pytest.raises(TypeError, match="a tool that sets a state needs `observe`"):

        @tool("hall.blind", effect="write", sets_state=True)
        async def blind(args: Item, call: Call) -> Mapping[str, Json]:  # pyright: ignore[reportUnusedFunction]
            """Set a state that nobody can see."""
            return {}


async def test_people_settle_what_is_unverified_once_its_run_has_ended(hall: tuple[Desk, Hall]) -> None:
    """The reservation was given back before: nothing is counted twice."""
    desk, world = hall
    world.lies = True
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, tool="hall.book"))
    await desk.end(lease, "failed", "audit_failed")
    access = replace(desk.access("bob"))
    async with desk.database.transaction(access) as connection:
        assert await effects.resolve(connection, str(outcome.effect), "failed", "not there") == ("failed", lease.run)
    world.lies = False
    world.answers.clear()
    assert (await perform(desk, "hall.book")).checked
