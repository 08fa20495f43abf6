"""Billing through the gateway, with permits, over a real socket that loses replies."""

import asyncio
import json
from typing import Any

import pytest

from app.world.store import RETRY_JOB
from memory.errors import Halt, Permanent
from tests.scenarios.waiting import until
from tests.tools.adapters.conftest import OpenOffice
from tests.tools.adapters.office import Office
from tools.catalog import Catalog


async def test_duplicates_are_kept_by_handle_and_no_id_comes_back(open_office: OpenOffice) -> None:
    """R10."""
    async with open_office() as office:
        rows = await office.business.duplicates()
        duplicates = await office.succeed("billing.duplicates", {})
        assert (duplicates["count"], duplicates["sum"]) == (len(rows), sum(row["amount"] for row in rows))
        assert "ch_" not in json.dumps(duplicates)


@pytest.mark.parametrize("faults", ["none", "drop3", "flaky500"])
async def test_all_clean_duplicates_are_refunded_and_none_twice_whatever_gets_lost(
    open_office: OpenOffice, faults: str
) -> None:
    """R70 R71."""
    async with open_office(faults=faults) as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        clean = await office.clean()
        for number in range(0, clean["count"], 40):
            part = await office.cut(clean, number, 40)
            result = await office.succeed("billing.refund_batch", {"charges": part}, step=f"refund#{number}")
            assert (result["refunded"], result["failed"]) == (part["count"], 0)
        figures, labels = await office.business.actual_counts(), await office.business.true_counts()
        assert {name: figures[name] for name in ("refunds", "amount", "duplicate_effects", "harm")} == {
            name: labels[name] for name in ("refunds", "amount", "duplicate_effects", "harm")
        }


async def test_lost_reply_is_read_back_and_never_sent_again(open_office: OpenOffice) -> None:
    """R70."""
    async with open_office(faults="drop3", situation="invoice_night", customers=60) as office:
        rows = (await office.business.read("/billing/open_invoices"))["rows"]
        for row in rows[:6]:
            args = {"invoice": row["invoice"], "amount": row["amount"]}
            assert (await office.succeed("billing.charge", args, step=row["invoice"]))["amount"] == row["amount"]
        outcomes = [body for body in await office.story(office.own_lease) if body["kind"] == "outcome"]
        assert [bool(body["attempt"]["read_back"]) for body in outcomes] == [False, False, True] * 2
        assert await office.business.rows("select * from {i}_billing.requests where outcome = 'replay'") == []
        assert (await office.business.actual_counts())["charges"] == 6


async def test_a_request_that_is_still_at_work_is_never_taken_for_a_failure(open_office: OpenOffice) -> None:
    """The repetition is answered 409, the look-up 404, and then the first request commits."""
    async with open_office(faults="busy409:1", seconds=0.1, situation="invoice_night", customers=60) as office:
        args = await invoice(office)
        with pytest.raises(Halt, match="nobody knows"):
            await office.perform("billing.charge", args)
        await office.end(office.own_lease, "stopped", "in_doubt")
        await until(lambda: has_charged(office, 1), "the first request's commit")
        assert await office.gateway.look_again() == [office.own_lease.run]
        office.own_lease = await office.lease(office.own_lease.run)
        assert (await office.perform("billing.charge", args)).state == "done"
        other = await office.perform("billing.charge", args, lease=await office.run())
        assert (other.state, await has_charged(office, 1)) == ("skipped", True)


async def test_a_successor_waits_for_the_request_of_its_predecessor_and_finds_it(open_office: OpenOffice) -> None:
    """The permit that the first request is using cannot be taken away before it is settled."""
    async with open_office(faults="busy409:1", seconds=0.1, situation="invoice_night", customers=60) as office:
        args = await invoice(office)
        task = asyncio.create_task(office.perform("billing.charge", args))
        await asyncio.sleep(0.05)
        task.cancel()
        office.own_lease = await office.retake(office.own_lease)
        assert (await office.perform("billing.charge", args)).state == "done"
        assert await has_charged(office, 1)


async def invoice(office: Office) -> dict[str, Any]:
    row = (await office.business.read("/billing/open_invoices"))["rows"][0]
    return {"invoice": row["invoice"], "amount": row["amount"]}


async def has_charged(office: Office, count: int) -> bool:
    return (await office.business.actual_counts())["charges"] == count


async def test_effect_carries_the_person_to_the_business(open_office: OpenOffice) -> None:
    async with open_office() as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        (entry,) = await office.business.rows("select * from {i}_billing.requests where outcome = 'done'")
        assert (entry["subject"], entry["actor"]) == ("alice", "executor")
        assert entry["correlation"] == office.own_lease.correlation


async def test_items_that_fail_are_kept_by_handle(open_office: OpenOffice) -> None:
    async with open_office() as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        duplicates = await office.succeed("billing.duplicates", {})
        cases = ["bad: disputed || account == 'closed'"]
        slices = await office.succeed("sets.split", {"of": duplicates["found"], "cases": cases})
        result = await office.succeed("billing.refund_batch", {"charges": slices["bad"]})
        assert (result["refunded"], result["failed"]) == (0, slices["bad"]["count"])
        assert result["failures"]["count"] == slices["bad"]["count"]
        assert "ch_" not in json.dumps(result)


