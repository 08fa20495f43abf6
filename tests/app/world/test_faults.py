"""Fault profiles by name, and the accident that a naive client makes of them."""

import httpx2
import pytest

from app.world.faults import Faults
from memory.postgres.roles import Urls
from tests.app.world.business import Business, business


async def _ask(shop: Business, invoice: dict[str, object], key: str | None) -> httpx2.Response | None:
    body = {"invoice": invoice["invoice"], "amount": invoice["amount"]}
    try:
        return await shop.post("/billing/charge", body, key=key)
    except httpx2.TransportError:
        return None


async def test_reply_is_dropped_after_the_commit_and_the_connection_with_it(urls: Urls) -> None:
    async with business(urls, situation="invoice_night", faults="drop3") as shop:
        invoices = (await shop.read("/billing/open_invoices"))["rows"][:6]
        answers = [await _ask(shop, invoice, key=str(invoice["invoice"])) for invoice in invoices]
        assert [answer is None for answer in answers] == [False, False, True] * 2
        assert (await shop.actual_counts())["charges"] == 6


@pytest.mark.parametrize("has_key", [True, False], ids=["keyed", "naive"])
async def test_naive_retry_charges_twice_and_keyed_retry_does_not(urls: Urls, has_key: bool) -> None:
    """R70 R71."""
    async with business(urls, situation="invoice_night", faults="drop3", customers=60) as shop:
        for invoice in (await shop.read("/billing/open_invoices"))["rows"]:
            key = str(invoice["invoice"]) if has_key else None
            while await _ask(shop, invoice, key) is None:
                if has_key and (await shop.get(f"/billing/operations/{key}")).is_success:
                    break
        counts = await shop.actual_counts()
        assert (counts["charges"] == 60, counts["double_charges"] == 0) == (has_key, has_key)


async def test_every_fifth_write_breaks_before_anything_happens(urls: Urls) -> None:
    async with business(urls, situation="invoice_night", faults="flaky500") as shop:
        invoices = (await shop.read("/billing/open_invoices"))["rows"][:5]
        answers = [await _ask(shop, invoice, None) for invoice in invoices]
        assert [answer.status_code for answer in answers if answer] == [200, 200, 200, 200, 500]
        assert (await shop.actual_counts())["charges"] == 4


async def test_chosen_batch_fails_for_good_without_effect(urls: Urls) -> None:
    async with business(urls, faults="fail_batch:2") as shop:
        await shop.pause()
        rows = [{"charge": row["charge"], "amount": row["amount"]} for row in await shop.clean()]
        answers = [await shop.post("/billing/refund_batch", {"charges": rows[n * 5 :][:5]}) for n in range(3)]
        assert [answer.status_code for answer in answers] == [200, 422, 200]
        assert (await shop.actual_counts())["refunds"] == 10


async def test_slow_profile_slows_reads(urls: Urls) -> None:
    async with business(urls, faults="slow") as shop:
        assert (await shop.get("/billing/jobs")).elapsed.total_seconds() >= 0.05


@pytest.mark.parametrize("name", ["", "drop", "fail_batch:", "fail_batch:0", "fail_batch:x"])
def test_unknown_profile_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="no fault profile"):
        Faults.of(name)


def test_profiles_count_for_themselves() -> None:
    first, second = Faults.of("drop3"), Faults.of("drop3")
    assert [first.drops() for _ in range(6)] == [False, False, True] * 2
    assert not second.drops()
