"""Flagship incident on a small business, end to end through graph, gateway, queue and sockets."""

import asyncio

import pytest

from tests.scenarios.town import REQUEST, Towns
from tools import kills

pytestmark = pytest.mark.slow
FIGURES = ("refunds", "duplicate_effects", "escalated", "manual", "lookalikes_touched", "amount")


@pytest.mark.parametrize("seed", [1, 7, 42])
async def test_the_repair_comes_to_what_the_labels_say(towns: Towns, seed: int) -> None:
    """R70 R71"""
    async with towns(seed=seed, faults="drop7") as town, town.worker():
        row = await town.until_end(await town.ask())
        labels, counts = await town.true_counts(), await town.actual_counts()
    assert (row.status, row.reason) == ("done", None)
    assert {name: counts[name] for name in FIGURES} == {name: labels[name] for name in FIGURES}


async def test_two_people_who_start_the_same_incident_repair_it_once(towns: Towns) -> None:
    """R18 R70"""
    async with towns(faults="drop7") as town, town.worker():
        runs = [await town.ask(), await town.ask(person="dave")]
        rows = await asyncio.gather(*(town.until_end(run) for run in runs))
        labels, counts = await town.true_counts(), await town.actual_counts()
        skips = [body for run in runs for body in await town.bodies(run, "skipped")]
    assert [row.status for row in rows] == ["done", "done"]
    assert {name: counts[name] for name in FIGURES} == {name: labels[name] for name in FIGURES}
    assert skips
    assert "already" in " ".join(row.message for row in rows)


async def test_where_nothing_is_wrong_nothing_happens(towns: Towns) -> None:
    async with towns(situation="quiet") as town, town.worker():
        row = await town.until_rest(await town.ask())
        assert await town.effects() == 0
    assert (row.status, row.reason) == ("done", None)
    assert "nothing was changed" in row.message


async def test_an_unclear_message_is_asked_about(towns: Towns) -> None:
    async with towns() as town, town.worker():
        row = await town.until_rest(await town.ask("something is odd, have a look"))
        assert await town.effects() == 0
    assert (row.status, row.waits_for) == ("waiting", "clarify")


async def test_a_runbook_that_changes_during_the_gate_voids_it_and_repeats_nothing(towns: Towns) -> None:
    """R39 R77"""
    async with towns() as town, town.worker():
        run = await town.ask()
        await town.until_effect(run, "pause")
        await town.until_question(run, "canary")
        await town.publish({"Ten first": "Three first"})
        row = await town.until_end(run)
        approvals = [body["status"] for body in await town.bodies(run, "approval")]
        pauses = [body for body in await town.bodies(run, "outcome") if body["tool"] == "billing.pause_job"]
    assert (row.status, approvals, len(pauses)) == ("done", ["approved", "void", "approved"], 1)


async def test_a_batch_that_fails_for_good_leaves_a_list_for_people_and_nothing_reserved(towns: Towns) -> None:
    """R74 R75"""
    async with towns(faults="fail_batch:3") as town, town.worker():
        run = await town.ask()
        row = await town.until_end(run)
        body, counts = (await town.bodies(run, "ended"))[-1], await town.actual_counts()
    assert (row.status, row.reason) == ("failed", "step_failed")
    assert (row.tokens.reserved, row.micros.reserved, row.calls.reserved) == (0, 0, 0)
    assert (counts["refunds"], counts["duplicate_effects"], counts["notifications"]) == (3 + 20, 0, 0)
    assert any("refund" in str(item) for item in body["manual"])


async def test_the_stop_switch_ends_permission_at_once_and_a_person_can_go_on(towns: Towns) -> None:
    """R125"""
    async with towns(faults="drop7") as town, town.worker():
        run = await town.ask()
        await town.until_effect(run, "refund#1")
        await kills.kill(town.system.database, town.access_of("bob"), "all", reason="stop")
        permit_count = len(await town.bodies(run, "permitted"))
        stop = await town.until_end(run)
        assert len(await town.bodies(run, "permitted")) == permit_count
        await kills.unkill(town.system.database, town.access_of("bob"), "all")
        await town.resume(run)
        row = await town.until_end(run)
        labels, counts = await town.true_counts(), await town.actual_counts()
    assert (stop.status, stop.reason, row.status) == ("stopped", "killed", "done")
    assert {name: counts[name] for name in FIGURES} == {name: labels[name] for name in FIGURES}


def test_the_request_is_the_one_of_the_demo() -> None:
    from app.up import PROMPT

    assert REQUEST == PROMPT
