"""BM25 and linear fusion over one or several scopes: a score for every live memory; called by `search`.

A `Timeline` holds the memories in the order in which they were said, as columns of numbers. Every sign of relevance is
a column too: BM25 of a memory with its neighbours, BM25 of its session, cosines, flags. They are brought to one scale,
weighted and added. No text is read: only what was measured at writing, and the postings of the query's words.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import repeat
from math import isnan, log, log1p, sqrt
from operator import eq, mul

WEIGHTS: Mapping[str, float] = {
    "passage": 1.0,
    "session": 0.8,
    "length": 0.6,
    "question": -0.7,
    "answer": 1.0,
    "speaker": 2.5,
    "date": 2.2,
    "vector": 1.2,
    "vector_before": 0.5,
    "vector_after": 0.5,
}
"""Weight of each sign. A question alone tells little, what follows one tells more."""

LEXICAL_WEIGHTS: Mapping[str, float] = {**WEIGHTS, "vector": 0.2, "vector_before": 0.0, "vector_after": 0.0}
"""Weights without a model, whose vectors compare spelling only: enough to order what words found."""


K1 = 0.9
"""Term saturation of BM25: how soon further mentions of a word stop counting."""
PASSAGE_LENGTH, SESSION_LENGTH = 0.8, 0.4
"""Length normalisation (b) of BM25, for passages and for sessions: from 0, none, to 1, full."""


@dataclass(frozen=True, slots=True)
class PassageWeights:
    """Share of a memory and of its neighbours in its passage; earlier ones count more: answers follow questions."""

    own: float = 1.0
    previous: float = 0.7
    second_previous: float = 0.4
    following: float = 0.2

    @property
    def by_step(self) -> Mapping[int, float]:
        """Return the weights by how many positions later the neighbour stands."""
        return {0: self.own, -1: self.previous, -2: self.second_previous, 1: self.following}


PASSAGE = PassageWeights()
SCORE_DIGITS = 9
"""Digits of a score that count."""
_REACH = 2
"""Positions to either side that a passage can reach."""

Column = Sequence[float]
WordCounts = Mapping[int, float]
"""Term frequency of one word in each row that has it; another form of the word counts half."""
Neighbours = Mapping[int, Sequence[int]]
"""By step: for every row, the row that stands so many positions later in its session, or the number of rows if none."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Columns over the live memories of the scopes; those of one session are neighbours, by position."""

    ids: Sequence[bytes]
    creation_times: Sequence[int]
    sizes: Sequence[int]
    """Number of words."""
    question_flags: Sequence[int]
    """1 where the text ends with a question mark."""
    time_flags: Sequence[int]
    """1 where the text mentions a time."""
    speakers: Sequence[str | None]
    sessions: Sequence[int]
    """Number of the session, growing along the timeline; a memory without a session is one of its own."""
    cosines: Column
    """Cosine with the query; NaN for vectors of another embedder; empty if vectors do not count."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A query, as far as ranking uses it."""

    words: Sequence[WordCounts]
    """Term frequencies of each of its words that some row has."""
    word_count: int
    """Number of its words."""
    names: frozenset[str]
    """The speakers that it names, as the timeline writes them; empty unless they are one person."""
    is_about_time: bool
    """Whether it asks when, or how long."""


@dataclass(frozen=True, slots=True)
class RowScore:
    """A row of the timeline, its score, and the addends of the score."""

    row: int
    score: float
    explain: Mapping[str, float]
    similarity: float
    """From 0 to 1, of the query and this text alone: it does not change with what else is remembered."""


def bm25(words: Iterable[WordCounts], sizes: Sequence[float], length: float) -> list[float]:
    """Return the BM25 of each text for these words: rare words count more, further mentions and long texts less."""
    mean = max(sum(sizes) / len(sizes), 1.0)
    saturations = [K1 * (1 - length + length * size / mean) for size in sizes]
    scores = [0.0] * len(sizes)
    for hits in words:
        rarity = log(1 + (len(sizes) - len(hits) + 0.5) / (len(hits) + 0.5)) * (K1 + 1)
        for text, count in hits.items():
            scores[text] += rarity * count / (count + saturations[text])
    return scores


