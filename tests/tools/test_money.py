"""Money: minor units with their currency, shown with its decimals, never added to another's."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from memory.errors import Permanent
from tools.action import Action, Json
from tools.admission import admit
from tools.catalog import Catalog, ToolCard
from tools.money import Money, decimals, text, total
from tools.tool import Call, SliceArgument, Tool, tool

ROWS = {"handle": "h_abcdef", "count": 2, "digest": "0" * 64, "total": 30}


class Payment(BaseModel, extra="forbid"):
    """One payment."""

    to: str
    amount: int
    currency: str = "JPY"


class Payments(BaseModel, extra="forbid"):
    """Many of them."""

    rows: SliceArgument
    reason: Literal["wage", "rent"] = "wage"


def of(currency: str) -> Callable[[Any], Money]:
    """Return an amount in a currency."""
    return lambda args: Money(args.amount, currency)


def named(args: Any) -> Money:
    return Money(args.amount, args.currency)


def summed(args: Any) -> Money | None:
    return args.rows.money


def looked_up(args: Any) -> Money:
    return Money(args.amount, {"bob": "EUR"}[args.to])


def pay(amount: Callable[[Any], Any], arguments: type[BaseModel] = Payment) -> Tool:
    """Declare a tool with this amount."""

    async def run(args: Any, call: Call) -> dict[str, Json]:
        """Pay."""
        return {}

    run.__annotations__["args"] = arguments
    return tool("test.pay", effect="write", amount=amount)(run)


@pytest.mark.parametrize(
    ("minor", "currency", "words"),
    [
        (9899, "JPY", "9,899 JPY"),
        (1255, "KWD", "1.255 KWD"),
        (123450, "EUR", "1,234.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (123456, "CLF", "12.3456 CLF"),
        (1000, "IQD", "1.000 IQD"),
        (12500, "RSD", "125.00 RSD"),
        (0, "VND", "0 VND"),
    ],
)
def test_amount_is_shown_with_the_decimals_of_its_currency(minor: int, currency: str, words: str) -> None:
    assert str(Money(minor, currency)) == text(minor, currency) == words


@pytest.mark.parametrize(
    ("minor", "currency"),
    [(1.0, "EUR"), (True, "EUR"), ("1", "EUR"), (None, "EUR"), (1, "eur"), (1, "EURO"), (1, "€"), (1, ""), (1, "XXX"),
     (1, "XAU"), (1, None), (1, 978), (1, ["EUR"])],
)  # fmt: skip
def test_what_is_no_amount_is_none(minor: Any, currency: Any) -> None:
    with pytest.raises(ValueError, match=r"amount|currency"):
        Money(minor, currency)


def test_currencies_have_no_sum() -> None:
    assert total([Money(1, "EUR"), None, Money(2, "EUR")], "gate 'x'") == Money(3, "EUR")
    assert total([None, None], "gate 'x'") is None
    with pytest.raises(Permanent, match=r"gate 'x' is about EUR and JPY: .* give the steps of each currency a gate"):
        total([Money(1, "EUR"), Money(0, "JPY")], "gate 'x'")


@given(st.sampled_from(["EUR", "JPY", "KWD", "CLF"]), st.integers())
def test_every_digit_of_an_amount_is_shown(currency: str, minor: int) -> None:
    words = str(Money(minor, currency))
    whole, _, fraction = words.removesuffix(f" {currency}").replace(",", "").partition(".")
    assert (len(fraction), int(whole + fraction)) == (decimals(currency), minor)


def bare(args: Any) -> int:
    return args.amount


def rounded(args: Any) -> float:
    return args.amount * 2.5


@pytest.mark.parametrize("amount", [bare, rounded])
def test_an_amount_without_currency_is_refused_when_the_tool_is_declared(amount: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"'test.pay': its `amount` answers .* no currency; write `amount=lambda args"):
        pay(amount)


def test_one_that_no_sample_shows_is_refused_at_admission() -> None:
    card = pay(lambda args: {"bob": 5}[args.to])
    with pytest.raises(Permanent, match="answers 5, which has no currency") as refusal:
        admit(Action("r", "s", "executor", "test.pay", {"to": "bob", "amount": 5}, "p", "alice"), Catalog([card]))
    assert refusal.value.code == "invalid_arguments"


@pytest.mark.parametrize(
    ("amount", "arguments", "currency"),
    [
        (of("KWD"), Payment, "KWD"),
        (named, Payment, "args.currency"),
        (summed, Payments, "args.rows.currency"),
        (looked_up, Payment, ""),
    ],
    ids=["fixed", "argument", "rows", "open"],
)
def test_card_says_where_the_currency_comes_from(amount: Any, arguments: type[BaseModel], currency: str) -> None:
    assert ToolCard.of(pay(amount, arguments)).currency == currency


@pytest.mark.parametrize("currency", ["", "*"])
def test_rows_without_a_common_currency_have_no_sum(currency: str) -> None:
    action = Action("r", "s", "executor", "test.pay", {"rows": {**ROWS, "currency": currency}}, "p", "alice")
    with pytest.raises(Permanent, match=r"have no common currency: .* split by it first"):
        admit(action, Catalog([pay(summed, Payments)]))


@pytest.mark.parametrize("currency", ["jpy", "EURO", "x"])
def test_currency_that_is_none_is_no_argument(currency: str) -> None:
    args: dict[str, Json] = {"to": "bob", "amount": 5, "currency": currency}
    with pytest.raises(Permanent, match="is no currency of ISO 4217"):
        admit(
            Action("r", "s", "executor", "test.pay", args, "p", "alice"),
            Catalog([pay(named)]),
        )


def test_what_is_decided_together_is_in_the_currency_of_the_action() -> None:
    catalog = Catalog([pay(named)])
    args: dict[str, Json] = {"to": "bob", "amount": 5}
    action = Action("r", "s", "executor", "test.pay", args, "p", "alice", exposure=Money(7, "EUR"))
    with pytest.raises(Permanent, match=r"5 JPY is decided together with 0\.07 EUR"):
        admit(action, catalog)
