"""Story of the demo business drawn from a seed: customers, invoices, charges, and the truth about each charge.

The store loads it. The labels are the truth that the demo and the tests count against; no API exposes them.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Situation = Literal["double_charge", "quiet", "invoice_night"]
Row = tuple[object, ...]

FULL = 60_000
_FIRST = "2026-11-20T21:00:00Z"
_AGAIN = "2026-11-20T21:40:00Z"
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_NAMES = ("Ada", "Ben", "Cleo", "Dana", "Eli", "Fay", "Gus", "Hana", "Ivo", "Jun", "Kim", "Lea", "Max", "Nia", "Ole")
_SURNAMES = ("Adler", "Brandt", "Costa", "Dorn", "Ekman", "Falk", "Greco", "Holm", "Iversen", "Jung", "Kern", "Lund")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many customers fall into each group."""

    customers: int
    doubles: int
    refunds: int
    disputes: int
    closures: int
    lookalikes: int

    @classmethod
    def draw(cls, seed: int, customers: int) -> "Sizes":
        """Return the story's own figures for seed 1 at full size, others near them; scaled, no group empty."""
        rng = _draws(f"sizes {seed}")
        refunds, disputes, closures, lookalikes = 137, 61, 9, 212
        if seed != 1:
            refunds, disputes = rng.randint(100, 180), rng.randint(40, 80)
            closures, lookalikes = rng.randint(5, 14), rng.randint(150, 260)
        share = customers / FULL

        def scale(count: int) -> int:
            return max(2, round(count * share)) if customers < FULL else round(count * share)

        return cls(customers, round(customers * 5 / 6), *map(scale, (refunds, disputes, closures, lookalikes)))


@dataclass(slots=True)
class Story:
    """Rows to load, table by table."""

    customers: list[Row] = field(default_factory=list[Row])
    invoices: list[Row] = field(default_factory=list[Row])
    charges: list[Row] = field(default_factory=list[Row])
    refunds: list[Row] = field(default_factory=list[Row])
    labels: list[Row] = field(default_factory=list[Row])


def tell(seed: int, customers: int, situation: Situation) -> Story:
    """Return the story of a seed; the same seed always tells the same."""
    story, sizes = Story(), Sizes.draw(seed, customers)
    rng = _draws(f"story {seed}")
    ids = charge_ids(rng)
    groups = _groups(sizes, rng) if situation == "double_charge" else {}
    for number in range(sizes.customers):
        _customer(story, rng, number, groups.get(number), ids, has_charges=situation != "invoice_night")
    return story


def _draws(name: str) -> random.Random:
    return random.Random(name)  # noqa: S311  # a story needs repeatable, not secret, draws


def charge_ids(rng: random.Random) -> Iterator[str]:
    """Yield charge ids without end: `ch_` and twelve lower-case letters or digits."""
    while True:
        # One draw for all twelve signs is faster than one for each.
        bits = rng.getrandbits(60)
        yield "ch_" + "".join(_ALPHABET[(bits >> shift) % 36] for shift in range(0, 60, 5))


def _groups(sizes: Sizes, rng: random.Random) -> dict[int, str]:
    """Say which customers were charged twice and what is special about them."""
    order = list(range(sizes.customers))
    rng.shuffle(order)
    groups: dict[int, str] = {}
    start = 0
    for label, count in (("already_refunded", sizes.refunds), ("disputed", sizes.disputes), ("closed", sizes.closures)):
        groups |= dict.fromkeys(order[start : start + count], label)
        start += count
    groups |= dict.fromkeys(order[start : sizes.doubles], "clean_duplicate")
    groups |= dict.fromkeys(order[sizes.doubles : sizes.doubles + sizes.lookalikes], "lookalike")
    return groups


def _customer(  # one customer has this many traits
    story: Story, rng: random.Random, number: int, group: str | None, ids: Iterator[str], *, has_charges: bool
) -> None:
    customer, invoice, amount = f"cu_{number:06d}", f"in_{number:06d}", rng.randrange(900, 4_900)
    name = f"{_NAMES[number % len(_NAMES)]} {_SURNAMES[number // len(_NAMES) % len(_SURNAMES)]}"
    story.customers.append((customer, name, f"customer{number}@example.com", "closed" if group == "closed" else "open"))
    story.invoices.append((invoice, customer, amount))
    if not has_charges:
        return
    first = next(ids)
    story.charges.append((first, customer, invoice, amount, _FIRST, False))
    story.labels.append((first, "normal"))
    if group == "lookalike":
        story.invoices.append((invoice + "b", customer, amount))
    if group is None:
        return
    again = next(ids)
    story.charges.append(
        (again, customer, invoice + "b" if group == "lookalike" else invoice, amount, _AGAIN, group == "disputed")
    )
    story.labels.append((again, group))
    if group == "already_refunded":
        story.refunds.append((again, amount, f"support:{again}", True))
