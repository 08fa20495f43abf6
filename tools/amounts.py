"""Amounts of tools: what a call is worth, and by which argument its currency is named; for cards and admission.

A tool is tried with samples when it is declared, so that an amount without a currency is refused before any run.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from iso4217 import Currency
from pydantic import BaseModel

from memory.errors import ControlError
from tools.money import Money

AmountOf = Callable[[Any], Money | None]
Arguments = type[BaseModel]
_CODES = tuple(currency.code for currency in Currency if currency.exponent is not None)
_MISHAPS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, ControlError)


def amount(tool: str, amount_of: AmountOf | None, arguments: object) -> Money | None:
    """Return what a call is worth; raises TypeError that says what to write for an amount without its currency."""
    # A tool's author may have written anything, whatever the type says.
    value = cast(object, amount_of(arguments)) if amount_of else None
    if value is None or isinstance(value, Money):
        return value
    raise TypeError(
        f"tool {tool!r}: its `amount` answers {value!r}, which has no currency; "
        'write `amount=lambda args: Money(args.amount, "EUR")` with the currency that it is in'
    )


def currency_source(tool: str, amount_of: AmountOf | None, arguments: Arguments) -> str:
    """Return the currency of a tool's amounts, or the argument that names it as `args.NAME`; empty if nobody can say.

    Raises TypeError for a tool whose amount has no currency.
    """
    if amount_of is None:
        return ""
    paths = list(_texts(arguments))
    first = dict(zip(paths, _CODES, strict=False))
    second = dict(zip(paths, _CODES[len(paths) :], strict=False))
    first_currency, other = (_try(tool, amount_of, arguments, codes) for codes in (first, second))
    if first_currency is None or other is None:
        return ""
    if first_currency == other:
        return first_currency
    return next((f"args.{path}" for path, currency in first.items() if currency == first_currency), "")


def _try(tool: str, amount_of: AmountOf, arguments: Arguments, codes: Mapping[str, str]) -> str | None:
    """Return the currency of a sample's amount, or None if a sample is not enough to know."""
    try:
        value = amount_of(_sample(arguments, codes))
    except _MISHAPS:
        return None
    worth = amount(tool, lambda _: value, None)
    return worth.currency if worth else None


def _texts(model: Arguments, before: str = "") -> Iterator[str]:
    """Yield the paths of all text fields."""
    for name, field in model.model_fields.items():
        if field.annotation is str:
            yield before + name
        elif inner := _model(field.annotation):
            yield from _texts(inner, f"{before}{name}.")


def _sample(model: Arguments, codes: Mapping[str, str], before: str = "") -> BaseModel:
    """Return arguments in which every number is 1 and every text a currency."""
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if field.annotation is int:
            values[name] = 1
        elif before + name in codes:
            values[name] = codes[before + name]
        elif inner := _model(field.annotation):
            values[name] = _sample(inner, codes, f"{before}{name}.")
    return model.model_construct(**values)


def _model(annotation: object) -> Arguments | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
