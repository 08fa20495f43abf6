"""Amounts of money: minor units with their currency, which tools state and everything above shows as people read it.

Currencies and their decimals are those of ISO 4217.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from iso4217 import Currency
from pydantic import AfterValidator

from memory.errors import Permanent

DEFAULT = "EUR"
"""Accounting currency of an installation that names none."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency, in its minor units: `Money(1250, "EUR")` is 12.50 EUR, `Money(1250, "JPY")` 1,250 JPY.

    Raises ValueError for what is no whole number of minor units, or no currency of ISO 4217 that has any.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        # A flag is an integer to Python, and an amount of "one" to nobody.
        if type(self.minor) is not int:
            raise ValueError(f"an amount is a whole number of minor units, not {self.minor!r}")
        code(self.currency)

    def __str__(self) -> str:
        digits = decimals(self.currency)
        whole, fraction = divmod(abs(self.minor), 10**digits)
        text = f"{whole:,}" + (f".{fraction:0{digits}}" if digits else "")
        return f"{'-' if self.minor < 0 else ''}{text} {self.currency}"

    def __add__(self, other: "Money") -> "Money":
        if self.currency != other.currency:
            raise ValueError(f"{self} and {other} have no sum; amounts of two currencies are not added")
        return Money(self.minor + other.minor, self.currency)


@lru_cache(maxsize=256)
def decimals(currency: str) -> int:
    """Return how many decimals a currency has: 2 of EUR, 0 of JPY, 3 of KWD; raises ValueError if it is none."""
    try:
        digits = Currency(currency).exponent
    except ValueError:
        digits = None
    if digits is None:
        raise ValueError(f"{currency!r} is no currency of ISO 4217 with minor units; write a code such as 'EUR'")
    return digits


def code(currency: str) -> str:
    """Return the code of a currency as it is; raises ValueError for what is none."""
    # Not every value that equals a code is one: only text is looked up.
    if type(currency) is not str:
        raise ValueError(f"{currency!r} is no currency; write its code of ISO 4217, such as 'EUR'")
    decimals(currency)
    return currency


CurrencyCode = Annotated[str, AfterValidator(code)]
"""A currency as an argument or a setting: its code of ISO 4217, in capitals."""


def total(amounts: Iterable[Money | None], of: str) -> Money | None:
    """Return the sum of those that are amounts, or None; raises Permanent("plan_invalid") if currencies mix.

    `of` says in the message what was to be added up.
    """
    addends = list(filter(None, amounts))
    currencies = sorted({amount.currency for amount in addends})
    if len(currencies) > 1:
        raise Permanent(
            "plan_invalid",
            f"{of} is about {' and '.join(currencies)}: amounts of different currencies have no sum; "
            "give the steps of each currency a gate of their own",
        )
    return Money(sum(amount.minor for amount in addends), currencies[0]) if addends else None


def text(minor: int, currency: str) -> str:
    """Return an amount from a record as people read it; of an unknown currency it is minor units, and says so."""
    try:
        return str(Money(minor, currency))
    except ValueError:
        return f"{minor:,} minor units of {currency or 'no currency'}"