def standard_scores(column: Column, weight: float = 1.0) -> Column:
    """Return the standard score of each value, times the weight; zeros if all values are equal."""
    if not column:
        return ()
    mean = sum(column) / len(column)
    variance = sum(map(mul, column, column)) / len(column) - mean * mean
    # The variance of equal values is not exactly 0, for rounding.
    scale = weight / sqrt(variance) if variance > 1e-12 * mean * mean else 0.0
    return [(value - mean) * scale for value in column]


def find_neighbours(sessions: Sequence[int]) -> Neighbours:
    """Return the neighbours of every row, as far as a passage reaches, from ascending session numbers."""
    no_row = len(sessions)
    alike = list(map(eq, sessions, sessions[1:]))
    after = [row if is_same else no_row for row, is_same in enumerate(alike, 1)] + [no_row, no_row]
    before = [no_row, *(row if same else no_row for row, same in enumerate(alike)), no_row]
    neighbours: dict[int, Sequence[int]] = {0: range(no_row)}
    for step in range(1, _REACH + 1):
        neighbours[step] = list(map(after.__getitem__, neighbours[step - 1]))
        neighbours[-step] = list(map(before.__getitem__, neighbours[1 - step]))
    return neighbours


def neighbour_values(column: Column, rows: Sequence[int], weight: float) -> Column:
    """Return the column's values of these neighbours, times the weight; 0 where there is none."""
    return scale(map([*column, 0.0].__getitem__, rows), weight) if column else ()


def scale(column: Iterable[float], weight: float) -> Column:
    """Return the column multiplied by its weight."""
    return [weight * value for value in column]


def rank(
    timeline: Timeline, query: SearchQuery, weights: Mapping[str, float], *, minimum_cosine: float | None, limit: int
) -> tuple[list[RowScore], int]:
    """Return the best rows, best first, and how many rows are unrelated to the query and so left out.

    A row is related if its passage has a word of the query, or if its cosine is `minimum_cosine` or more; with None
    every row is. Ties go to the newer memory, then to the smaller id.
    """
    if not timeline.ids:
        return [], 0
    neighbours = find_neighbours(timeline.sessions)
    passage = passage_scores(timeline, query, neighbours)
    columns = {
        name: column for name, column in addends(timeline, query, neighbours, passage, weights).items() if column
    }
    scores = list(map(sum, zip(*columns.values(), strict=True)))
    signals = enumerate(zip(passage, timeline.cosines or repeat(0.0), strict=False))
    related = [
        row
        for row, (bm25_score, cosine) in signals
        if bm25_score > 0 or minimum_cosine is None or cosine >= minimum_cosine
    ]
    best = [
        RowScore(
            row, scores[row], {name: column[row] for name, column in columns.items()}, similarity(timeline, query, row)
        )
        for row in _best(timeline, scores, related, limit)
    ]
    return best, len(timeline.ids) - len(related)


def _best(timeline: Timeline, scores: Column, rows: Sequence[int], limit: int) -> Sequence[int]:
    # Only what can be among the best is sorted by more than its score.
    least = min(nlargest(limit, map(scores.__getitem__, rows)), default=0.0) - 10**-SCORE_DIGITS
    return in_order(timeline, scores, [row for row in rows if scores[row] >= least])[:limit]


def in_order(timeline: Timeline, scores: Column, rows: Sequence[int]) -> list[int]:
    """Return rows by score, best first; what rounding alone tells apart is a tie."""
    return sorted(
        rows, key=lambda row: (-round(scores[row], SCORE_DIGITS), -timeline.creation_times[row], timeline.ids[row])
    )


def similarity(timeline: Timeline, query: SearchQuery, row: int) -> float:
    """Return the cosine of query and text, from 0 to 1: of their words, or of their vectors if that is more."""
    mentions = sum(min(counts.get(row, 0.0), 1.0) for counts in query.words)
    words = mentions / sqrt(max(query.word_count, 1) * max(timeline.sizes[row], 1))
    vectors = timeline.cosines[row] if timeline.cosines else 0.0
    return min(max(words, 0.0 if isnan(vectors) else vectors), 1.0)


