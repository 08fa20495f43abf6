"""Lexical embedder: words, word pairs and trigrams hashed into a vector, without a model.

The default of the memory store and of knowledge. It finds names, typing errors and shared words, not paraphrases. Each
vector is stored with the id of its embedder, and a search compares only vectors of one id.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from math import log, sqrt

from memory.embeddings.embedder import Embedding

_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all am an and any are as at be been before but by can could did do does for from had
        has have he her him his how i if in into is it its just me my no not of on or our out please she
        should so some than that the their them then there these they this those to up us was we were what
        when where which who why will with would you your
        """,
    )
)
WORD_WEIGHT, PAIR_WEIGHT, GRAM_WEIGHT = 2.0, 1.0, 1.0


class LexicalEmbedder:
    """Signed hashing of words, word pairs and character trigrams into 1024 dimensions; deterministic, no download."""

    id = "lexical-1024-v1"
    lexical = True
    dimensions = 1024

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return one vector of length 1 per text, or of zeros for a text without any term."""
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> Embedding:
        """Return the vector of one text."""
        sums = [0.0] * self.dimensions
        for term, weight in _terms(text):
            number = int.from_bytes(blake2b(term.encode(errors="replace"), digest_size=4).digest())
            sums[number % self.dimensions] += weight if number >> 31 else -weight
        length = sqrt(sum(value * value for value in sums))
        return tuple(value / length for value in sums) if length else tuple(sums)


LEXICAL = LexicalEmbedder()


def _terms(text: str) -> Iterator[tuple[str, float]]:
    words = [word for word in _WORD.findall(text.lower()) if word not in _STOP]
    for word in words:
        yield word, WORD_WEIGHT
        padded_word = f"<{word}>"
        for start in range(len(padded_word) - 2):
            yield padded_word[start : start + 3], GRAM_WEIGHT
    for first, second in pairwise(words):
        yield f"{first} {second}", PAIR_WEIGHT


def presence(vectors: Iterable[Embedding]) -> Embedding:
    """Return 1 for each dimension that any of the vectors uses; the sum over items is the document frequency."""
    return tuple(1.0 if any(values) else 0.0 for values in zip(*vectors, strict=True))


def rarity(counts: Embedding, items: int) -> Embedding:
    """Return the inverse document frequency of each dimension, if `counts` of `items` use it."""
    return tuple(
        log((items + 1) / (count + 0.5)) if count < items else log((items + 1) / (items + 0.5)) for count in counts
    )
