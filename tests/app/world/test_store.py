"""Loading, and the counts that nobody's report can change."""

import time

import pytest

from app.world import store
from app.world.generator import FULL, tell
from memory.postgres.roles import Urls
from tests.app.world.business import SMALL, Business, business


@pytest.mark.parametrize("seed", [1, 7, 42])
async def test_expected_is_counted_from_the_labels(urls: Urls, seed: int) -> None:
    async with business(urls, seed=seed) as shop:
        labels = [label for _, label in tell(seed, SMALL, "double_charge").labels]
        label_of = {
            "refunds": "clean_duplicate",
            "escalated": "disputed",
            "manual": "closed",
            "lookalikes": "lookalike",
        }
        counts = await shop.true_counts()
        assert {name: counts[name] for name in label_of} == {
            name: labels.count(label) for name, label in label_of.items()
        }


@pytest.mark.slow
async def test_full_night_has_the_figures_of_the_story_and_loads_at_once(urls: Urls) -> None:
    began = time.perf_counter()
    async with business(urls, customers=FULL) as shop:
        assert time.perf_counter() - began < 30
        counts = await shop.true_counts()
        assert (counts["refunds"], counts["escalated"], counts["manual"], counts["lookalikes"]) == (49_793, 61, 9, 212)
        rows: list[dict[str, object]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await shop.read("/billing/duplicates", after=cursor)
            rows, cursor = rows + page["rows"], page["next"]
        assert len(rows) == len({row["charge"] for row in rows}) == 50_212
        assert sum(bool(row["refunded"]) for row in rows) == 137


async def test_nothing_has_happened_to_a_fresh_night(shop: Business) -> None:
    counts = await shop.actual_counts()
    names = ("refunds", "duplicate_effects", "escalated", "manual", "lookalikes_touched", "harm", "notifications")
    assert {name: counts[name] for name in names} == dict.fromkeys(names, 0)


async def test_instances_side_by_side_do_not_touch(urls: Urls, shop: Business) -> None:
    async with business(urls) as other:
        await shop.pause()
        charge = (await shop.clean())[0]
        await shop.post("/billing/refund", {"charge": charge["charge"], "amount": charge["amount"]})
        assert (await shop.actual_counts())["refunds"] == 1
        assert (await other.actual_counts())["refunds"] == 0
        assert (await other.read("/billing/jobs", kind="charge_retry"))["status"] == "running"


async def test_loading_again_begins_again(urls: Urls, shop: Business) -> None:
    await shop.pause()
    await store.load(urls.world, shop.instance, 7, SMALL)
    assert (await shop.read("/billing/jobs", kind="charge_retry"))["status"] == "running"
    assert not await shop.rows("select * from {i}_billing.operations")


@pytest.mark.parametrize("name", ["", "W", "a-b", "a; drop schema public", "x" * 30])
def test_names_that_could_be_sql_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no instance name"):
        store.name(name)


async def test_quiet_night_shows_no_duplicate(urls: Urls) -> None:
    async with business(urls, situation="quiet") as shop:
        assert await shop.duplicates() == []
        assert (await shop.true_counts())["refunds"] == 0
