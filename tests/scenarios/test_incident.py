"""The flagship incident on a small business, end to end through graph, gateway, queue and sockets."""

import asyncio

import pytest

from tests.scenarios.town import REQUEST, Towns
from tools import kills

pytestmark = pytest.mark.slow
COUNTED = ("refunds", "duplicate_effects", "escalated", "manual", "lookalikes_touched", "amount")


@pytest.mark.parametrize("seed", [1, 7, 42])
async def test_the_repair_comes_to_what_the_labels_say(towns: Towns, seed: int) -> None:
    """R70 R71"""
    async with towns(seed=seed, faults="drop7") as town, town.worker():
        row = await town.ended(await town.ask())
        wanted, seen = await town.expected(), await town.observed()
    assert (row["status"], row["reason"]) == ("done", None)
    assert {name: seen[name] for name in COUNTED} == {name: wanted[name] for name in COUNTED}


async def test_two_people_who_start_the_same_incident_repair_it_once(towns: Towns) -> None:
    """R18 R70"""
    async with towns(faults="drop7") as town, town.worker():
        both = [await town.ask(), await town.ask(person="dave")]
        rows = await asyncio.gather(*(town.ended(run) for run in both))
        wanted, seen = await town.expected(), await town.observed()
        told = [body for run in both for body in await town.bodies(run, "skipped")]
    assert [row["status"] for row in rows] == ["done", "done"]
    assert {name: seen[name] for name in COUNTED} == {name: wanted[name] for name in COUNTED}
    assert told
    assert "already" in " ".join(row["message"] for row in rows)


async def test_where_nothing_is_wrong_nothing_happens(towns: Towns) -> None:
    async with towns(situation="quiet") as town, town.worker():
        row = await town.parked(await town.ask())
        assert await town.effects() == 0
    assert (row["status"], row["reason"]) == ("done", None)
    assert "nothing was changed" in row["message"]


async def test_an_unclear_message_is_asked_about(towns: Towns) -> None:
    async with towns() as town, town.worker():
        row = await town.parked(await town.ask("something is odd, have a look"))
        assert await town.effects() == 0
    assert (row["status"], row["waits_for"]) == ("waiting", "clarify")


async def test_a_runbook_that_changes_during_the_gate_voids_it_and_repeats_nothing(towns: Towns) -> None:
    """R39 R77"""
    async with towns() as town, town.worker():
        run = await town.ask()
        await town.progressed(run, "pause")
        await town.asked(run, "canary")
        await town.publish({"Ten first": "Three first"})
        row = await town.ended(run)
        approvals = [body["status"] for body in await town.bodies(run, "approval")]
        pauses = [body for body in await town.bodies(run, "outcome") if body["tool"] == "billing.pause_job"]
    assert (row["status"], approvals, len(pauses)) == ("done", ["approved", "void", "approved"], 1)


async def test_a_batch_that_fails_for_good_leaves_a_list_for_people_and_nothing_reserved(towns: Towns) -> None:
    """R74 R75"""
    async with towns(faults="fail_batch:3") as town, town.worker():
        run = await town.ask()
        row = await town.ended(run)
        body, seen = (await town.bodies(run, "ended"))[-1], await town.observed()
    assert (row["status"], row["reason"]) == ("failed", "step_failed")
    assert [row[f"reserved_{name}"] for name in ("tokens", "micros", "calls")] == [0, 0, 0]
    assert (seen["refunds"], seen["duplicate_effects"], seen["notifications"]) == (3 + 20, 0, 0)
    assert any("refund" in str(item) for item in body["manual"])


async def test_the_stop_switch_ends_permission_at_once_and_a_person_can_go_on(towns: Towns) -> None:
    """R125"""
    async with towns(faults="drop7") as town, town.worker():
        run = await town.ask()
        await town.progressed(run, "refund#1")
        await kills.kill(town.system.database, town.by("bob"), "all", reason="stop")
        permitted = len(await town.bodies(run, "permitted"))
        stopped = await town.ended(run)
        assert len(await town.bodies(run, "permitted")) == permitted
        await kills.unkill(town.system.database, town.by("bob"), "all")
        await town.resume(run)
        row = await town.ended(run)
        wanted, seen = await town.expected(), await town.observed()
    assert (stopped["status"], stopped["reason"], row["status"]) == ("stopped", "killed", "done")
    assert {name: seen[name] for name in COUNTED} == {name: wanted[name] for name in COUNTED}


def test_the_request_is_the_one_of_the_demo() -> None:
    from app.up import PROMPT

    assert REQUEST == PROMPT
