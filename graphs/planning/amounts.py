"""Amounts of money in people's words, taken whole or not at all; called by slots.

A number is read with everything that touches it: its sign, its groups, its decimals and its currency on either side.
Where that can be read in two ways, or anything is left over, nothing is read and the requester is asked.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from graphs.planning import currencies
from tools.money import decimals

Span = tuple[int, int]
DecimalMark = Literal[".", ","]

_MOST_DIGITS = 15
_NEAR = 80
"""Signs around an amount that are looked at."""
_GROUP_SPACES = "\u00a0\u2007\u2009\u202f"
"""Spaces that hold a number together. A plain space may as well part two numbers."""
_MINUS = re.compile(r"[-\u2010-\u2013\u2212\ufe58\ufe63\uff0d]\s?$")
_PLAIN = {"\uff0c": ",", "\uff0e": ".", "\uffe5": "¥", "’": "'", "ʼ": "'", "\uff07": "'"}
_NUMBER = re.compile(rf"(?<![0-9])[0-9](?:[0-9]|[.,'{_GROUP_SPACES}](?=[0-9]))*")
_BEFORE = re.compile(r"(?:^|[\s:=\"“„«])$")
_AFTER = re.compile(r"$|\s|[.,;:!?\"”“»]+(?:\s|$)")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?P<mark>[.,'\s])[0-9]{3}(?:(?P=mark)[0-9]{3})*")
_GROUPED_IN_INDIA = re.compile(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")
_COUNT = (
    r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|seventy|eighty|"
    r"ninety|half|quarter|hundreds?|thousands?|millions?|billions?|trillions?|dozen|lakhs?|crores?|grand|k|m|mn|mio|mrd|"
    r"bn|tsd|tausend|millionen|mille|percent|cents?|cts?|pence|penny|fils|sen|twice|thrice|double|triple|x|[×*/+%–-]"
)
_BEHIND = re.compile(_COUNT)
"""Words behind an amount that make another one of it."""
_AHEAD = re.compile(
    rf"{_COUNT}|no|not|minus|negative|less|except|without|about|around|circa|ca|approximately|roughly|nearly|almost|over|"
    r"under|above|below|than|least|most"
)
"""Words before an amount that make another one of it, or say that it is not this one."""
_LINK = re.compile(r"to|or|and|bis|till|until|times|per|of|by")
"""Words that bind an amount to a number on their other side."""
_WORD = re.compile(r"\S+")
_MARKS = '.,;:!?"“”„«»'
_STARTS_WITH_NUMBER = re.compile(r"[^\w]*[0-9]")


@dataclass(frozen=True, slots=True)
class Mention:
    """A number with its currency in a text."""

    start: int
    end: int
    number: str
    currency: str
    is_whole: bool
    """False if something touches it that may belong to it."""


def read(request: str, currency: str | None = None, mark: DecimalMark | None = None) -> int | None:
    """Return the one amount that a text names, in minor units; None if it names none, or not clearly.

    `currency` is the one that it must be in; without it any will do that is the only one named. `mark` says what people
    write before decimals; without it a number that could be meant either way is not clear.
    """
    text = _plain(request)
    mentions = list(_mentions(text))
    names = {mention.currency for mention in mentions} | {name.code for name in currencies.named(text)}
    if len(names) != 1 or (currency is not None and currency not in names):
        return None
    values = {_value(mention, mark) for mention in mentions}
    return values.pop() if len(values) == 1 and not _leaves_something(text, mentions) else None


def is_named(request: str) -> bool:
    """Return whether a text speaks of an amount, clearly or not."""
    text = _plain(request)
    return any(True for _ in (*_mentions(text), *currencies.named(text)))


def remove(request: str) -> str:
    """Return a text without the amounts that stand in it."""
    for mention in reversed(list(_mentions(_plain(request)))):
        request = f"{request[: mention.start]} {request[mention.end :]}"
    return request


def _plain(text: str) -> str:
    """Return a text of the same length with plain digits and marks, whatever script they are in."""
    return "".join(_plain_sign(sign) for sign in text)


def _plain_sign(sign: str) -> str:
    digit = unicodedata.decimal(sign, None)
    return _PLAIN.get(sign, sign) if digit is None else str(digit)


def _mentions(text: str) -> Iterator[Mention]:
    for match in _NUMBER.finditer(text):
        minus = _MINUS.search(text, max(0, match.start() - 2), match.start())
        left = currencies.before(text, minus.start() if minus else match.start())
        right = currencies.after(text, match.end())
        if right and left and not left.is_exact:
            left = None
        if (name := right or left) is None:
            continue
        start, end = left.start if left else match.start(), right.end if right else match.end()
        is_whole = minus is None and (left is None or left.code == name.code) and _stands_alone(text, start, end)
        yield Mention(start, end, match[0], name.code, is_whole)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Return whether nothing touches an amount but spaces, quotes and the marks of a sentence."""
    before = text[max(0, start - _NEAR) : start]
    return bool(_BEFORE.search(before) and _AFTER.match(text[end : end + _NEAR]) and not _MINUS.search(before))


