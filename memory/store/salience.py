"""How much a text is likely to be asked for again, without a model; used by pruning to rank what competes for room.

A weighted sum of signs that a text tells something: rare words, times, names, quotes, reasons, an answer to a question.
The weights were fitted on development conversations and rounded; they are the same for everybody. Signs are English.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log, log1p

RAREST = 12
"""Only so many of the rarest terms count, so that length alone buys nothing."""
USE = 1.5
"""Weight of each doubling or so of cited use."""

_SPEAKER = re.compile(r"^[^:\n]{1,40}: ")
_ADDITION = " ["
_CLOCK = re.compile(
    r"\b(yesterday|today|tonight|last|next|ago|week|weekend|month|year|monday|tuesday|wednesday|thursday|friday|saturday"
    r"|sunday|january|february|march|april|may|june|july|august|september|october|november|december|since|recently"
    r"|summer|winter|spring|fall)\b"
)
_SIGNS: tuple[tuple[re.Pattern[str], int, float], ...] = (
    (_CLOCK, 3, 0.7),
    (re.compile(r"\d"), 2, 0.25),
    (re.compile(r"\b(i|my|me|we|our|mine|i'm|i've|i'd|i'll|we're|we've)\b"), 4, 0.15),
    (re.compile(r"\b(you|your|you're|you've|yours)\b"), 4, -0.2),
    (
        re.compile(
            r"\b(\w{3,}ed|went|got|bought|made|took|saw|had|was|were|won|lost|found|began|met|gave|did|came|felt|thought"
            r"|been)\b"
        ),
        4,
        0.1,
    ),
    (re.compile(r'"[^"]+"'), 2, 1.25),
    (re.compile(r"\bbecause\b"), 1, 1.4),
    (re.compile(r"!"), 3, 0.1),
    (
        re.compile(
            r"^\W*(wow|thanks|thank you|that's|that is|great|glad|nice|congrats|congratulations|awesome|cool|sounds"
            r"|yeah|yep|sure|totally|absolutely|definitely|good|aww|amazing|no problem|you're|bye|hey|hi|oh)\b"
        ),
        1,
        -0.2,
    ),
    (re.compile(r"\?\s*$"), 1, -0.3),
)
"""Sign in small letters, how often it counts at most, and its weight."""
_NAME, _NAMES, _NAMED = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+"), 3, 0.25
_RARE, _TERM, _ADDED, _ANSWER, _NEW = 0.043, -0.09, 0.3, 0.9, 0.5


def rarity(documents: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return how rare each term is among documents: the fewer use it, the more."""
    every = list(documents)
    counts = Counter(term for document in every for term in set(document))
    return {term: log(1 + len(every) / count) for term, count in counts.items()}


def information(text: str, terms: Sequence[str], rare: Mapping[str, float], *, answers: bool = False) -> float:
    """Return how much a text tells; `answers` says that it followed a question."""
    said, _, added = _SPEAKER.sub("", text, count=1).partition(_ADDITION)
    weights = sorted((rare.get(term, 0.0) for term in terms), reverse=True)[:RAREST]
    small = said.lower()
    signs = sum(weight * min(most, len(sign.findall(small))) for sign, most, weight in _SIGNS)
    names = _NAMED * min(_NAMES, len(_NAME.findall(said)))
    rare_words = _RARE * sum(weights) + _TERM * len(weights)
    return rare_words + signs + names + (_ADDED if added else 0.0) + (_ANSWER if answers else 0.0)


def value(told: float, uses: int, *, new: bool = False) -> float:
    """Return what a text is worth that tells so much and was cited so often; a new one had no time to be cited."""
    return told + USE * log1p(max(uses, 0)) + (_NEW if new else 0.0)
