"""How well each memory of a scope answers a question: arithmetic over columns of numbers; called by `search`.

A `Line` is the scope with its memories in the order in which they were said. Every sign of relevance is a column over
that line, weighed by `fusion` and added up. No memory is left out, and none is read: only facts that were kept when it
was written, and the postings of the question's words.
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
"""A question alone tells little, what follows one tells more."""

LEXICAL_WEIGHTS: Mapping[str, float] = {**WEIGHTS, "vector": 0.2, "vector_before": 0.0, "vector_after": 0.0}
"""Without a model a vector only knows spelling, which orders a little what words found."""


K1 = 0.9
"""How soon further mentions of a word stop counting."""
PASSAGE_LENGTH, SESSION_LENGTH = 0.8, 0.4
"""How much longer texts have to say a word more often: from 0, not at all, to 1, as much as they are longer."""
PASSAGE: Mapping[int, float] = {0: 1.0, -1: 0.7, -2: 0.4, 1: 0.2}
"""How much a memory and its neighbours count in its passage, by how many places later they stand: answers follow
questions."""

REACH = max(map(abs, PASSAGE))

Column = Sequence[float]
WordCounts = Mapping[int, float]
"""How often a word stands in each text that has it; one of its kin counts half."""
Neighbours = Mapping[int, Sequence[int]]
"""The row that stands so many places later in the session, for every row; the number of rows where none does."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The live memories of the scopes; those of one session are neighbours, by place."""

    ids: Sequence[bytes]
    created: Sequence[int]
    sizes: Sequence[int]
    """Words of each."""
    asks: Sequence[int]
    """1 where it ends with a question mark."""
    dated: Sequence[int]
    """1 where it tells a time."""
    speakers: Sequence[str | None]
    sessions: Sequence[int]
    """Number of the session, growing along the line; who stands in none is one alone."""
    cosines: Column
    """Cosine with the question; not a number where another embedder's vector stands; empty if vectors do not count."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What is asked, as far as it is counted."""

    words: Sequence[WordCounts]
    """Where in the line each of its words stands."""
    names: frozenset[str]
    """The speakers that it names, as the line writes them, if that is one person."""
    asks_when: bool


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A place in the line, its score, and the addends of that."""

    row: int
    score: float
    explain: Mapping[str, float]


def bm25(words: Iterable[WordCounts], sizes: Sequence[float], length: float) -> list[float]:
    """Return how much each text says these words: rare words count more, further mentions and long texts less."""
    mean = max(sum(sizes) / len(sizes), 1.0)
    enough = [K1 * (1 - length + length * size / mean) for size in sizes]
    scores = [0.0] * len(sizes)
    for hits in words:
        rarity = log(1 + (len(sizes) - len(hits) + 0.5) / (len(hits) + 0.5)) * (K1 + 1)
        for text, count in hits.items():
            scores[text] += rarity * count / (count + enough[text])
    return scores


def standard(column: Column, weight: float = 1.0) -> Column:
    """Return by how many standard deviations each value lies above the mean; zeros if they are all alike."""
    if not column:
        return ()
    mean = sum(column) / len(column)
    variance = sum(map(mul, column, column)) / len(column) - mean * mean
    # What is left of equal values is rounding.
    scale = weight / sqrt(variance) if variance > 1e-12 * mean * mean else 0.0
    return [(value - mean) * scale for value in column]


def surroundings(sessions: Sequence[int]) -> Neighbours:
    """Return the neighbours of every row, as far as a passage reaches; the session's number grows along the line."""
    nobody = len(sessions)
    alike = list(map(eq, sessions, sessions[1:]))
    after = [row if same else nobody for row, same in enumerate(alike, 1)] + [nobody, nobody]
    before = [nobody, *(row if same else nobody for row, same in enumerate(alike)), nobody]
    near: dict[int, Sequence[int]] = {0: range(nobody)}
    for step in range(1, REACH + 1):
        near[step] = list(map(after.__getitem__, near[step - 1]))
        near[-step] = list(map(before.__getitem__, near[1 - step]))
    return near


def beside(column: Column, near: Sequence[int], weight: float) -> Column:
    """Return what the column holds for the neighbours, weighed; 0 for those without one."""
    return weighed(map([*column, 0.0].__getitem__, near), weight) if column else ()


def weighed(column: Iterable[float], weight: float) -> Column:
    """Return the column multiplied by its weight."""
    return [weight * value for value in column]


