"""Billing of the demo business: reads, charges, refunds, and the traps it sets."""

import asyncio
from typing import Any

import pytest

from app.world.store import RETRY_JOB
from memory.postgres.roles import Urls
from tests.app.world.business import Business, business


def _items(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"charge": row["charge"], "amount": row["amount"]} for row in rows]


async def test_duplicate_query_returns_lookalikes_too(shop: Business) -> None:
    lookalikes = await shop.duplicates(same_invoice=False)
    assert len(lookalikes) == (await shop.true_counts())["lookalikes"] > 0


async def test_rows_tell_the_groups_apart(shop: Business) -> None:
    counts = await shop.true_counts()
    assert len(await shop.clean()) == counts["refunds"]
    assert len(await shop.duplicates(disputed=True)) == counts["escalated"]
    assert len(await shop.duplicates(account="closed")) == counts["manual"]


async def test_pages_of_any_size_show_every_row_once(shop: Business) -> None:
    full_list, rows, cursor = await shop.duplicates(), [], ""
    while cursor is not None:
        page = await shop.read("/billing/duplicates", after=cursor, limit=37)
        rows, cursor = rows + page["rows"], page["next"]
    assert rows == full_list


async def test_duplicates_can_be_asked_by_night(shop: Business) -> None:
    assert len((await shop.read("/billing/duplicates", night="2026-11-20"))["rows"]) == len(await shop.duplicates())
    assert (await shop.read("/billing/duplicates", night="2026-11-19"))["rows"] == []
    assert (await shop.get("/billing/duplicates", night="yesterday")).status_code == 422


async def test_retry_job_charges_forty_more_after_each_refund_until_it_is_paused(urls: Urls) -> None:
    async with business(urls, customers=1200) as shop:
        before, rows = (await shop.true_counts())["refunds"], _items(await shop.clean())
        for number in range(2):
            await shop.post("/billing/refund_batch", {"charges": rows[number : number + 1]})
        assert (await shop.true_counts())["refunds"] == before + 80
        await shop.pause()
        await shop.post("/billing/refund", rows[5])
        assert (await shop.true_counts())["refunds"] == before + 80
        count = (await shop.read("/billing/jobs", kind="charge_retry"))["jobs"][0]["emitted"]
        assert (count, len(await shop.clean())) == (80, before + 80 - 3)


async def test_refunds_at_once_each_set_the_retry_job_off(urls: Urls) -> None:
    async with business(urls, customers=1200) as shop:
        before, rows = (await shop.true_counts())["refunds"], _items(await shop.clean())[:4]
        answers = await asyncio.gather(*(shop.post("/billing/refund", row) for row in rows))
        assert {answer.status_code for answer in answers} == {200}
        assert (await shop.true_counts())["refunds"] == before + 160


async def test_retry_job_emits_the_same_for_the_same_seed(urls: Urls) -> None:
    async def retry_charges() -> list[str]:
        async with business(urls, customers=600) as shop:
            await shop.post("/billing/refund_batch", {"charges": _items(await shop.clean())[:3]})
            return [row["charge"] for row in await shop.clean()]

    first, second = await asyncio.gather(retry_charges(), retry_charges())
    assert first == second


async def test_batch_refunds_each_item_and_tells_which_cannot_be(shop: Business) -> None:
    await shop.pause()
    disputes, closures = await shop.duplicates(disputed=True), await shop.duplicates(account="closed")
    rows = _items([*(await shop.clean())[:3], disputes[0], closures[0], {"charge": "ch_none", "amount": 1}])
    result = (await shop.post("/billing/refund_batch", {"charges": rows})).json()
    assert (result["refunded"], result["replayed"], result["amount"]) == (3, 0, sum(row["amount"] for row in rows[:3]))
    assert {failure["reason"] for failure in result["failed"]} == {"disputed", "account closed", "unknown charge"}
    assert (await shop.actual_counts())["harm"] == 0


async def test_amount_must_be_the_charges_own(shop: Business) -> None:
    row = _items(await shop.clean())[0]
    answer = await shop.post("/billing/refund", {**row, "amount": row["amount"] + 1})
    assert (answer.status_code, (await shop.actual_counts())["refunds"]) == (422, 0)


