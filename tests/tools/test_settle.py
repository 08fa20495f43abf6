"""Settlement: read-back of lost replies, failures from the latest permit only, and doubt that waits for a person."""

import asyncio
from typing import Any, Literal

import pytest

from memory.errors import Halt, LeaseLost, Permanent
from memory.runs import records
from tests.tools.support import Desk, act
from tools import effects, kills
from tools.action import Action, Cost
from tools.effects import Claim, Settlement

pytestmark = pytest.mark.anyio


async def test_a_reply_lost_after_the_commit_is_read_back_and_never_repeated(desk: Desk) -> None:
    """R70 R71"""
    lease = await desk.run()
    desk.shop.lose = 1
    outcome = await desk.gateway.perform(lease, act(lease))
    entry = (await desk.story(lease))[-1]
    assert (outcome.state, desk.shop.effects, desk.shop.calls) == ("done", ["shop:a"], 1)
    assert entry["attempt"] == {"number": 1, "read_back": True, "retry_suppressed": "original_succeeded"}


async def test_every_outcome_carries_its_cost_and_the_run_adds_them_up(desk: Desk) -> None:
    """R83"""
    lease = await desk.run()
    outcomes = [await desk.gateway.perform(lease, act(lease, str(n))) for n in range(3)]
    outcomes.append(await desk.gateway.perform(lease, act(lease, tool="shop.peek")))
    outcomes.append(await desk.gateway.perform(lease, act(lease, "f", tool="shop.fail")))
    total = sum((outcome.cost for outcome in outcomes), Cost())
    run = await records.get(desk.database, lease.access, lease.run)
    assert (run.calls.spent, run.spent_millis, run.calls.reserved) == (5, total.millis, 0)
    assert total.calls == 5


async def test_a_successor_asks_first_what_its_predecessor_did(desk: Desk) -> None:
    """R71"""
    lease = await desk.run()
    await _die_in_call(desk, lease, act(lease), with_effect=True)
    outcome = await desk.gateway.perform(await desk.retake(lease), act(lease))
    assert (outcome.state, desk.shop.effects, desk.shop.calls) == ("done", ["shop:a"], 1)
    assert (await desk.story(lease))[-1]["attempt"]["retry_suppressed"] == "original_succeeded"


async def test_a_successor_does_what_its_predecessor_did_not(desk: Desk) -> None:
    lease = await desk.run()
    await _die_in_call(desk, lease, act(lease), with_effect=False)
    outcome = await desk.gateway.perform(await desk.retake(lease), act(lease))
    row = await effects.show(desk.database, lease.access, "shop:a")
    assert (outcome.state, desk.shop.effects, row.attempts) == ("done", ["shop:a"], 2)
    assert await desk.kinds(lease) == ["requested", "proposed", "permitted", "retaken", "resent", "outcome"]


async def test_a_successor_that_is_stopped_says_nothing_of_what_its_predecessor_did(desk: Desk) -> None:
    """The switch was pulled between the two: the effect stays open, and the resume finds it."""
    lease, bob = await desk.run(), desk.access("bob")
    await _die_in_call(desk, lease, act(lease), with_effect=True)
    report = await kills.kill(desk.database, bob, "tool", "shop.charge")
    successor = await desk.retake(lease)
    with pytest.raises(Halt, match="'s-a' was not sent now: killed"):
        await desk.gateway.perform(successor, act(successor))
    row = await effects.show(desk.database, lease.access, "shop:a")
    assert (row.state, [claim.run for claim in report.open]) == ("claimed", [lease.run])
    await desk.end(successor, "stopped", "killed")
    await kills.unkill(desk.database, bob, "tool", "shop.charge")
    outcome = await desk.gateway.perform(await desk.resume(lease.run), act(lease))
    assert (outcome.state, desk.shop.effects, desk.shop.calls) == ("done", ["shop:a"], 1)