async def test_batch_that_the_provider_refuses_fails_without_effect(open_office: OpenOffice) -> None:
    async with open_office(faults="fail_batch:1") as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        outcome = await office.perform("billing.refund_batch", {"charges": await office.clean()})
        assert (outcome.state, "for good" in outcome.message) == ("failed", True)
        assert (await office.business.actual_counts())["refunds"] == 0


async def test_single_refund_is_found_made_and_seen(open_office: OpenOffice) -> None:
    async with open_office() as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        row = (await office.business.clean())[0]
        charge = await office.succeed("billing.charges", {"of": row["charge"]}, step="before")
        assert (charge["charge"], charge["amount"]) == (row["charge"], row["amount"])
        refund = await office.succeed("billing.refund", {"charge": charge["charge"], "amount": charge["amount"]})
        assert refund["refunded"] == 1
        assert (await office.succeed("billing.charges", {"of": row["charge"]}, step="after"))["refunded"] == 1


async def test_each_part_of_a_charge_is_seen_to_be_given_back(open_office: OpenOffice) -> None:
    """Also before a skip, when more than that part stands refunded."""
    async with open_office() as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        row = (await office.business.clean())[0]
        first = {"charge": row["charge"], "amount": row["amount"] // 2}
        rest: dict[str, Any] = {"charge": row["charge"], "amount": row["amount"] - row["amount"] // 2, "part": 1}
        outcomes = [
            await office.perform("billing.refund", args, step=f"part{n}") for n, args in enumerate([first, rest])
        ]
        outcomes.append(await office.perform("billing.refund", first, lease=await office.run()))
        assert [(outcome.state, outcome.checked) for outcome in outcomes] == [
            ("done", True),
            ("done", True),
            ("skipped", True),
        ]
        assert (await office.business.actual_counts())["amount"] == row["amount"]


async def test_same_refund_in_another_run_is_skipped(open_office: OpenOffice) -> None:
    """R71."""
    async with open_office() as office:
        row = (await office.business.clean())[0]
        args = {"charge": row["charge"], "amount": row["amount"]}
        await office.succeed("billing.refund", args)
        again = await office.perform("billing.refund", args, lease=await office.run())
        assert (again.state, (await office.business.actual_counts())["refunds"]) == ("skipped", 1)


async def test_shipped_policy_asks_people_before_a_refund_and_sums_what_is_asked(open_office: OpenOffice) -> None:
    """R37."""
    async with open_office(policy=None) as office:
        row = (await office.business.clean())[0]
        action = office.action("billing.refund", {"charge": row["charge"], "amount": row["amount"]})
        approval = await office.ask(office.own_lease, action)
        assert (await office.business.actual_counts())["refunds"] == 0
        assert (await office.decide(approval, "bob")).code == "ok"
        assert (await office.business.actual_counts())["refunds"] == 0


async def test_job_is_paused_resumed_and_reported(open_office: OpenOffice) -> None:
    async with open_office() as office:
        assert (await office.succeed("billing.jobs", {"kind": "charge_retry"}, step="a"))["status"] == "running"
        assert (await office.succeed("billing.pause_job", {"job": RETRY_JOB}))["status"] == "paused"
        assert (await office.succeed("billing.resume_job", {"job": RETRY_JOB}))["status"] == "running"


async def test_totals_agree_with_what_was_asked(open_office: OpenOffice) -> None:
    async with open_office() as office:
        await office.succeed("billing.pause_job", {"job": RETRY_JOB})
        part = await office.cut(await office.clean(), 0, 10)
        await office.succeed("billing.refund_batch", {"charges": part})
        totals = await office.succeed("billing.refund_totals", {"charges": part})
        assert (totals["refunded"], totals["amount"], totals["refunded_twice"]) == (10, part["total"], 0)


async def test_open_invoices_are_collected_in_a_batch(open_office: OpenOffice) -> None:
    async with open_office(situation="invoice_night", customers=60) as office:
        invoices = await office.succeed("billing.open_invoices", {})
        result = await office.succeed("billing.charge_batch", {"invoices": invoices["found"]})
        assert (result["charged"], result["amount"], result["failed"]) == (60, invoices["sum"], 0)


@pytest.mark.parametrize(("tool", "name"), [("billing.refund_batch", "charges"), ("billing.charge_batch", "invoices")])
async def test_batch_over_500_is_refused_before_it_is_read(open_office: OpenOffice, tool: str, name: str) -> None:
    part = {"handle": "h_" + "0" * 24, "start": 0, "count": 501, "digest": "0" * 64, "total": 1, "currency": "EUR"}
    async with open_office() as office:
        outcome = await office.perform(tool, {name: part})
        assert (outcome.state, "501" in outcome.message) == ("failed", True)


@pytest.mark.parametrize("charge", ["ch_1", "CH_0123456789ab", "ch_0123456789ab'; --", "cu_000001"])
def test_ids_of_another_shape_are_no_arguments(charge: str) -> None:
    tool = Catalog.discover().get("billing.refund")
    with pytest.raises(ValueError, match="charge"):
        tool.arguments.model_validate({"charge": charge, "amount": 1})


def test_unknown_tool_names_what_exists() -> None:
    with pytest.raises(Permanent, match=r"billing\.refund"):
        Catalog.discover().get("billing.refnd")
