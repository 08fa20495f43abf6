"""Ranking: arithmetic that can be checked by hand, without a database."""

from collections.abc import Sequence
from dataclasses import replace
from math import isclose, log, nan

import pytest

from memory.store.ranking import (
    LEXICAL_WEIGHTS,
    WEIGHTS,
    RowScore,
    SearchQuery,
    Timeline,
    WordCounts,
    addends,
    bm25,
    find_neighbours,
    neighbour_values,
    passage_scores,
    rank,
    standard_scores,
)

SPEAKERS = ("Ann", "Bob", "Ann", "Bob", "Ann")
LINE = Timeline(
    ids=[bytes([n]) * 16 for n in range(5)],
    creation_times=[0, 1, 2, 3, 4],
    sizes=[4, 6, 4, 8, 8],
    question_flags=[1, 0, 0, 0, 0],
    time_flags=[0, 0, 0, 1, 0],
    speakers=SPEAKERS,
    sessions=[0, 0, 0, 1, 2],
    cosines=(),
)


def search_query(*words: WordCounts, names: Sequence[str] = (), asks_when: bool = False) -> SearchQuery:
    return SearchQuery(words, len(words), frozenset(names), asks_when)


def best(
    line: Timeline, question: SearchQuery, *, minimum_cosine: float | None = 0.05, limit: int = 5
) -> tuple[list[RowScore], int]:
    return rank(line, question, WEIGHTS, minimum_cosine=minimum_cosine, limit=limit)


def test_bm25_is_that_of_the_textbook() -> None:
    """The word of one text beats the word of two; a second mention counts less than the first."""
    scores = bm25([{0: 1}, {1: 2, 2: 1}], [10, 10, 10], 0.4)
    rare, common = log(1 + 2.5 / 1.5), log(1 + 1.5 / 2.5)
    assert scores == pytest.approx([rare * 1.9 / 1.9, common * 3.8 / 2.9, common * 1.9 / 1.9])


def test_a_long_text_must_say_it_more_often() -> None:
    short, long = bm25([{0: 1, 1: 1}], [5, 15], 0.4)
    assert short > long > 0
    assert len(set(bm25([{0: 1, 1: 1}], [5, 15], 0.0))) == 1


def test_standard_scores_have_mean_0_and_deviation_1() -> None:
    scores = standard_scores([3.0, 5.0, 7.0, 100.0])
    assert isclose(sum(scores), 0, abs_tol=1e-9)
    assert isclose(sum(score * score for score in scores), 4)


@pytest.mark.parametrize("column", [[], [7.0], [0.1] * 7, [0] * 3])
def test_what_is_alike_everywhere_tells_nothing(column: list[float]) -> None:
    assert not any(standard_scores(column))


def test_neighbours_are_those_of_the_session() -> None:
    near = find_neighbours([0, 0, 0, 1, 2])
    assert near[1] == [1, 2, 5, 5, 5]
    assert near[2] == [2, 5, 5, 5, 5]
    assert near[-1] == [5, 0, 1, 5, 5]
    assert near[-2] == [5, 5, 0, 5, 5]
    assert list(near[0]) == [0, 1, 2, 3, 4]
    assert find_neighbours([0])[2] == find_neighbours([0])[-1] == [1]
    assert neighbour_values([1, 2, 3, 4, 5], near[1], 10) == [20, 30, 0, 0, 0]


@pytest.mark.parametrize(("row", "reached_rows"), [(0, {0, 1, 2}), (2, {1, 2}), (3, {3})])
def test_a_passage_reaches_two_memories_on_and_one_back_within_its_session(row: int, reached_rows: set[int]) -> None:
    ranking, below = best(LINE, search_query({row: 1}))
    assert ({hit.row for hit in ranking}, below) == (reached_rows, 5 - len(reached_rows))


def test_a_neighbour_counts_less_the_farther_it_stands() -> None:
    sizes, sessions = [5] * 6, [0] * 6
    line = Timeline(LINE.ids, range(6), sizes, [0] * 6, [0] * 6, [None] * 6, sessions, ())
    scores = passage_scores(line, search_query({2: 1}), find_neighbours(line.sessions))
    assert scores[2] > scores[3] > scores[4] > scores[1] > 0 == scores[0] == scores[5]


def test_every_sign_has_a_weight() -> None:
    sums = addends(LINE, search_query(), find_neighbours(LINE.sessions), (), WEIGHTS)
    assert sums.keys() == WEIGHTS.keys() == LEXICAL_WEIGHTS.keys()


def test_the_addends_of_a_score_add_up_to_it() -> None:
    """R93: also with vectors, names and dates."""
    line = replace(LINE, cosines=[0.9, 0.1, nan, -0.2, 0.3])
    ranking, _ = best(line, search_query({0: 1, 3: 2}, names=["Bob"], asks_when=True))
    assert ranking[0].explain.keys() == WEIGHTS.keys()
    assert all(isclose(sum(hit.explain.values()), hit.score) for hit in ranking)


def test_a_foreign_vector_counts_for_nothing() -> None:
    line = replace(LINE, cosines=[0.9, 0.1, nan, -0.2, 0.3])
    assert addends(line, search_query(), find_neighbours(line.sessions), (), WEIGHTS)["vector"][2] == 0


def test_what_resembles_enough_is_shown_without_a_word() -> None:
    ranking, below = best(replace(LINE, cosines=[0.9, 0.1, nan, -0.2, 0.3]), search_query(), minimum_cosine=0.3)
    assert ({hit.row for hit in ranking}, below) == ({0, 4}, 3)


def test_without_a_floor_everything_is_shown() -> None:
    assert len(best(LINE, search_query(), minimum_cosine=None)[0]) == len(LINE.ids)


def test_ties_go_to_the_newer_and_then_to_the_smaller_id() -> None:
    """R93: the order is decided to the last."""
    ids = [bytes([n]) for n in (0, 4, 3, 2, 1)]
    alike = replace(
        LINE, ids=ids, creation_times=[0, 9, 9, 9, 9], sizes=[5] * 5, question_flags=[0] * 5, sessions=range(5)
    )
    ranking, _ = best(alike, search_query(dict.fromkeys(range(5), 1)), limit=3)
    assert [hit.row for hit in ranking] == [4, 3, 2]


def test_an_empty_scope_has_no_answer() -> None:
    assert best(Timeline([], [], [], [], [], [], [], []), search_query()) == ([], 0)
