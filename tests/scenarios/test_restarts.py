"""Postgres that is killed while everything starts and while runs are asked for: `up` goes on by itself."""

import pytest

from tests.bench.restarts import measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


async def test_up_outlives_a_postgres_that_is_killed_at_any_moment() -> None:
    """Six of the sixty kills of `tests.bench.restarts`."""
    figures = await measure(6, 7)
    assert (figures["ended by itself"], figures["harmful advice"], figures["not done"]) == ([], [], {})
    assert (sum(figures["kills"].values()) >= 4, figures["runs"] > 0) == (True, True)
