"""Which words of a text carry it, and how it is worded; used where texts are written, pruned and forgotten.

Terms are for comparing freely: what was forgotten, or only recalled, stays recognised in another order. Wording is for
taking two texts for one: each word, sign and number counts, and their order. Both are the same in every process.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
# Denials stay: a text and its opposite must never be taken for one.
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a about after again am an and any are as at be been being but by can could d did do does for from had has have
        he her hers him his how i if in into is it its just ll m me my of once only or our out re s she should
        so some such t than that the their them then there these they this those through to too up ve very was we
        were what when where which while who whom why will with would you your
        """,
    )
)
_AROUND = ".,;:!\"'()[]{}\u2026\u201c\u201d\u2018\u2019"
"""No question mark, which makes a question, and no sign of a number, a comparison or a name."""
_PLAIN = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_OPENING = re.compile(
    r"(?:(?:as|like) (?:i|we) (?:said|told you|mentioned)(?: before| already| earlier)?"
    r"|(?:just )?to repeat(?: it| that)?|(?:once )?again|once more|note|reminder)[,:]\s+(?=\S)",
    re.I,
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


def wording(text: str) -> str:
    """Return the digest of what a text says, word by word.

    Equal for texts that differ in white space, marks around words, articles, capital letters of plain words, and an
    opening that only announces a repetition. Whatever else differs may change what is said.
    """
    told = _OPENING.sub("", text.strip())
    return hashlib.sha256("\n".join(_worded(told.split())).encode(errors="replace")).hexdigest()


def marks(text: str, session: str | None = None, place: int | None = None) -> list[str]:
    """Return by what a text is found again: its wording and, if it was said in a conversation, that with its place."""
    told = wording(text)
    return [f"={told}"] if session is None else [f"={told}", f"={told}@{place}/{session}"]


def _worded(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        bare = word.strip(_AROUND)
        # "Noon" and "NOON" are the same word; "mW" and "MW", or "Hunter2" and "hunter2", are not.
        plain = _PLAIN.fullmatch(bare) and bare in (bare.lower(), bare.capitalize(), bare.upper())
        told = bare.lower() if plain else bare
        if told and told not in ("the", "an") and bare != "a":
            yield told