def _value(mention: Mention, mark: DecimalMark | None) -> int | None:
    """Return the minor units of a mention, or None if it can be read in no way or in several."""
    digits = decimals(mention.currency)
    readings = _readings(mention.number, mark, has_decimals=digits > 0) if mention.is_whole else set[Decimal]()
    if len(readings) != 1:
        return None
    minor = readings.pop().scaleb(digits)
    # `12.500` has more decimals than two, whatever they are.
    exponent = minor.as_tuple().exponent
    return int(minor) if isinstance(exponent, int) and exponent >= 0 else None


def _readings(number: str, mark: DecimalMark | None, *, has_decimals: bool) -> set[Decimal]:
    """Return every value that a number can be meant as."""
    if sum(map(str.isdigit, number)) > _MOST_DIGITS:
        return set()
    whole = {Decimal(_digits(number))} if _is_whole(number) and (mark is None or mark not in number) else set[Decimal]()
    # Yen have no decimals, so that `1,000` of them can only be a thousand.
    if whole and not has_decimals:
        return whole
    fractions = (_fraction(number, sign) for sign in ((mark,) if mark else (".", ",")))
    return whole | {value for value in fractions if value is not None}


def _fraction(number: str, mark: str) -> Decimal | None:
    """Return the value of a number in which this mark stands before the decimals, or None if it does not."""
    head, _, tail = number.partition(mark)
    return Decimal(f"{_digits(head)}.{tail}") if tail.isdigit() and _is_whole(head) else None


def _is_whole(number: str) -> bool:
    return bool(number.isdigit() or _GROUPED.fullmatch(number) or _GROUPED_IN_INDIA.fullmatch(number))


def _digits(number: str) -> str:
    return "".join(filter(str.isdigit, number))


def _leaves_something(text: str, mentions: Sequence[Mention]) -> bool:
    """Return whether a number or a word beside an amount may belong to it, or a currency has another number."""
    if any(later.start < earlier.end for earlier, later in pairwise(mentions)):
        return True
    spans = [(mention.start, mention.end) for mention in mentions]
    names = [(name.start, name.end) for name in currencies.named(text)]
    others = [(start, end) for start, end in names if not any(first <= start < last for first, last in spans)]
    return any(_binds(text, span, spans) for span in spans) or any(_has_number(text, span, spans) for span in others)


def _binds(text: str, span: Span, spans: Sequence[Span]) -> bool:
    """Return whether what stands beside an amount makes another amount of it."""
    return _is_bound(_left(text, span, spans), _AHEAD) or _is_bound(_right(text, span, spans), _BEHIND)


def _is_bound(words: Sequence[str], counts: re.Pattern[str]) -> bool:
    near, far = (*words, "", "")[:2]
    if _counts(near, counts) or (near, far) == ("to", "up"):
        return True
    return _LINK.fullmatch(near) is not None and _counts(far, counts)


def _counts(word: str, counts: re.Pattern[str]) -> bool:
    return bool(counts.fullmatch(word) or _STARTS_WITH_NUMBER.match(word))


def _has_number(text: str, span: Span, spans: Sequence[Span]) -> bool:
    """Return whether a currency that belongs to no amount stands beside a number."""
    start = text.rfind(" ", 0, span[0]) + 1
    words = [text[start : span[0]], *_left(text, (start, start), spans)[:1], *_right(text, span, spans)[:1]]
    return any(any(map(str.isdigit, word)) for word in words)


def _left(text: str, span: Span, spans: Sequence[Span]) -> list[str]:
    return _words(text, max(0, span[0] - _NEAR), span[0], spans)[::-1]


def _right(text: str, span: Span, spans: Sequence[Span]) -> list[str]:
    return _words(text, span[1], span[1] + _NEAR, spans)


def _words(text: str, start: int, end: int, spans: Sequence[Span]) -> list[str]:
    """Return the words of a part of a text in small letters, with a blank for each that belongs to an amount."""
    words = (_word(match, spans) for match in _WORD.finditer(text, start, end))
    return [word for word in words if word]


def _word(match: re.Match[str], spans: Sequence[Span]) -> str:
    if any(match.start() < last and first < match.end() for first, last in spans):
        return " "
    return match[0].strip(_MARKS).lower()
