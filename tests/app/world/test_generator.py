"""The story: the same for a seed, other for another, and every group in it."""

import re
from collections import Counter

import pytest

from app.world.generator import FULL, Sizes, tell
from tests.app.world.business import SMALL, fingerprint

GROUPS = {"clean_duplicate", "already_refunded", "disputed", "closed", "lookalike", "normal"}


def _print(seed: int) -> str:
    story = tell(seed, SMALL, "double_charge")
    return fingerprint([story.customers, story.invoices, story.charges, story.refunds, story.labels])


def test_same_seed_tells_the_same_story() -> None:
    assert _print(5) == _print(5)


def test_other_seeds_tell_other_stories() -> None:
    assert len({_print(seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("seed", [1, 7, 42])
@pytest.mark.parametrize("customers", [60, SMALL, 6_000])
def test_no_group_is_empty_however_small(seed: int, customers: int) -> None:
    story = tell(seed, customers, "double_charge")
    labels = Counter(label for _, label in story.labels)
    assert set(labels) == GROUPS
    assert len(story.labels) == len(story.charges)


def test_default_seed_has_the_figures_of_the_story() -> None:
    sizes = Sizes.draw(1, FULL)
    assert (sizes.refunds, sizes.disputes, sizes.closures, sizes.lookalikes) == (137, 61, 9, 212)
    assert sizes.doubles - sizes.refunds - sizes.disputes - sizes.closures == 49_793


@pytest.mark.parametrize("seed", [2, 7, 42])
def test_other_seeds_draw_figures_nearby(seed: int) -> None:
    sizes = Sizes.draw(seed, FULL)
    assert sizes.doubles == 50_000
    assert 100 <= sizes.refunds <= 180
    assert 40 <= sizes.disputes <= 80
    assert 5 <= sizes.closures <= 14
    assert 150 <= sizes.lookalikes <= 260


def test_charge_ids_are_unique_and_of_one_pattern() -> None:
    ids = [str(charge[0]) for charge in tell(3, 6_000, "double_charge").charges]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"ch_[a-z0-9]{12}", charge) for charge in ids)


def test_lookalikes_have_two_invoices_over_the_same_sum() -> None:
    story = tell(1, SMALL, "double_charge")
    lookalikes = {charge for charge, label in story.labels if label == "lookalike"}
    owner = {charge[1]: charge for charge in story.charges if charge[0] in lookalikes}
    pairs = {customer: [row for row in story.charges if row[1] == customer] for customer in owner}
    assert all(len({row[2] for row in pair}) == 2 and len({row[3] for row in pair}) == 1 for pair in pairs.values())


def test_quiet_night_doubles_nothing_and_invoice_night_charges_nothing() -> None:
    assert {label for _, label in tell(1, SMALL, "quiet").labels} == {"normal"}
    assert not tell(1, SMALL, "invoice_night").charges
    assert len(tell(1, 600, "invoice_night").invoices) == 600
