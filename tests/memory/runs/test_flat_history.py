"""What runs, lists and duties read does not grow with what was done before: counted in blocks, not in time."""

from collections.abc import AsyncGenerator

import pytest

from tests.bench.ground import Ground, open_ground
from tests.bench.history import SETTINGS, measure, total

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUNS = 2000


@pytest.fixture
async def ground() -> AsyncGenerator[Ground]:
    """Return an installation whose server counts blocks."""
    async with open_ground(SETTINGS) as installation:
        yield installation


async def test_a_run_and_the_lists_touch_as_many_blocks_beside_thousands_of_runs_as_beside_a_page(
    ground: Ground,
) -> None:
    few, many = await measure(ground, RUNS)
    growth = {part: round(total(many[part]) / total(few[part]), 2) for part in few}
    assert {part: ratio for part, ratio in growth.items() if ratio > 1.3} == {}
