"""Ranking of a long timeline on arrays of numpy, where that is installed: the answers of `ranking.rank`, sooner.

Called by `search`. Numpy comes with the extra `embeddings`; without it, and for short timelines, `ranking` does.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from memory.store import ranking
from memory.store.ranking import (
    K1,
    PASSAGE,
    PASSAGE_LENGTH,
    SESSION_LENGTH,
    RowScore,
    SearchQuery,
    Timeline,
    WordCounts,
)

LEAST = 300
"""Rows from which on arrays are faster than lists."""
_Array = Any
"""An array of numpy, which may not be installed."""


@cache
def load() -> Any | None:
    """Return numpy, or None where it is not installed."""
    try:
        return import_module("numpy")
    except ImportError:
        return None


def rank(
    timeline: Timeline, query: SearchQuery, weights: Mapping[str, float], *, minimum_cosine: float | None, limit: int
) -> tuple[list[RowScore], int]:
    """Return what `ranking.rank` returns, on arrays if the timeline is long and numpy is there."""
    numpy = load()
    if numpy is None or len(timeline.ids) < LEAST:
        return ranking.rank(timeline, query, weights, minimum_cosine=minimum_cosine, limit=limit)
    return ArrayRanking(numpy, timeline, query).rank(weights, minimum_cosine, limit)


class ArrayRanking:
    """The columns of one search as arrays."""

    def __init__(self, numpy: Any, timeline: Timeline, query: SearchQuery) -> None:
        self._numpy = numpy
        self._timeline = timeline
        self._query = query
        self._sessions = numpy.asarray(timeline.sessions)
        self._sizes = numpy.asarray(timeline.sizes, float)
        self._words = [self._column(hits) for hits in query.words]
        self._cosines = numpy.asarray(timeline.cosines, float)

    def rank(
        self, weights: Mapping[str, float], minimum_cosine: float | None, limit: int
    ) -> tuple[list[RowScore], int]:
        """Return the best rows and how many are unrelated, as `ranking.rank` does."""
        passage = self._bm25(map(self._passage, self._words), self._passage(self._sizes), PASSAGE_LENGTH)
        columns = self._addends(passage, weights)
        scores: _Array = sum(columns.values())
        related = self._related(passage, minimum_cosine)
        rows = self._numpy.flatnonzero(related)
        best = [
            RowScore(
                row,
                float(scores[row]),
                {name: float(column[row]) for name, column in columns.items()},
                ranking.similarity(self._timeline, self._query, row),
            )
            for row in self._best(scores, rows, limit)
        ]
        return best, len(related) - len(rows)

    def _best(self, scores: _Array, rows: _Array, limit: int) -> Sequence[int]:
        values = self._numpy.round(scores[rows], ranking.SCORE_DIGITS)
        if len(rows) > limit:
            # Only what can be among the best is sorted by more than its score.
            rows = rows[values >= self._numpy.partition(values, -limit)[-limit]]
        return ranking.in_order(self._timeline, scores.tolist(), rows.tolist())[:limit]

    def _related(self, passage: _Array, minimum_cosine: float | None) -> _Array:
        if minimum_cosine is None:
            return self._numpy.ones(len(passage), bool)
        cosines = self._cosines if len(self._cosines) else self._numpy.zeros(len(passage))
        return (passage > 0) | (cosines >= minimum_cosine)

    def _addends(self, passage: _Array, weights: Mapping[str, float]) -> dict[str, _Array]:
        timeline, numpy = self._timeline, self._numpy
        questions = numpy.asarray(timeline.question_flags, float)
        columns = {
            "passage": self._standard(passage, weights["passage"]),
            "session": self._standard(self._session_scores(), weights["session"]),
            "length": self._standard(numpy.log1p(self._sizes), weights["length"]),
            "question": weights["question"] * questions,
            "answer": weights["answer"] * self._shift(questions, -1),
        }
        if names := self._query.names:
            speakers = numpy.fromiter(map(names.__contains__, timeline.speakers), float, len(passage))
            columns["speaker"] = weights["speaker"] * speakers
        if self._query.is_about_time:
            columns["date"] = weights["date"] * numpy.asarray(timeline.time_flags, float)
        if len(self._cosines):
            vector = self._standard_cosines()
            columns["vector"] = weights["vector"] * vector
            columns["vector_before"] = weights["vector_before"] * self._shift(vector, -1)
            columns["vector_after"] = weights["vector_after"] * self._shift(vector, 1)
        return columns

    def _column(self, hits: WordCounts) -> _Array:
        """Return the counts of a word as a column over all rows."""
        column = self._numpy.zeros(len(self._sizes))
        rows = self._numpy.fromiter(hits.keys(), int, len(hits))
        column[rows] = self._numpy.fromiter(hits.values(), float, len(hits))
        return column

    def _shift(self, column: _Array, step: int) -> _Array:
        """Return for each row the value of the one so many positions later in its session; 0 if there is none."""
        result, distance = self._numpy.zeros(len(column)), abs(step)
        # Numbers of sessions ascend: where both ends are alike, so is what lies between.
        is_same = self._sessions[distance:] == self._sessions[:-distance]
        if step > 0:
            result[:-distance] = column[distance:] * is_same
        else:
            result[distance:] = column[:-distance] * is_same
        return result

    def _passage(self, column: _Array) -> _Array:
        """Return the column read together with its neighbours."""
        return sum(weight * (self._shift(column, step) if step else column) for step, weight in PASSAGE.by_step.items())

    def _session_scores(self) -> _Array:
        numbers = self._numpy.cumsum(self._numpy.diff(self._sessions, prepend=self._sessions[:1]) != 0)
        sizes = self._numpy.bincount(numbers, self._sizes)
        words = (self._numpy.bincount(numbers, word) for word in self._words)
        return self._bm25(words, sizes, SESSION_LENGTH)[numbers]

    def _bm25(self, words: Any, sizes: _Array, length: float) -> _Array:
        numpy, count = self._numpy, len(sizes)
        saturations = K1 * (1 - length + length * sizes / max(float(sizes.mean()), 1.0))
        scores = numpy.zeros(count)
        for hits in words:
            holders = int(numpy.count_nonzero(hits))
            rarity = numpy.log(1 + (count - holders + 0.5) / (holders + 0.5)) * (K1 + 1)
            scores += rarity * hits / (hits + saturations)
        return scores

    def _standard(self, column: _Array, weight: float = 1.0) -> _Array:
        mean = float(column.mean()) if len(column) else 0.0
        variance = float((column * column).mean()) - mean * mean if len(column) else 0.0
        # As in `ranking`: the variance of equal values is not exactly 0, for rounding.
        scale = weight / variance**0.5 if variance > 1e-12 * mean * mean else 0.0
        return (column - mean) * scale

    def _standard_cosines(self) -> _Array:
        """Return the standard scores of cosines; memories with foreign vectors stand in the middle."""
        scores, rows = self._numpy.zeros(len(self._cosines)), ~self._numpy.isnan(self._cosines)
        scores[rows] = self._standard(self._cosines[rows])
        return scores
