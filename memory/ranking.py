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


def standard(column: Column, weight: float = 1.0) -> Column:
    """Return by how many standard deviations each value lies above the mean; zeros if they are all alike."""
    if not column:
        return ()
    mean = sum(column) / len(column)
    variance = sum(map(mul, column, column)) / len(column) - mean * mean
    # What is left of equal values is rounding.
    scale = weight / sqrt(variance) if variance > 1e-12 * mean * mean else 0.0
    return [(value - mean) * scale for value in column]


def beside(column: Sequence[Number], sessions: Sequence[int], step: int, weight: Number) -> Sequence[Number]:
    """Return for each place what stands `step` places later in its session, or earlier if negative; 0 for nothing."""
    if step < 0:
        return beside(column[::-1], sessions[::-1], -step, weight)[::-1]
    nothing = weight * 0
    pairs = zip(column[step:], sessions[step:], sessions, strict=False)
    found = [weight * value if there == here else nothing for value, there, here in pairs]
    return [*found, *[nothing] * min(step, len(column))]


def rank(
    line: Line, question: Question, weights: Mapping[str, float], *, floor: float, limit: int
) -> tuple[list[Ranked], int]:
    """Return the best of the line, best first, and how many share nothing with the question.

    Ties go to the newer memory, then to the smaller id.
    """
    if not line.ids:
        return [], 0
    passage = bm25(_passages(line, question), _passage_sizes(line))
    columns = {name: column for name, column in addends(line, question, passage, weights).items() if column}
    scores = list(map(sum, zip(*columns.values(), strict=True)))
    near = line.near or [0.0] * len(line.ids)
    told = enumerate(zip(passage, near, strict=True))
    shown = [row for row, (shared, cosine) in told if shared > 0 or cosine >= floor]
    least = min(nlargest(limit, [scores[row] for row in shown]), default=0.0)
    best = [(-scores[row], -line.created[row], line.ids[row], row) for row in shown if scores[row] >= least]
    ranked = [
        Ranked(row, scores[row], {name: column[row] for name, column in columns.items()})
        for *_, row in sorted(best)[:limit]
    ]
    return ranked, len(line.ids) - len(shown)


def addends(line: Line, question: Question, passage: Column, weights: Mapping[str, float]) -> Mapping[str, Column]:
    """Return what each sign of relevance adds to each score: a weighed standard score, or the weight where it holds.

    What the question does not ask for is an empty column.
    """
    sessions, words = line.sessions, question.words.values()
    own = standard(bm25(map(Counter, words), line.sizes))
    session = bm25((Counter(map(sessions.__getitem__, rows)) for rows in words), _session_sizes(line))
    vector = _known(line.near)
    return {
        "words": [weights["words"] * value for value in own],
        "passage": standard(passage, weights["passage"]),
        "session": standard([session[number] for number in sessions], weights["session"]),
        "next": beside(own, sessions, 1, weights["next"]),
        "after_next": beside(own, sessions, 2, weights["after_next"]),
        "length": standard([*map(log1p, line.sizes)], weights["length"]),
        "question": [weights["question"] * asks for asks in line.asks],
        "answer": beside(line.asks, sessions, -1, weights["answer"]),
        "speaker": [weights["speaker"] * (name in question.names) for name in line.speakers] if question.names else (),
        "date": [weights["date"] * dated for dated in line.dated] if question.asks_when else (),
        "vector": [weights["vector"] * value for value in vector],
        "vector_before": beside(vector, sessions, -1, weights["vector_before"]),
        "vector_after": beside(vector, sessions, 1, weights["vector_after"]),
    }


def _passages(line: Line, question: Question) -> Iterable[Hits]:
    """Return how often each word stands in each passage: a memory with the `BEFORE` just before it."""
    # Row 0 comes after nothing, so that it can stand for no row here.
    later = [beside(range(len(line.ids)), line.sessions, step, 1) for step in range(1, BEFORE + 1)]
    for rows in question.words.values():
        yield Counter(chain(rows, *(filter(None, map(after.__getitem__, rows)) for after in later)))


def _passage_sizes(line: Line) -> list[int]:
    earlier = (beside(line.sizes, line.sessions, -step, 1) for step in range(1, BEFORE + 1))
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
