"""Salience of a text: how likely it is to be asked for again, without a model; used by `pruning` to rank memories.

A weighted sum of signs that a text carries information: rare words, times, names, quotes, reasons, an answer to a
question. The weights were fitted on development conversations and rounded; they are the same for everybody. The signs
are English.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log, log1p

RARE_TERM_LIMIT = 12
"""Number of the rarest terms that count, so that length alone buys nothing."""
USE_WEIGHT = 1.5
"""Weight of the logarithm of cited uses."""

_SPEAKER = re.compile(r"^[^:\n]{1,40}: ")
_ADDITION_START = " ["
"""Begins what a client added to an utterance, such as the caption of a picture."""
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
"""Pattern of a sign in lower-case text, how often it counts at most, and its weight."""
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")
_NAME_LIMIT = 3
_NAME_WEIGHT = 0.25
_RARITY_WEIGHT = 0.043
_TERM_WEIGHT = -0.09
"""Of each term that counts: common words lower the score, rare ones raise it by their rarity."""
_ADDITION_WEIGHT = 0.3
_ANSWER_WEIGHT = 0.9
_NEW_WEIGHT = 0.5


def rarity(documents: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the inverse document frequency of each term."""
    term_lists = list(documents)
    counts = Counter(term for document in term_lists for term in set(document))
    return {term: log(1 + len(term_lists) / count) for term, count in counts.items()}


def information(text: str, terms: Sequence[str], rare: Mapping[str, float], *, answers: bool = False) -> float:
    """Return the weighted sum of a text's signs; `answers` says that it followed a question."""
    statement, _, addition = _SPEAKER.sub("", text, count=1).partition(_ADDITION_START)
    weights = sorted((rare.get(term, 0.0) for term in terms), reverse=True)[:RARE_TERM_LIMIT]
    small = statement.lower()
    signs = sum(weight * min(limit, len(sign.findall(small))) for sign, limit, weight in _SIGNS)
    names = _NAME_WEIGHT * min(_NAME_LIMIT, len(_NAME.findall(statement)))
    rare_words = _RARITY_WEIGHT * sum(weights) + _TERM_WEIGHT * len(weights)
    return rare_words + signs + names + (_ADDITION_WEIGHT if addition else 0.0) + (_ANSWER_WEIGHT if answers else 0.0)


def value(information_score: float, uses: int, *, new: bool = False) -> float:
    """Return the worth of a text from its information and its cited uses; a new text had no time to be cited."""
    return information_score + USE_WEIGHT * log1p(max(uses, 0)) + (_NEW_WEIGHT if new else 0.0)
