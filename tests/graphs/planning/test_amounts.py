"""Amounts in people's words: each is read as that person meant, or asked about; never as another amount.

From public reports (medusa#12797, wp-calypso#57181, ex-money#112, invoice2data#12, gumroad#3749) and their kind.
"""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.planning.amounts import read
from graphs.planning.slots import Slot, Words, bind, extract, words
from tools.money import Money, decimals

ASKED = None
REPORTED = {  # text: acceptable values (None: it asks)
    "refund 12,50 EUR": {1250},
    "refund EUR 1,234.50": {123450, None},
    "refund 1.234,50 €": {123450, None},
    "refund 1 234,50 €": {123450, None},
    "refund 1'234.50 EUR": {123450, None},
    "refund €1,000": {100000, None},
    "refund 1.000 €": {100000, None},
    "refund 12,5 €": {1250, None},
    "refund 12.505 EUR": {None},
    "refund -12,50 EUR": {None},
    "refund €-5": {None},
    "refund 1.5k EUR": {None, 150000},
    "refund 10 % or 5 EUR": {500, None},
    "refund JPY 9899": {None},
    "refund ¥9,899": {None},
    "refund KWD 1.255": {None},
    "refund 9,899 JPY, not EUR": {None},
    "refund 12,50 EUR each to 3 people": {1250, None},
    "refund EUR 12,50 and 12,50 EUR": {1250},
    "refund ١٢ EUR": {1200, None},
    "refund ０５ EUR": {500, None},
    "refund 1\u00a0234,50\u00a0€": {123450, None},
    "refund 12,50Euro": {1250, None},
    "order 4711 12 EUR": {1200, None},
    "refund EUR12.50.": {1250},
    "refund 0 EUR": {0, None},
    "refund 2,000,000.00 EUR": {200000000, None},
}


@pytest.mark.parametrize(("text", "values"), REPORTED.items(), ids=str)
def test_reported_texts_are_read_right_or_asked_about(text: str, values: set[int | None]) -> None:
    assert extract("amount", text) in values


@pytest.mark.parametrize(
    ("text", "currency", "value"),
    [
        # groups and decimals, both conventions
        ("refund 1'234.50 CHF", "CHF", 123450),
        ("refund CHF 1’234’567.05", "CHF", 123456705),
        ("1\u202f234,50 €", "EUR", 123450),
        ("1\u2009234\u2009567,00 EUR", "EUR", 123456700),
        ("₹1,00,000.00", "INR", 10000000),
        ("12,34,567 INR", "INR", 123456700),
        ("1.234.567 EUR", "EUR", 123456700),
        ("1,234,567 EUR", "EUR", 123456700),
        ("1.234.567,89 EUR", "EUR", 123456789),
        ("12,5 €", "EUR", 1250),
        ("12.5€", "EUR", 1250),
        ("0,05 EUR", "EUR", 5),
        ("0.5 EUR", "EUR", 50),
        ("1000 EUR", "EUR", 100000),
        # no decimals, three of them
        ("¥1,000", "JPY", 1000),
        ("￥５００", "JPY", 500),
        ("9.899 JPY", "JPY", 9899),
        ("JPY 9899", "JPY", 9899),
        ("₩12,000", "KRW", 12000),
        ("0.255 KWD", "KWD", 255),
        ("KWD 12.5", "KWD", 12500),
        ("KWD 1,255.000", "KWD", 1255000),
        # currency on either side, by code, symbol or name
        ("£5.20", "GBP", 520),
        ("$ 12.99", "USD", 1299),
        ("eur 12", "EUR", 1200),
        ("12 eur", "EUR", 1200),
        ("12 euros please", "EUR", 1200),
        ("namely: 12,00 Euro", "EUR", 1200),
        ("EUR 12 EUR", "EUR", 1200),
        ("refund all 12 EUR", "EUR", 1200),
        # marks of a sentence
        ('she wrote "12.50 EUR"', "EUR", 1250),
        ("amount: 12.50 EUR, thanks", "EUR", 1250),
        ("amount=12.50 EUR", "EUR", 1250),
        ("is it 12 EUR?", "EUR", 1200),
        ("refund ch_1a2b3c4d5e6f for EUR 99", "EUR", 9900),
        ("12 EUR for order 4711", "EUR", 1200),
        ("１２．５０ EUR", "EUR", 1250),
    ],
)
def test_clear_amounts_are_taken_whole(text: str, currency: str, value: int) -> None:
    assert read(text, currency) == value