def rank(
    line: Timeline, question: SearchQuery, weights: Mapping[str, float], *, floor: float, limit: int
) -> tuple[list[ScoredRow], int]:
    """Return the best of the line, best first, and how many share nothing with the question.

    Ties go to the newer memory, then to the smaller id.
    """
    if not line.ids:
        return [], 0
    near = surroundings(line.sessions)
    passage = passage_scores(line, question, near)
    columns = {name: column for name, column in addends(line, question, near, passage, weights).items() if column}
    scores = list(map(sum, zip(*columns.values(), strict=True)))
    told = enumerate(zip(passage, line.cosines or repeat(0.0), strict=False))
    shown = [row for row, (shared, cosine) in told if shared > 0 or cosine >= floor]
    ranked = [
        ScoredRow(row, scores[row], {name: column[row] for name, column in columns.items()})
        for row in _best(line, scores, shown, limit)
    ]
    return ranked, len(line.ids) - len(shown)


def _best(line: Timeline, scores: Column, shown: Sequence[int], limit: int) -> Sequence[int]:
    least = min(nlargest(limit, map(scores.__getitem__, shown)), default=0.0)
    near_top = (row for row in shown if scores[row] >= least)
    return sorted(near_top, key=lambda row: (-scores[row], -line.created[row], line.ids[row]))[:limit]


def addends(
    line: Timeline, question: SearchQuery, near: Neighbours, passage: Column, weights: Mapping[str, float]
) -> Mapping[str, Column]:
    """Return what each sign of relevance adds to each score: a weighed standard score, or the weight where it holds.

    Columns of what the question does not ask about are empty.
    """
    vector = _known(line.cosines)
    return {
        "passage": standard(passage, weights["passage"]),
        "session": standard(session_scores(line, question), weights["session"]),
        "length": standard([*map(log1p, line.sizes)], weights["length"]),
        "question": weighed(line.asks, weights["question"]),
        "answer": beside(line.asks, near[-1], weights["answer"]),
        "speaker": weighed(map(question.names.__contains__, line.speakers), weights["speaker"])
        if question.names
        else (),
        "date": weighed(line.dated, weights["date"]) if question.asks_when else (),
        "vector": weighed(vector, weights["vector"]),
        "vector_before": beside(vector, near[-1], weights["vector_before"]),
        "vector_after": beside(vector, near[1], weights["vector_after"]),
    }


def passage_scores(line: Timeline, question: SearchQuery, near: Neighbours) -> Column:
    """Return the BM25 of each memory read together with its neighbours."""
    parts = [beside(line.sizes, near[step], weight) for step, weight in PASSAGE.items()]
    sizes = list(map(sum, zip(*parts, strict=True)))
    # Who stands a step before me counts for me: I count for who stands a step behind.
    passages = list(zip(*(near[-step] for step in PASSAGE), strict=True))
    return bm25((_spread(hits, passages) for hits in question.words), sizes, PASSAGE_LENGTH)


def _spread(hits: WordCounts, passages: Sequence[Sequence[int]]) -> WordCounts:
    """Return how often a word stands in each passage; neighbours in a session count less."""
    found = [0.0] * (len(passages) + 1)
    # Written out, since this is where a search spends its time.
    here, first, second, other = PASSAGE.values()
    for row, count in hits.items():
        own, one, two, last = passages[row]
        found[own] += here * count
        found[one] += first * count
        found[two] += second * count
        found[last] += other * count
    del found[-1]
    return {row: count for row, count in enumerate(found) if count}


def session_scores(line: Timeline, question: SearchQuery) -> Column:
    """Return for each memory the BM25 of its session, read as one text."""
    sizes = _added(enumerate(line.sizes), line.sessions)
    told = (_added(hits.items(), line.sessions) for hits in question.words)
    scores = bm25(told, [*sizes.values()], SESSION_LENGTH)
    return [scores[number] for number in line.sessions]


def _added(counts: Iterable[tuple[int, float]], sessions: Sequence[int]) -> WordCounts:
    """Return the sum of each session, in their order if the rows are in theirs."""
    found = defaultdict[int, float](float)
    for row, count in counts:
        found[sessions[row]] += count
    return found


def _known(cosines: Column) -> Column:
    if not isnan(sum(cosines)):
        return standard(cosines)
    # Memories with foreign vectors stand in the middle: no better and no worse for it.
    known = iter(standard([cosine for cosine in cosines if not isnan(cosine)]))
    return [0.0 if isnan(cosine) else next(known) for cosine in cosines]
