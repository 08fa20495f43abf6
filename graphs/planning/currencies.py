"""Currencies as people name them: by code, by symbol, by English name; found in a text for `amounts`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from babel import Locale
from babel.numbers import get_currency_name
from iso4217 import Currency

_NEAR = 60
"""Signs before or after a number in which its currency is looked for."""
_START, _END = r"(?<![^\W\d])", r"(?![^\W\d])"
"""No letter stands before or behind; digits may, as in `EUR12`."""


@dataclass(frozen=True, slots=True)
class CurrencyName:
    """A currency named in a text."""

    start: int
    end: int
    code: str
    is_exact: bool
    """False for a code in small letters, which may as well be a word: `all`, `try`, `top`."""


@dataclass(frozen=True, slots=True)
class _Patterns:
    exact: re.Pattern[str]
    before: re.Pattern[str]
    after: re.Pattern[str]
    codes: Mapping[str, str]
    """Code by symbol, and by name in small letters."""


def named(text: str) -> Iterator[CurrencyName]:
    """Yield every currency that a text names beyond doubt."""
    for match in _patterns().exact.finditer(text):
        yield _name(match, 0)


def before(text: str, position: int) -> CurrencyName | None:
    """Return the currency that ends where a number begins, or a space before it."""
    near = max(0, position - _NEAR)
    match = _patterns().before.search(text[near:position])
    return _name(match, near) if match else None


def after(text: str, position: int) -> CurrencyName | None:
    """Return the currency that begins where a number ends, or a space behind it."""
    match = _patterns().after.match(text[position : position + _NEAR])
    return _name(match, position) if match else None


def _name(match: re.Match[str], offset: int) -> CurrencyName:
    words = match["currency"]
    code = _patterns().codes.get(words) or _patterns().codes.get(words.lower()) or words.upper()
    is_exact = words == code or words in _patterns().codes or words.lower() in _patterns().codes
    return CurrencyName(offset + match.start("currency"), offset + match.end("currency"), code, is_exact)


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    codes = [currency.code for currency in Currency if currency.exponent is not None]
    english = cast(Mapping[str, str], Locale("en").currency_symbols)
    symbols = {symbol: code for code, symbol in english.items() if code in codes and symbol != code}
    names = {get_currency_name(code, count, "en").lower(): code for code in codes for count in (1, 2)}
    exact = rf"{_any(codes)}|{_any(symbols)}|(?i:{_any(names)})"
    loose = rf"{exact}|(?i:{_any(codes)})"
    return _Patterns(
        exact=re.compile(rf"{_START}(?P<currency>{exact}){_END}"),
        before=re.compile(rf"{_START}(?P<currency>{loose})[^\S\n]{{0,2}}$"),
        after=re.compile(rf"[^\S\n]{{0,2}}(?P<currency>{loose}){_END}"),
        codes={**symbols, **names},
    )


def _any(words: Mapping[str, str] | list[str]) -> str:
    """Return a pattern for any of these words, the longest first, so that no part of one is taken for another."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
