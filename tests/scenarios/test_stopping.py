"""The stop switch under load, a few times; `python -m tests.bench.stopping` pulls it three hundred times."""

from collections.abc import Mapping

import pytest

from memory.postgres.roles import Urls
from memory.scope import Principal
from tests.bench.stopping import LOCKS, open_yard

pytestmark = pytest.mark.slow


async def test_after_the_answer_nothing_arrives_but_the_sends_that_it_named(
    urls: Urls, people: Mapping[str, Principal], tenant: str
) -> None:
    """R125: two workers, a slow network, a service whose refusals are tried again."""
    async with open_yard(urls, tenant, seed=7) as yard:
        for _ in range(4):
            await yard.attempt()
        tally = yard.tally
    assert tally.requests > 0
    assert (tally.wrong, tally.claims_after, tally.duplicates) == ([], 0, 0)


@pytest.mark.parametrize("lock", LOCKS)
async def test_hostile_sql_that_holds_the_lock_of_all_claims_holds_up_nothing(
    urls: Urls, people: Mapping[str, Principal], tenant: str, lock: str
) -> None:
    """R125: also where it has switched its own time limits off; nothing is claimed after the answer."""
    async with open_yard(urls, tenant, seed=7) as yard:
        await yard.attempt_under_lock(lock)
        tally = yard.tally
    assert len(tally.hostile_answers) == 1
    assert (tally.wrong, tally.claims_after) == ([], 0)