def addends(
    timeline: Timeline, query: SearchQuery, neighbours: Neighbours, passage: Column, weights: Mapping[str, float]
) -> Mapping[str, Column]:
    """Return what each sign of relevance adds to each score: a weighted standard score, or the weight of a flag.

    Columns of signs that the query does not ask for are empty.
    """
    vector = _standard_cosines(timeline.cosines)
    return {
        "passage": standard_scores(passage, weights["passage"]),
        "session": standard_scores(session_scores(timeline, query), weights["session"]),
        "length": standard_scores([*map(log1p, timeline.sizes)], weights["length"]),
        "question": scale(timeline.question_flags, weights["question"]),
        "answer": neighbour_values(timeline.question_flags, neighbours[-1], weights["answer"]),
        "speaker": scale(map(query.names.__contains__, timeline.speakers), weights["speaker"]) if query.names else (),
        "date": scale(timeline.time_flags, weights["date"]) if query.is_about_time else (),
        "vector": scale(vector, weights["vector"]),
        "vector_before": neighbour_values(vector, neighbours[-1], weights["vector_before"]),
        "vector_after": neighbour_values(vector, neighbours[1], weights["vector_after"]),
    }


def passage_scores(timeline: Timeline, query: SearchQuery, neighbours: Neighbours) -> Column:
    """Return the BM25 of each memory read together with its neighbours."""
    sizes_by_step = [
        neighbour_values(timeline.sizes, neighbours[step], weight) for step, weight in PASSAGE.by_step.items()
    ]
    sizes = list(map(sum, zip(*sizes_by_step, strict=True)))
    # A row counts in the passages of others: what is previous to a passage's own row has that row following it.
    passages = list(zip(neighbours[0], neighbours[1], neighbours[2], neighbours[-1], strict=True))
    return bm25((_passage_counts(hits, passages) for hits in query.words), sizes, PASSAGE_LENGTH)


def _passage_counts(hits: WordCounts, passages: Sequence[tuple[int, int, int, int]]) -> WordCounts:
    """Return the term frequency of a word in each passage; neighbours count less.

    `passages` tells for each row the passages that it counts in: its own, those of the next two rows, and that of the
    row before it.
    """
    sums = [0.0] * (len(passages) + 1)
    # Written out and in local names, since this is where a search spends its time.
    own, previous = PASSAGE.own, PASSAGE.previous
    second_previous, following = PASSAGE.second_previous, PASSAGE.following
    for row, count in hits.items():
        same, after, second_after, before = passages[row]
        sums[same] += own * count
        sums[after] += previous * count
        sums[second_after] += second_previous * count
        sums[before] += following * count
    # The last one collected what would count for neighbours that do not exist.
    del sums[-1]
    return {row: count for row, count in enumerate(sums) if count}


def session_scores(timeline: Timeline, query: SearchQuery) -> Column:
    """Return for each memory the BM25 of its session, read as one text."""
    sizes = _session_sums(enumerate(timeline.sizes), timeline.sessions)
    counts = (_session_sums(hits.items(), timeline.sessions) for hits in query.words)
    scores = bm25(counts, [*sizes.values()], SESSION_LENGTH)
    return [scores[number] for number in timeline.sessions]


def _session_sums(counts: Iterable[tuple[int, float]], sessions: Sequence[int]) -> WordCounts:
    """Return the sum of each session, in the order in which the rows name them."""
    sums = defaultdict[int, float](float)
    for row, count in counts:
        sums[sessions[row]] += count
    return sums


def _standard_cosines(cosines: Column) -> Column:
    if not isnan(sum(cosines)):
        return standard_scores(cosines)
    # Memories with foreign vectors stand in the middle: no better and no worse for it.
    scores = iter(standard_scores([cosine for cosine in cosines if not isnan(cosine)]))
    return [0.0 if isnan(cosine) else next(scores) for cosine in cosines]