async def test_a_zombie_that_comes_back_with_a_success_has_reported_a_fact_once(desk: Desk) -> None:
    lease = await desk.run()
    claim = await _die_in_call(desk, lease, act(lease), with_effect=True)
    new = await desk.retake(lease)
    assert (await _settle(desk, lease, claim, "done")).code == "settled"
    assert (await desk.gateway.perform(new, act(lease))).state == "done"
    assert (await _settle(desk, lease, claim, "done")).code == "already"
    assert (await desk.kinds(lease)).count("outcome") == 1


async def test_a_zombie_that_was_refused_says_nothing_about_its_successor(desk: Desk) -> None:
    lease = await desk.run()
    inside, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        inside.set()
        await go.wait()

    desk.shop.before = wait
    zombie = asyncio.create_task(desk.gateway.perform(lease, act(lease, tool="shop.fail")))
    await inside.wait()
    desk.shop.before = None
    new = await desk.retake(lease)
    claim = await effects.claim(desk.database, new, await _body(desk, new, act(new, tool="shop.fail")))
    go.set()
    with pytest.raises(LeaseLost):
        await zombie
    assert (claim.code, (await _settle(desk, new, claim, "done")).code) == ("unfinished", "settled")


async def test_an_old_permit_is_void_once_a_successor_has_one(desk: Desk, superuser: Any) -> None:
    """R27"""
    lease = await desk.run()
    first = await _die_in_call(desk, lease, act(lease), with_effect=False)
    new = await desk.retake(lease)
    second = await effects.claim(desk.database, new, await _body(desk, new, act(new)))
    async with superuser() as connection:
        cursor = await connection.execute("select jti from permits.permit where effect = %s", [first.effect])
        assert [row["jti"] for row in await cursor.fetchall()] == [second.permit]


async def test_an_unkeyed_lost_reply_is_in_doubt_until_a_person_resolves_it(desk: Desk) -> None:
    """R80"""
    lease = await desk.run()
    desk.shop.lose = 1
    with pytest.raises(Halt, match="nobody knows"):
        await desk.gateway.perform(lease, act(lease, tool="shop.unkeyed"))
    row = (await effects.ls(desk.database, lease.access, state="in_doubt"))[0]
    assert (await records.get(desk.database, lease.access, lease.run)).calls.reserved == 1
    with pytest.raises(Halt, match="in_doubt"):
        await desk.gateway.perform(lease, act(lease, tool="shop.unkeyed"))
    await desk.end(lease, "stopped", "in_doubt")
    assert await _resolve(desk, row.id, "done") == ("done", lease.run)
    outcome = await desk.gateway.perform(await desk.resume(lease.run), act(lease, tool="shop.unkeyed"))
    run = await records.get(desk.database, lease.access, lease.run)
    assert (outcome.state, desk.shop.calls) == ("done", 1)
    assert (run.calls.reserved, run.calls.spent) == (0, 1)


async def test_what_a_person_found_not_to_have_happened_is_done_after_the_resume(desk: Desk) -> None:
    """R80"""
    lease = await desk.run()
    desk.shop.lose = 1
    with pytest.raises(Halt):
        await desk.gateway.perform(lease, act(lease, tool="shop.unkeyed"))
    await desk.end(lease, "stopped", "in_doubt")
    await _resolve(desk, (await effects.ls(desk.database, lease.access))[0].id, "failed")
    outcome = await desk.gateway.perform(await desk.resume(lease.run), act(lease, tool="shop.unkeyed"))
    assert (outcome.state, desk.shop.effects) == ("done", ["shop:a", "shop:a"])


async def test_doubt_of_another_run_stops_this_one_too(desk: Desk) -> None:
    first, second = await desk.run(), await desk.run()
    desk.shop.lose = 1
    for lease in (first, second):
        with pytest.raises(Halt) as halt:
            await desk.gateway.perform(lease, act(lease, tool="shop.unkeyed"))
        assert halt.value.code == "in_doubt"
    assert desk.shop.calls == 1


