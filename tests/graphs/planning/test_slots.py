"""Inputs come from the requester, a probe or configuration, and only as values of their type."""

import pytest

from graphs.planning.slots import Slot, SlotType, bind, extract
from memory.errors import Permanent
from tools.action import Json


def slot(**fields: object) -> Slot:
    return Slot.model_validate(fields)


@pytest.mark.parametrize(
    ("kind", "request_text", "value"),
    [
        ("charge", "please refund ch_1a2b3c4d5e6f today", "ch_1a2b3c4d5e6f"),
        ("charge", "ch_1a2b3c4d5e6f, I repeat: ch_1a2b3c4d5e6f", "ch_1a2b3c4d5e6f"),
        ("email", "the account is ann.lee+x@mail.example.org.", "ann.lee+x@mail.example.org"),
        ("amount", "she paid EUR 42.50 too much", 4250),
        ("amount", "give 42,50 € back", 4250),
        ("amount", "€7 please", 700),
        ("integer", "restart the 3 workers", 3),
        ("person", "a refund for Ann Lee, please", "Ann Lee"),
        ("person", "customer José O’Neil-Smith complains", "José O’Neil-Smith"),
        ("customer", "refund Ann Lee, I mean ch_1a2b3c4d5e6f", "ch_1a2b3c4d5e6f"),
        ("customer", "refund for Ann Lee\nann.lee@example.org", "ann.lee@example.org"),
        ("customer", "refund for Ann Lee", "Ann Lee"),
        ("text", 'the job is called "nightly invoices"', "nightly invoices"),
    ],
)
def test_a_value_is_found_in_the_requesters_words(kind: SlotType, request_text: str, value: object) -> None:
    assert extract(kind, request_text) == value


@pytest.mark.parametrize(
    ("kind", "request_text"),
    [
        ("charge", "refund the charge"),
        ("charge", "refund ch_1a2b3c4d5e6f and ch_9z8y7x6w5v4u"),
        ("charge", "refund CH_1A2B3C"),
        ("email", "ann@, bob@example"),
        ("amount", "she paid 42"),
        ("amount", "EUR 10 or EUR 20"),
        ("integer", "no number, only ch_12345678 and 4.5"),
        ("person", "for the whole team"),
        ("customer", "refund somebody"),
    ],
)
def test_none_or_several_values_are_no_value(kind: SlotType, request_text: str) -> None:
    assert extract(kind, request_text) is None


def test_each_slot_is_filled_from_its_only_source() -> None:
    slots = {
        "job": slot(type="text", default="retry", **{"from": "config"}),
        "charge": slot(type="charge", **{"from": "request"}),
        "amount": slot(type="amount", value="result.first.amount * 2", **{"from": "probe"}),
    }
    values = bind(slots, "refund ch_1a2b3c4d5e6f for EUR 99", {}, {"first": {"amount": 250}})
    assert values == {"job": "retry", "charge": "ch_1a2b3c4d5e6f", "amount": 500}


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"job": "payroll"}, "inputs.job: the runbook sets 'job' by its config; it takes charge"),
        ({"amount": 1}, "inputs.amount: the runbook sets 'amount' by its probe; it takes charge"),
        ({"chrage": "ch_000000"}, "inputs.chrage: the runbook takes no such input; it takes charge"),
        ({"charge": "somebody's"}, "is no charge"),
        ({"charge": 7}, "inputs.charge: 7 is no charge"),
    ],
)
def test_an_input_that_no_slot_takes_is_refused_and_never_passed_over(inputs: dict[str, Json], says: str) -> None:
    slots = {
        "job": slot(type="text", default="retry", **{"from": "config"}),
        "charge": slot(type="charge", **{"from": "request"}),
        "amount": slot(type="amount", value="result.amount", **{"from": "probe"}),
    }
    with pytest.raises(Permanent, match=says) as error:
        bind(slots, "refund ch_1a2b3c4d5e6f", inputs, {"amount": 250})
    assert error.value.code == "plan_invalid"


def test_an_input_sent_beside_the_message_fills_a_slot_of_the_request() -> None:
    slots = {"charge": slot(type="charge", **{"from": "request"})}
    assert bind(slots, "refund it", {"charge": "ch_000000"}, None) == {"charge": "ch_000000"}


@pytest.mark.parametrize("value", ["ch_1; drop", 7, True, None, ["ch_000000"]])
def test_a_value_of_another_type_fills_nothing(value: Json) -> None:
    slots = {"charge": slot(type="charge", value="result.id", **{"from": "probe"})}
    assert bind(slots, "", {}, {"id": value}) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "amount", "from": "probe"},
        {"type": "text", "from": "config"},
        {"type": "text", "from": "request", "value": "result.job"},
        {"type": "integer", "from": "config", "default": "ten"},
        {"type": "text", "from": "ticket"},
        {"type": "regex", "from": "request"},
    ],
)
def test_a_slot_without_a_proper_source_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"slot|default|Input"):
        slot(**fields)
