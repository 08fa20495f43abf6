"""The flagship incident on a small business, end to end through graph, gateway, queue and sockets."""

import pytest

from tests.scenarios.town import Towns

pytestmark = pytest.mark.slow
COUNTED = ("refunds", "duplicate_effects", "escalated", "manual", "lookalikes_touched", "amount")


@pytest.mark.parametrize("seed", [1, 7, 42])
async def test_the_repair_comes_to_what_the_labels_say(towns: Towns, seed: int) -> None:
    async with towns(seed=seed, faults="drop7") as town, town.worker():
        row = await town.ended(await town.begin())
        wanted, seen = await town.expected(), await town.observed()
    assert (row["status"], row["reason"]) == ("done", None)
    assert {name: seen[name] for name in COUNTED} == {name: wanted[name] for name in COUNTED}
