"""Ranking on arrays: the answers of the lists, row by row; what numpy is needed for is skipped where it is missing."""

import random
from collections.abc import Sequence
from itertools import accumulate
from math import inf, nan

import pytest

from memory.store import ranking, ranking_arrays
from memory.store.ranking import LEXICAL_WEIGHTS, WEIGHTS, SearchQuery, Timeline

SPEAKERS = ("Ann", "Bob", None)


def timeline(chance: random.Random, rows: int, *, has_cosines: bool) -> Timeline:
    def flags() -> list[int]:
        return [chance.randrange(2) for _ in range(rows)]

    return Timeline(
        ids=[chance.randbytes(16) for _ in range(rows)],
        creation_times=[chance.randrange(5) for _ in range(rows)],
        sizes=[chance.randrange(1, 30) for _ in range(rows)],
        question_flags=flags(),
        time_flags=flags(),
        speakers=[chance.choice(SPEAKERS) for _ in range(rows)],
        sessions=list(accumulate((chance.random() < 0.2 for _ in range(rows - 1)), initial=0)),
        cosines=[chance.choice([nan, chance.uniform(-1, 1)]) for _ in range(rows)] if has_cosines else (),
    )


def question(chance: random.Random, rows: int) -> SearchQuery:
    words = [{row: chance.choice([0.5, 1.0, 3.0]) for row in range(rows) if chance.random() < 0.1} for _ in range(4)]
    names = frozenset(chance.sample(["Ann", "Bob"], chance.randrange(2)))
    return SearchQuery([word for word in words if word], 5, names, is_about_time=bool(chance.randrange(2)))


def both(
    line: Timeline, query: SearchQuery, weights: dict[str, float], minimum_cosine: float | None
) -> Sequence[tuple[list[ranking.RowScore], int]]:
    numpy = pytest.importorskip("numpy")
    lists = ranking.rank(line, query, weights, minimum_cosine=minimum_cosine, limit=10)
    return lists, ranking_arrays.ArrayRanking(numpy, line, query).rank(weights, minimum_cosine, 10)


@pytest.mark.parametrize("seed", range(40))
def test_arrays_rank_as_lists_do(seed: int) -> None:
    """The same ten in the same order, with the same addends, whatever is asked of whatever is there."""
    chance = random.Random(seed)
    rows = chance.choice([3, 4, 30, 400])
    line, query = timeline(chance, rows, has_cosines=seed % 2 == 0), question(chance, rows)
    weights = dict(chance.choice([WEIGHTS, LEXICAL_WEIGHTS]))
    lists, arrays = both(line, query, weights, chance.choice([None, 0.05, inf]))
    assert ([score.row for score in arrays[0]], arrays[1]) == ([score.row for score in lists[0]], lists[1])
    for own, other in zip(arrays[0], lists[0], strict=True):
        assert own.explain == pytest.approx(dict(other.explain), abs=1e-9)
        assert (own.score, own.similarity) == pytest.approx((other.score, other.similarity), abs=1e-9)


def test_memories_that_are_equal_in_all_stay_in_the_order_of_their_age() -> None:
    line = Timeline(
        [bytes([n]) * 16 for n in range(20)], range(20), [5] * 20, [0] * 20, [0] * 20, [None] * 20, range(20), ()
    )
    query = SearchQuery([dict.fromkeys(range(20), 1.0)], 1, frozenset(), is_about_time=False)
    lists, arrays = both(line, query, dict(WEIGHTS), 0.05)
    assert [score.row for score in arrays[0]] == [score.row for score in lists[0]] == list(range(19, 9, -1))


def test_short_timelines_and_machines_without_numpy_are_served_by_lists() -> None:
    line = timeline(random.Random(1), 5, has_cosines=False)
    query = question(random.Random(2), 5)
    answer = ranking_arrays.rank(line, query, WEIGHTS, minimum_cosine=None, limit=3)
    assert answer == ranking.rank(line, query, WEIGHTS, minimum_cosine=None, limit=3)
