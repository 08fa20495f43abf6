"""Which words of a text carry it, and what it resembles; used where texts are written, pruned and forgotten.

Everything here is deterministic: the same text gives the same terms and marks in every process.
"""

import hashlib
import re
from collections.abc import Sequence

BANDS, ROWS = 8, 2
"""Two texts that share 60 % of their terms share at least one of eight bands in 97 of 100 cases."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
# Denials stay: a text and its opposite must never be taken for one.
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a about after again am an and any are as at be been being but by can could d did do does for from had has have
        he her hers him his how i if in into is it its just ll m me my of off on once only or our out re s she should
        so some such t than that the their them then there these they this those through to too up ve very was we
        were what when where which while who whom why will with would you your
        """,
    )
)


def terms(text: str) -> list[str]:
    """Return the distinct words that carry a text, sorted; all its words if only small ones are there."""
    words = {part for word in _WORD.findall(text.lower()) for part in _parts(word)}
    return sorted(words - _STOP or words or {text.strip().lower()})


def _parts(word: str) -> list[str]:
    head, _, tail = word.partition("'")
    if tail == "t":
        # "isn't" says "is" and "not".
        return [head.removesuffix("n") or head, "not"]
    return [head]


def near(words: Sequence[str]) -> str:
    """Return the digest of terms: equal for texts that differ in order, case, marks and small words only."""
    return hashlib.sha256("\n".join(words).encode(errors="replace")).hexdigest()


def marks(words: Sequence[str]) -> list[str]:
    """Return the digest of terms and the bands of a MinHash; texts that resemble each other probably share one."""
    hashed = [hashlib.blake2b(word.encode(errors="replace"), digest_size=4 * BANDS * ROWS).digest() for word in words]
    lowest = [min(h[4 * i : 4 * i + 4] for h in hashed) for i in range(BANDS * ROWS)]
    bands = [f"{band}:{b''.join(lowest[band * ROWS : (band + 1) * ROWS]).hex()}" for band in range(BANDS)]
    return [f"={near(words)}", *bands]