async def test_disputed_and_closed_refuse_a_single_refund(shop: Business) -> None:
    await shop.pause()
    dispute, closure = (await shop.duplicates(disputed=True))[0], (await shop.duplicates(account="closed"))[0]
    answers = [await shop.post("/billing/refund", _items([row])[0]) for row in (dispute, closure)]
    assert [answer.status_code for answer in answers] == [422, 422]


async def test_world_allows_harm_to_who_brings_new_keys(shop: Business) -> None:
    await shop.pause()
    row = _items(await shop.clean())[0]
    for _ in range(2):
        await shop.post("/billing/refund", row)
        await shop.post("/billing/refund_batch", {"charges": [row]})
    counts = await shop.actual_counts()
    assert (counts["refunds"], counts["duplicate_effects"]) == (4, 3)


async def test_items_deduplicate_by_the_clients_item_keys_across_single_and_batch(shop: Business) -> None:
    """R71."""
    await shop.pause()
    first, second, *_ = _items(await shop.clean())
    await shop.post("/billing/refund", first, key=f"billing.refund:{first['charge']}")
    path = "/billing/refund_batch?item_key=billing.refund:{charge}"
    result = (await shop.post(path, {"charges": [first, second]}, key="batch")).json()
    assert (result["refunded"], result["replayed"]) == (1, 1)
    single = (await shop.post("/billing/refund", second, key=f"billing.refund:{second['charge']}")).json()
    assert (single["refunded"], single["replayed"]) == (0, 1)
    assert (await shop.actual_counts())["duplicate_effects"] == 0


async def test_batch_has_at_most_500_items(shop: Business) -> None:
    rows = [{"charge": f"ch_{number}", "amount": 1} for number in range(501)]
    assert (await shop.post("/billing/refund_batch", {"charges": rows})).status_code == 422


async def test_totals_count_refunds_and_repeats(shop: Business) -> None:
    await shop.pause()
    rows = _items(await shop.clean())[:3]
    await shop.post("/billing/refund_batch", {"charges": rows})
    await shop.post("/billing/refund", rows[0])
    ids = [row["charge"] for row in rows]
    totals = (await shop.post("/billing/refund_totals", {"charges": ids}, role="researcher")).json()
    amount = sum(row["amount"] for row in rows) + rows[0]["amount"]
    counts = {"charges": 3, "refunded": 3, "refunded_twice": 1, "in_parts": 0, "disputed": 0}
    assert totals == {**counts, "amount": amount, "currency": "EUR"}


async def test_job_is_paused_and_resumed_but_never_when_finished(shop: Business) -> None:
    await shop.pause()
    assert (await shop.read("/billing/jobs", kind="charge_retry"))["status"] == "paused"
    await shop.post("/billing/resume_job", {"job": RETRY_JOB})
    assert (await shop.read("/billing/jobs", kind="charge_retry"))["status"] == "running"
    (past_job,) = (await shop.read("/billing/jobs", kind="invoice_run"))["jobs"]
    assert (await shop.post("/billing/pause_job", {"job": past_job["job"]})).status_code == 422


async def test_jobs_name_one_only_if_there_is_one(shop: Business) -> None:
    assert (await shop.read("/billing/jobs", kind="charge_retry"))["job"] == RETRY_JOB
    assert (await shop.read("/billing/jobs"))["job"] == ""


async def test_charges_of_a_customer_name_the_one_to_refund(shop: Business) -> None:
    await shop.pause()
    row = (await shop.clean())[0]
    number = int(row["customer"].removeprefix("cu_"))
    for words in (row["charge"], row["customer"], f"customer{number}@example.com"):
        answer = await shop.read("/billing/charges", of=words)
        assert (answer["customers"], answer["charge"], answer["amount"]) == (1, row["charge"], row["amount"])
    await shop.post("/billing/refund", _items([row])[0])
    answer = await shop.read("/billing/charges", of=row["charge"])
    assert (answer["refunded"], answer["charge"]) == (1, "")


@pytest.mark.parametrize("trait", [{"disputed": True}, {"account": "closed"}, {"refunded": True}])
async def test_charges_that_cannot_be_refunded_are_not_named(shop: Business, trait: dict[str, Any]) -> None:
    row = (await shop.duplicates(**trait))[0]
    assert (await shop.read("/billing/charges", of=row["charge"]))["charge"] == ""


