"""How well each memory of a scope answers a question: arithmetic over columns of numbers; called by `search`.

A `Line` is the scope with its memories in the order in which they were said. Every sign of relevance is a column over
that line, weighed by `fusion` and added up. No memory is left out, and none is read: only facts that were kept when it
was written, and the postings of the question's words.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import chain
from math import isnan, log, log1p, sqrt
from operator import mul
from typing import TypeVar

K1, B = 0.9, 0.4
"""How soon further mentions of a word stop counting, and how much a long text has to say it more often."""
BEFORE = 2
"""Earlier neighbours that make a passage with a memory: answers follow questions."""

Number = TypeVar("Number", int, float)
Column = Sequence[float]
Hits = Mapping[int, int]
"""How often a word stands in each text that has it."""


@dataclass(frozen=True, slots=True)
class Line:
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
    near: Column
    """Cosine with the question; not a number where another embedder's vector stands; empty if vectors do not count."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as far as it is counted."""

    words: Mapping[str, Sequence[int]]
    """The rows of the line in which each of its words stands, each as often as it stands there."""
    names: frozenset[str]
    """The speakers that it names, as the line writes them, if that is one person."""
    asks_when: bool


@dataclass(frozen=True, slots=True)
class Ranked:
    """A place in the line, its score, and the addends of that."""

    row: int
    score: float
    explain: Mapping[str, float]


def bm25(words: Iterable[Hits], sizes: Sequence[int]) -> list[float]:
    """Return how much each text says these words: rare words count more, further mentions and long texts less."""
    mean = max(sum(sizes) / len(sizes), 1.0)
    enough = [K1 * (1 - B + B * size / mean) for size in sizes]
    scores = [0.0] * len(sizes)
    for hits in words:
        rarity = log(1 + (len(sizes) - len(hits) + 0.5) / (len(hits) + 0.5)) * (K1 + 1)
        for text, count in hits.items():
            scores[text] += rarity * count / (count + enough[text])
    return scores


def standard(column: Column) -> Column:
    """Return by how many standard deviations each value lies above the mean; zeros if they are all alike."""
    if not column:
        return ()
    mean = sum(column) / len(column)
    variance = sum(map(mul, column, column)) / len(column) - mean * mean
    # What is left of equal values is rounding.
    spread = sqrt(variance) if variance > 1e-12 * mean * mean else 0.0
    return [(value - mean) / spread for value in column] if spread else [0.0] * len(column)


def beside(column: Sequence[Number], sessions: Sequence[int], step: int, nothing: Number) -> list[Number]:
    """Return for each place what stands `step` places later in its session, or earlier if negative."""
    if step < 0:
        return beside(column[::-1], sessions[::-1], -step, nothing)[::-1]
    pairs = zip(column[step:], sessions[step:], sessions, strict=False)
    return [value if there == here else nothing for value, there, here in pairs] + [nothing] * min(step, len(column))


def rank(
    line: Line, question: Question, weights: Mapping[str, float], *, floor: float, limit: int
) -> tuple[list[Ranked], int]:
    """Return the best of the line, best first, and how many share nothing with the question.

    Ties go to the newer memory, then to the smaller id.
    """
    if not line.ids:
        return [], 0
    passages = _passages(line, question)
    columns = {name: column for name, column in addends(line, question, passages).items() if weights[name] and column}
    scores = [0.0] * len(line.ids)
    for name, column in columns.items():
        weight = weights[name]
        scores = [score + weight * value for score, value in zip(scores, column, strict=True)]
    near = line.near or [0.0] * len(line.ids)
    shown = set[int]().union(*passages, (row for row, cosine in enumerate(near) if cosine >= floor))
    least = min(nlargest(limit, [scores[row] for row in shown]), default=0.0)
    best = [(-scores[row], -line.created[row], line.ids[row], row) for row in shown if scores[row] >= least]
    ranked = [
        Ranked(row, scores[row], {name: weights[name] * column[row] for name, column in columns.items()})
        for *_, row in sorted(best)[:limit]
    ]
    return ranked, len(line.ids) - len(shown)


def addends(line: Line, question: Question, passages: Iterable[Hits]) -> Mapping[str, Column]:
    """Return every sign of relevance before it is weighed: a standard score within the line, or 1 where it holds."""
    sessions = line.sessions
    words = standard(bm25(map(Counter, question.words.values()), line.sizes))
    session = bm25((Counter(map(sessions.__getitem__, rows)) for rows in question.words.values()), _session_sizes(line))
    vector = _known(line.near)
    return {
        "words": words,
        "passage": standard(bm25(passages, _passage_sizes(line))),
        "session": standard([session[number] for number in sessions]),
        "next": beside(words, sessions, 1, 0.0),
        "after_next": beside(words, sessions, 2, 0.0),
        "length": standard([*map(log1p, line.sizes)]),
        "question": line.asks,
        "answer": beside(line.asks, sessions, -1, 0),
        "speaker": [float(speaker in question.names) for speaker in line.speakers] if question.names else (),
        "date": line.dated if question.asks_when else (),
        "vector": vector,
        "vector_before": beside(vector, sessions, -1, 0.0),
        "vector_after": beside(vector, sessions, 1, 0.0),
    }


def _passages(line: Line, question: Question) -> Sequence[Hits]:
    """Return how often each word stands in each passage: a memory with the `BEFORE` just before it."""
    nowhere = len(line.ids)
    rows = range(nowhere)
    later = (beside(rows, line.sessions, step, nowhere) for step in range(1, BEFORE + 1))
    ends = list(zip(rows, *later, strict=True))
    """The passages in which each memory stands."""
    found = [Counter(chain.from_iterable(map(ends.__getitem__, rows))) for rows in question.words.values()]
    for hits in found:
        del hits[nowhere]
    return found


def _passage_sizes(line: Line) -> list[int]:
    earlier = (beside(line.sizes, line.sessions, -step, 0) for step in range(1, BEFORE + 1))
    return [sum(parts) for parts in zip(line.sizes, *earlier, strict=True)]


def _session_sizes(line: Line) -> list[int]:
    sizes = [0] * (line.sessions[-1] + 1)
    for number, size in zip(line.sessions, line.sizes, strict=True):
        sizes[number] += size
    return sizes


def _known(near: Column) -> Column:
    if not isnan(sum(near)):
        return standard(near)
    # Memories with foreign vectors stand in the middle: no better and no worse for it.
    known = iter(standard([cosine for cosine in near if not isnan(cosine)]))
    return [0.0 if isnan(cosine) else next(known) for cosine in near]