@pytest.mark.parametrize(
    "text",
    [
        # both readings are possible
        "1,234 EUR", "1.234 EUR", "€12,505", "100.000 EUR",
        # not a number of either convention
        "1,234,56 EUR", "1.234.56 EUR", "12,50,00 EUR", "1,,000 EUR", "1.,5 EUR", "12,34.56,78 EUR", "0,255,000 EUR",
        "1'23 EUR", "4711\u00a012 EUR", "1'234,567.00 EUR", "12.5000 EUR", "0.001 EUR", "1234567890123456 EUR",
        # something is left over
        "2 100 EUR", "1 234 567,50 EUR", "EUR 12 50", "EUR 12 ,50", "12 EUR 50", "12 EUR 50 cents",
        "12 EUR and 50 cents", "EUR 1_000", "EUR 1e3", "0x10 EUR", "5² EUR", "12½ EUR", "12:50 EUR", "#12 EUR",
        "~12 EUR", "12.- EUR", "CHF 12.-", "EUR 12/month", ".50 EUR", "(12.50 EUR)", "EUR (12.50)", "US$12",
        "12 EUR/USD",
        # signs
        "-5 EUR", "- 5 EUR", "−5 EUR", "–5 EUR", "€-5", "€ -5", "-€5", "EUR -5", "5- EUR", "+5 EUR", "minus 5 EUR",
        # ranges, sums, multiples, words
        "5-10 EUR", "5–10 EUR", "5 to 10 EUR", "EUR 5 to 10", "5 or 6 EUR", "5 EUR or 6", "3 x 5 EUR", "5 EUR x 3",
        "5 EUR times 3", "50% of 12 EUR", "half of 12 EUR", "two 5 EUR charges", "twice 5 EUR", "1.5k EUR", "1.5 k EUR",
        "EUR 1.5 million", "5 hundred EUR", "one hundred EUR", "one hundred", "up to 5 EUR", "about 5 EUR", "not 5 EUR",
        # another currency, several of them, or none
        "12 USD", "$12", "12 EUR or 12 usd", "12 EUR, in USD please", "EUR 12 USD", "12 EUR and £5",
        "please TRY 12 EUR", "12.50", "she paid 12", "EUR", "refund it in EUR", "EUR 10 or EUR 20", "",
    ],
)  # fmt: skip
def test_unclear_amounts_are_asked_about(text: str) -> None:
    assert read(text, "EUR") is ASKED


def test_mark_before_decimals_that_a_runbook_names_settles_what_could_be_meant_either_way() -> None:
    assert (read("KWD 1.255", "KWD", "."), read("KWD 1,255", "KWD", ".")) == (1255, 1255000)
    assert (read("1.000 €", "EUR", ","), read("12.505 EUR", "EUR", "."), read("12,50 EUR", "EUR", ".")) == (
        100000,
        None,
        None,
    )


def _slot(**fields: object) -> Slot:
    return Slot.model_validate({"type": "amount", "from": "request", **fields})


def test_slot_names_its_currency_or_reads_that_of_the_accounts() -> None:
    slots = {"yen": _slot(currency="JPY"), "own": _slot()}
    assert bind(slots, "refund 9,899 JPY", {}, None) == {"yen": 9899}
    assert bind(slots, Words("refund 9,899 JPY", accounting="JPY"), {}, None) == {"yen": 9899, "own": 9899}
    assert bind({"kwd": _slot(currency="KWD", decimals=".")}, "KWD 1.255", {}, None) == {"kwd": 1255}


def test_default_stands_for_nothing_said_and_not_for_something_unclear() -> None:
    slots = {"amount": _slot(default=500)}
    assert bind(slots, "refund it", {}, None) == {"amount": 500}
    assert bind(slots, "refund 12.505 EUR", {}, None) == {}


def test_answer_to_the_question_stands_whatever_was_unclear_before() -> None:
    slots, request = {"amount": _slot()}, "refund 12.505 EUR"
    answers = ["12.50 EUR", "12.505 EUR", "12.50", ""]
    values = [bind(slots, Words(f"{request}\n{answer}", answer), {}, None).get("amount") for answer in answers]
    assert values == [1250, None, None, None]


def test_minor_units_through_the_api_are_taken_as_they_are() -> None:
    assert bind({"amount": _slot(currency="JPY")}, "refund 12.505 EUR", {"amount": 9899}, None) == {"amount": 9899}


@pytest.mark.parametrize("fields", [{"type": "text"}, {"from": "config", "default": 5}, {"currency": "EURO"}])
def test_only_an_amount_from_the_request_names_a_currency(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="currency"):
        _slot(**{"currency": "JPY", **fields})


def test_amounts_take_no_part_in_the_search_for_a_runbook() -> None:
    assert words("refund 1.234,50 € to Ann").split() == ["refund", "to", "Ann"]
    assert words("refund CHF 1’234.50 today").split() == ["refund", "today"]


@given(st.sampled_from(["EUR", "JPY", "KWD", "CLF", "USD", "INR"]), st.integers(0, 10**12))
def test_amount_as_it_is_shown_is_read_back_as_itself(currency: str, minor: int) -> None:
    money = Money(minor, currency)
    assert read(f"refund {money} please", currency, ".") == minor
    assert read(f"refund {money} please", currency) in {minor, ASKED}
    if decimals(currency) != 3:
        assert read(f"refund {money} please", currency) == minor


@given(st.text(alphabet="0123456789.,'’ -\u00a0€$EURkx()", max_size=24) | st.text(), st.sampled_from(["EUR", "JPY"]))
def test_whole_part_of_what_is_read_stands_in_the_text(text: str, currency: str) -> None:
    value = read(text, currency)
    digits = "".join(str(unicodedata.decimal(sign)) for sign in text if unicodedata.decimal(sign, None) is not None)
    assert value is None or str(value // 10 ** decimals(currency)) in digits