async def test_name_of_several_customers_names_no_charge(shop: Business) -> None:
    answer = await shop.read("/billing/charges", of="Ada Adler")
    assert answer["customers"] > 1
    assert (answer["charge"], answer["amount"]) == ("", 0)


@pytest.mark.parametrize("words", ["nobody", "'; drop table charges; --", "%"])
async def test_words_that_fit_nobody_find_nothing(shop: Business, words: str) -> None:
    assert (await shop.read("/billing/charges", of=words))["count"] == 0


async def test_invoices_are_charged_once_per_key_and_then_no_longer_open(urls: Urls) -> None:
    async with business(urls, situation="invoice_night", customers=60) as shop:
        rows = (await shop.read("/billing/open_invoices"))["rows"]
        path = "/billing/charge_batch?item_key=billing.charge:{invoice}"
        single = {"invoice": rows[0]["invoice"], "amount": rows[0]["amount"]}
        assert (await shop.post("/billing/charge", single, key=f"billing.charge:{rows[0]['invoice']}")).is_success
        result = (await shop.post(path, {"invoices": rows}, key="batch")).json()
        assert (result["charged"], result["replayed"], result["failed"]) == (59, 1, [])
        assert (await shop.read("/billing/open_invoices"))["rows"] == []
        assert (await shop.actual_counts())["double_charges"] == 0


async def test_invoice_is_only_charged_over_its_own_amount(urls: Urls) -> None:
    async with business(urls, situation="invoice_night", customers=60) as shop:
        row = (await shop.read("/billing/open_invoices"))["rows"][0]
        answer = await shop.post("/billing/charge", {"invoice": row["invoice"], "amount": row["amount"] + 1})
        assert (answer.status_code, (await shop.actual_counts())["charges"]) == (422, 0)


def _parts(charge: str, *amounts: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"charge": charge, "amount": amount, "part": part, **fields} for part, amount in enumerate(amounts)]


async def _refund(shop: Business, parts: list[dict[str, Any]]) -> list[int]:
    """Refund parts of a charge, one after the other; returns the status of each answer."""
    return [(await shop.post("/billing/refund", part)).status_code for part in parts]


async def test_parts_of_a_charge_add_up_to_its_last_minor_unit_and_not_to_more(shop: Business) -> None:
    await shop.pause()
    row, other, *_ = _items(await shop.clean())
    third = row["amount"] // 3
    rest = row["amount"] - 2 * third
    assert await _refund(shop, _parts(row["charge"], third, third, rest + 1, rest, 1)) == [200, 200, 422, 200, 422]
    assert await _refund(shop, _parts(other["charge"], other["amount"], 1)) == [200, 422]
    totals = await shop.post("/billing/refund_totals", {"charges": [row["charge"]]}, role="researcher")
    counts = totals.json()
    assert (counts["amount"], counts["in_parts"], counts["refunded_twice"]) == (row["amount"], 1, 0)


async def test_parts_that_come_at_once_and_in_one_batch_are_counted_together(shop: Business) -> None:
    await shop.pause()
    row, other, *_ = _items(await shop.clean())
    half = row["amount"] // 2 + 1
    answers = await asyncio.gather(*(shop.post("/billing/refund", part) for part in _parts(row["charge"], *[half] * 6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[422] * 5]
    batch = _parts(other["charge"], other["amount"] - 1, 1, 1)
    path = "/billing/refund_batch?item_key=part:{charge}"
    keyless = (await shop.post("/billing/refund_batch", {"charges": batch[:1]})).json()
    assert (keyless["refunded"], keyless["currency"]) == (1, "EUR")
    assert [item["reason"] for item in (await shop.post(path, {"charges": batch[1:]})).json()["failed"]] == [
        "more than is left of the charge"
    ]


async def test_currency_of_a_refund_is_that_of_its_charge(shop: Business) -> None:
    await shop.pause()
    row, other, *_ = _items(await shop.clean())
    assert (await shop.post("/billing/refund", {**row, "currency": "JPY"})).status_code == 422
    mixed = {"charges": [row, {**other, "currency": "JPY"}]}
    assert (await shop.post("/billing/refund_batch", mixed)).status_code == 422
    assert (await shop.actual_counts())["refunds"] == 0
