"""Policies and amounts of another currency: what nobody can convert passes no limit."""

from typing import Any

import pytest

from tests.tools.support import POLICY, TOOLS
from tools.catalog import Catalog
from tools.policy import Facts, PolicySet

CARDS = Catalog(TOOLS).cards
CAPABILITY = '@id("all") @layer("capability") permit (principal, action, resource)'


def verdict(rules: str, tool: str = "shop.charge", accounting: str = "EUR", **facts: Any) -> str:
    decision = PolicySet({"a.cedar": rules}, CARDS, accounting).decide("executor", tool, Facts(**facts))
    return f"{decision.verdict}:{decision.need or decision.code or ''}"


def forbid(condition: str) -> str:
    return f'{CAPABILITY};@id("x") @layer("hard") forbid (principal, action, resource) {condition};'


@pytest.mark.parametrize(("currency", "answer"), [("", "hold:1"), ("EUR", "hold:1"), ("JPY", "hold:2")])
def test_sum_of_another_currency_needs_as_many_people_as_the_largest(currency: str, answer: str) -> None:
    rules = POLICY.replace("context.amount == 13", 'context.currency == "EUR" && context.amount == 13')
    assert verdict(rules, "shop.refund", amount=10, exposure=10, currency=currency) == answer


def test_a_denial_says_that_the_rule_speaks_of_another_currency() -> None:
    decision = PolicySet({"a.cedar": POLICY}, CARDS).decide("executor", "shop.refund", Facts(amount=10, currency="JPY"))
    assert decision.message == (
        "nobody pays 13 (rule never); a rule that names no `context.currency` speaks of EUR; "
        "nobody knows what JPY come to"
    )
    rules = PolicySet({"a.cedar": forbid("when { context.tainted }")}, CARDS)
    assert "JPY" not in rules.decide("executor", "shop.refund", Facts(tainted=True, currency="JPY")).message


@pytest.mark.parametrize(
    "condition",
    [
        "when { context.amount > 1000 }",
        "when { context.amount == 13 }",
        "when { context.exposure < 5 }",
        "unless { context.amount <= 1000 }",
        "when { !(context.amount <= 1000) }",
        "when { 1000 < context.amount && !context.tainted }",
        "when { context.tainted || context.exposure * 2 > 1000 }",
        "when { if context.amount > 1000 then true else context.tainted }",
        "when { [1, 2].contains(context.amount) }",
        'when { context.user == "alice" } unless { context.exposure + context.amount < 1000 }',
    ],
)
def test_rule_that_names_no_currency_applies_to_what_nobody_can_convert(condition: str) -> None:
    facts: dict[str, Any] = {"amount": 10, "exposure": 10, "user": "alice"}
    assert verdict(forbid(condition), currency="JPY", **facts) == "deny:policy_denied"
    assert verdict(forbid(condition), currency="EUR", **facts) == "allow:"
    assert verdict(forbid(condition), accounting="JPY", currency="JPY", **facts) == "allow:"


def test_conditions_on_other_facts_still_count() -> None:
    assert verdict(forbid("when { context.amount > 5 && context.tainted }"), currency="JPY", amount=10) == "allow:"


def test_permission_for_small_amounts_is_none_for_what_nobody_can_convert() -> None:
    rules = f"{CAPABILITY} when {{ context.amount < 1000 }};"
    assert (verdict(rules, amount=10), verdict(rules, amount=10, currency="JPY")) == ("allow:", "deny:no_capability")


def test_rule_that_names_the_currency_counts_in_it() -> None:
    rules = forbid('when { context.currency == "JPY" && context.amount > 100000 }')
    amounts = [("JPY", 100_000), ("JPY", 100_001), ("EUR", 100_001), ("USD", 100_001)]
    assert [verdict(rules, currency=currency, amount=amount) for currency, amount in amounts] == [
        "allow:",
        "deny:policy_denied",
        "allow:",
        "allow:",
    ]


def test_shipped_policies_ask_two_about_a_refund_in_another_currency() -> None:
    policy = PolicySet.load(Catalog.discover().cards)
    facts = [Facts(amount=10_000, exposure=10_000, currency=currency) for currency in ("EUR", "JPY")]
    assert [policy.decide("executor", "billing.refund", fact).need for fact in facts] == [1, 2]
    assert [policy.decide("executor", "billing.charge", fact).verdict for fact in facts] == ["allow", "hold"]
