"""CEL conditions: checked when compiled, bounded, and never true by accident."""

import pytest

from memory.errors import Permanent
from tools.action import Json
from tools.cel import ValueType, case_fields, classifier, compile

DUPLICATE: dict[str, Json] = {"refunded": False, "disputed": False, "account": "open", "same_invoice": True}
VARIABLES: dict[str, ValueType] = {"steps.groups": "any", "inputs.canary": "int"}
CASES = {
    "different_invoice": "!same_invoice",
    "already_refunded": "refunded",
    "disputed": "disputed",
    "closed": "account == 'closed'",
    "clean": "account == 'open'",
}


@pytest.mark.parametrize(
    "text",
    [
        "result.count == 'two' && inputs.amount == 'two'",  # an int is never text
        "secrets.key != ''",  # undeclared
        "inputs.other == 1",
        "steps.later.count > 0",
        "inputs.amount + 1",  # no condition
        "inputs.amount >",
        "result.a.all(x, x > 0) && result.b.all(x, x > 0)",
        "result.a.all(x, result.b.exists(y, y == x))",
        "'a\\'.all(' == inputs.text",
        "'''a''' == inputs.text",
        "inputs.amount == 1\n",
        "(" * 40 + "true" + ")" * 40,
        "true || " * 80 + "true",
    ],
)
def test_an_expression_that_is_wrong_or_too_large_is_refused_when_compiled(text: str) -> None:
    with pytest.raises(Permanent) as error:
        compile(text, {"inputs.amount": "int", "inputs.text": "text", "steps.count": "any", "result": "any"})
    assert error.value.code == "plan_invalid"


@pytest.mark.parametrize(
    "text",
    [
        "result.missing == 1",
        "1 / (result.count - 2) == 1",
        "result.count",
        "result.name == 1 || result.name > 1",
        "result.name.size",
        "9223372036854775807 + result.count > 0",
        "result.huge > 0",
    ],
)
def test_an_undecidable_condition_does_not_hold_and_says_why(text: str) -> None:
    answer = compile(text, {"result": "any"}).evaluate({"result": {"count": 2, "name": "two", "huge": 2**70}})
    assert not answer.is_true
    assert answer.reason


def test_a_missing_variable_does_not_hold() -> None:
    assert not compile("inputs.paused", {"inputs.paused": "bool"}).evaluate({}).is_true


def test_a_value_of_another_type_than_declared_does_not_hold() -> None:
    assert compile("inputs.n > 1", {"inputs.n": "int"}).evaluate({"inputs.n": "2"}).reason


def test_a_condition_over_earlier_results_holds() -> None:
    condition = compile("steps.groups.disputed.count > 0 && inputs.canary == 10", VARIABLES)
    assert condition.evaluate({"steps.groups": {"disputed": {"count": 3}}, "inputs.canary": 10}).is_true


def test_a_loop_over_many_items_is_cut_short() -> None:
    condition = compile("result.all(x, x >= 0)", {"result": "any"})
    assert condition.evaluate({"result": list(range(500))}).is_true
    assert condition.evaluate({"result": list(range(200_000))}).reason


@pytest.mark.parametrize(
    ("text", "value"), [("result.used * 100 / 75", 640), ("result.name", "v"), ("result.rows[1] > 3", True)]
)
def test_an_expression_may_come_to_a_value(text: str, value: object) -> None:
    result: dict[str, Json] = {"used": 480, "name": "v", "rows": [3, 4]}
    assert compile(text, {"result": "any"}, "any").value({"result": result}) == value


@pytest.mark.parametrize("text", ["result.missing", "result.rows", "result.used / 0", "1.5", "null"])
def test_an_expression_without_a_plain_value_comes_to_nothing(text: str) -> None:
    assert compile(text, {"result": "any"}, "any").value({"result": {"used": 480, "rows": [3]}}) is None


def test_words_inside_text_do_not_count_as_loops() -> None:
    assert compile("'a.all(b.all(' == 'a.all(b.all('", {}).evaluate({}).is_true


def test_the_first_case_that_holds_wins() -> None:
    classify = classifier(CASES)
    assert classify(DUPLICATE) == "clean"
    assert classify(DUPLICATE | {"disputed": True, "account": "closed"}) == "disputed"
    assert classify(DUPLICATE | {"same_invoice": False}) == "different_invoice"


def test_a_row_that_no_case_covers_has_no_case() -> None:
    assert classifier(CASES)(DUPLICATE | {"account": "frozen"}) is None


def test_a_doubtful_row_never_lands_in_a_later_case() -> None:
    assert classifier({"odd": "amount > 0", "clean": "true"})({"amount": None}) is None


def test_comparing_a_flag_with_text_is_an_error_instead_of_silently_false() -> None:
    with pytest.raises(Permanent):
        classifier({"refunded": "refunded == 'yes'", "clean": "true"})(DUPLICATE)


def test_a_row_without_a_field_of_the_cases_is_refused() -> None:
    with pytest.raises(Permanent):
        classifier(CASES)({"refunded": False})


def test_the_fields_of_cases_are_those_they_mention() -> None:
    assert case_fields(CASES) == {"same_invoice", "refunded", "disputed", "account"}
    assert case_fields({"a": "note == 'x.y in z' && size(note) > 2 && meta.kind in ['b']"}) == {"note", "meta"}


@pytest.mark.parametrize("text", ["tags.exists(t, t == 'x')", "amount + 1", "amount >"])
def test_a_case_that_is_no_comparison_of_fields_is_refused(text: str) -> None:
    with pytest.raises(Permanent):
        case_fields({"case": text})
