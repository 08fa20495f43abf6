"""Rounds in pairs: two things measured by turns, so that what the machine does meanwhile weighs on both."""

import statistics
from collections.abc import Awaitable, Callable

ROUNDS = 5

Rate = Callable[[], Awaitable[float]]


async def by_turns(own: Rate, other: Rate, names: tuple[str, str], lanes: int) -> dict[str, float]:
    """Return both rates as medians over the rounds, and their ratio: median, least and most of the rounds' own ratios.

    The keys are `{name}_{lanes}` for both names, and `ratio_{lanes}`, `ratio_{lanes}_least`, `ratio_{lanes}_most`.
    """
    pairs = [(await own(), await other()) for _ in range(ROUNDS)]
    ratios = [first / second for first, second in pairs]
    first_median, second_median = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    return {
        f"{names[0]}_{lanes}": first_median,
        f"{names[1]}_{lanes}": second_median,
        f"ratio_{lanes}": statistics.median(ratios),
        f"ratio_{lanes}_least": min(ratios),
        f"ratio_{lanes}_most": max(ratios),
    }
