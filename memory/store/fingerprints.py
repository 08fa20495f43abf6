"""Fingerprints of a text: its wording, its terms and the marks by which it is found again.

Used where memories are written, imported, pruned and forgotten. The wording decides whether two texts say the same, be
one a copy, forgotten or only recalled: each word, sign and number counts, and their order. Terms compare freely: for
rarity, and whether a text without a source of its own adds anything to what was recalled. Both are the same in every
process.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
# Not the list of `embeddings.lexical`: parts of "I'll" are words here, and denials stay, since a text and its opposite
# must never be taken for one. One list for both would change stored fingerprints or stored vectors.
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
_PAIRS = (("on", "off"), ("in", "out"), ("up", "down"), ("from", "to"), ("before", "after"))
_OPPOSITES = {word: other for pair in _PAIRS for word, other in (pair, pair[::-1])}
_NUMBER = re.compile(r"-?\d+")
_OPENING = re.compile(
    r"(?:(?:as|like) (?:i|we) (?:said|told you|mentioned)(?: before| already| earlier)?"
    r"|(?:just )?to repeat(?: it| that)?|(?:once )?again|once more|note|reminder)[,:]\s+(?=\S)",
    re.I,
)


def terms(text: str) -> list[str]:
    """Return the distinct words of a text without stop words, sorted; the whole text if there is none."""
    words = {part for word in _WORD.findall(text.lower()) for part in _split_denial(word)}
    return sorted(words - _STOP or words or {text.strip().lower()})


def _split_denial(word: str) -> list[str]:
    head, _, tail = word.partition("'")
    if tail == "t":
        # "isn't" says "is" and "not".
        return [head.removesuffix("n") or head, "not"]
    return [head]


def fingerprint(text: str) -> str:
    """Return the digests of a text's wording and of its terms, with `~` between them."""
    return f"{wording(text)}~{_digest(terms(text))}"


def opposites(text: str) -> list[str]:
    """Return the opposites of a text's small words and numbers (on, off; 5, -5) that are not in it themselves."""
    words = {word.strip(_AROUND).lower() for word in text.split()}
    words_of_pairs = {_OPPOSITES[word] for word in words & _OPPOSITES.keys()}
    numbers = {word[1:] if word[0] == "-" else f"-{word}" for word in words if _NUMBER.fullmatch(word)}
    return sorted((words_of_pairs | numbers) - words)


def wording(text: str) -> str:
    """Return the digest of a text's normalised words, in their order.

    Equal for texts that differ in white space, marks around words, articles, capital letters of plain words, and an
    opening that only announces a repetition. Whatever else differs may change what is said.
    """
    statement = _OPENING.sub("", text.strip())
    return _digest(_normalize(statement.split()))


def marks(text: str, session: str | None = None, place: int | None = None) -> list[str]:
    """Return the marks of a text: its wording and, for one said in a conversation, its wording at that position."""
    digest = wording(text)
    return [f"={digest}"] if session is None else [f"={digest}", f"={digest}@{place}/{session}"]


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode(errors="replace")).hexdigest()


def _normalize(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        bare = word.strip(_AROUND)
        # "Noon" and "NOON" are the same word; "mW" and "MW", or "Hunter2" and "hunter2", are not.
        plain = _PLAIN.fullmatch(bare) and bare in (bare.lower(), bare.capitalize(), bare.upper())
        normal = bare.lower() if plain else bare
        if normal and normal not in ("the", "an") and bare != "a":
            yield normal