async def test_what_an_ended_run_left_unfinished_can_be_resolved(desk: Desk) -> None:
    """R80"""
    lease, other = await desk.run(), await desk.run()
    claim = await _die_in_call(desk, lease, act(lease), with_effect=True)
    with pytest.raises(Permanent, match="resolve what is in doubt"):
        await _resolve(desk, str(claim.effect), "done")
    await desk.end(lease, "failed", "internal")
    with pytest.raises(Halt, match="in_doubt"):
        await desk.gateway.perform(other, act(other))
    assert (await _resolve(desk, str(claim.effect), "done"))[0] == "done"
    assert (await desk.gateway.perform(other, act(other))).state == "skipped"


async def test_only_doubt_is_resolved_and_only_once(desk: Desk) -> None:
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    with pytest.raises(Permanent) as conflict:
        await _resolve(desk, str(outcome.effect), "failed")
    with pytest.raises(Permanent) as unknown:
        await _resolve(desk, "no-such-effect", "failed")
    assert (conflict.value.code, unknown.value.code) == ("conflict", "not_found")


@pytest.mark.parametrize("answer", [{"text": "a\0b"}, {"text": "\ud800"}, {"share": 0.5}, {"text": "x" * 9_000}])
async def test_a_service_that_answers_nonsense_cannot_spoil_the_journal(desk: Desk, answer: dict[str, Any]) -> None:
    """R49"""
    lease = await desk.run()
    desk.shop.answer = answer
    outcome = await desk.gateway.perform(lease, act(lease))
    assert (outcome.state, outcome.result, desk.shop.effects) == ("done", {}, ["shop:a"])


async def _die_in_call(desk: Desk, lease: Any, action: Action, *, with_effect: bool) -> Claim:
    """Claim and call as a worker that never settles would."""
    claim = await effects.claim(desk.database, lease, await _body(desk, lease, action))
    assert claim.code == "go"
    if with_effect:
        services = desk.shop.bind("executor", lease.run, permit=claim.permit, key=claim.send_key)
        await services.post("shop", "pay", {})
    return claim


async def _body(desk: Desk, lease: Any, action: Action) -> dict[str, Any]:
    admission, decision = desk.judge(action)
    return effects.request(lease, admission, decision)


async def _settle(desk: Desk, lease: Any, claim: Claim, state: Literal["done", "failed"]) -> Settlement:
    return await effects.settle(
        desk.database,
        lease.access,
        claim,
        state=state,
        outcome={"result": {}, "message": ""},
        cost=Cost(),
        attempt={},
    )


async def _resolve(desk: Desk, effect: str, state: Any) -> tuple[str, str]:
    async with desk.database.transaction(desk.access("bob")) as connection:
        return await effects.resolve(connection, effect, state, "asked the bank")


async def test_what_is_told_beside_an_outcome_names_no_other_effect_and_nobody(desk: Desk) -> None:
    """By SQL of the application's role, which holds the permit of its own effect alone."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease, "b"))
    admission, decision = desk.judge(act(lease))
    claim = await effects.claim(desk.database, lease, effects.request(lease, admission, decision))
    other = (await effects.show(desk.database, lease.access, "shop:b")).id
    lies = {"effect": other, "step": "s-b", "tool": "x", "by": "carol", "key": "k", "approval": "a", "entries": [1]}
    body: dict[str, Any] = {"effect": claim.effect, "permit": claim.permit, "state": "done", "outcome": {}}
    await desk.database.call(
        lease.access, "settle", {**body, "cost": Cost().as_json(), "attempt": {}, "extra": {**lies, "checked": False}}
    )
    entry = (await desk.story(lease))[-1]
    assert [entry[name] for name in ("effect", "step", "tool")] == [claim.effect, "s-a", "shop.charge"]
    assert not {"by", "key", "approval", "entries"} & entry.keys()
