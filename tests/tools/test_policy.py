"""Policy: three layers, a denial in every doubt, and holds only where people can really permit."""

from pathlib import Path
from typing import Any

import pytest

from memory.errors import Permanent
from tests.tools.support import POLICY, TOOLS
from tools.catalog import Catalog
from tools.policy import Facts, PolicySet

CARDS = Catalog(TOOLS).cards
CAPABILITY = """
@id("all")
@layer("capability")
permit (principal, action, resource);
"""


def policy(text: str = POLICY) -> PolicySet:
    return PolicySet({"test.cedar": text}, CARDS)


def asks(text: str, **facts: Any) -> Any:
    return policy(CAPABILITY + text).decide("executor", "shop.charge", Facts(**facts))


def test_an_empty_folder_permits_nothing(tmp_path: Path) -> None:
    """R32"""
    decision = PolicySet.load(CARDS, tmp_path).decide("executor", "shop.peek", Facts())
    assert (decision.verdict, decision.code) == ("deny", "no_capability")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="does not exist; make it or mend COUNTERSIGN_POLICY_DIR"):
        PolicySet.load(CARDS, tmp_path / "none")


def test_a_hard_rule_is_not_lifted_by_any_number_of_people() -> None:
    """R50"""
    decision = policy().decide("executor", "shop.refund", Facts(amount=13, approvals=99))
    assert (decision.verdict, decision.code, decision.rules) == ("deny", "policy_denied", ("never",))
    assert decision.message == "nobody pays 13 (rule never)"


def test_a_hold_says_how_many_and_who_and_for_how_long() -> None:
    """R41 R51"""
    small = policy().decide("executor", "shop.refund", Facts(exposure=10))
    large = policy().decide("executor", "shop.refund", Facts(exposure=1001))
    assert (small.verdict, small.need, small.groups, small.ttl) == ("hold", 1, frozenset({"finance"}), 600)
    assert (large.verdict, large.need) == ("hold", 2)
    assert small.policy == policy().version


def test_nobody_is_asked_about_what_is_forbidden_anyway() -> None:
    """R24"""
    decision = policy().decide("researcher", "shop.refund", Facts(exposure=1001))
    assert (decision.verdict, decision.code) == ("deny", "no_capability")


def test_enough_approvals_allow_and_the_rules_that_permit_are_named() -> None:
    """R51"""
    assert policy().decide("executor", "shop.charge", Facts()).rules == ("act",)
    assert policy().decide("executor", "shop.refund", Facts(exposure=1001, approvals=1)).verdict == "hold"
    assert policy().decide("executor", "shop.refund", Facts(exposure=1001, approvals=2)).verdict == "allow"


def test_whoever_approves_satisfies_every_rule() -> None:
    """R25"""
    rules = "".join(
        f'@id("{name}")\n@layer("approval")\n@approvals("1")\n@groups("{groups}")\n'
        "forbid (principal, action, resource) unless { context.approvals >= 1 };\n"
        for name, groups in [("a", "finance, ops"), ("b", "ops, legal")]
    )
    assert asks(rules).groups == frozenset({"ops"})
    assert asks(rules.replace("ops, legal", "legal")).code == "policy_error"


@pytest.mark.parametrize(
    ("role", "tool", "facts"),
    [
        ("stranger", "shop.charge", {}),
        ("executor", "shop.none", {}),
        ("executor", "shop.charge", {"amount": -1}),
        ("executor", "shop.charge", {"amount": 2**63}),
        ("executor", "shop.charge", {"exposure": 2**70}),
        ("executor", "shop.charge", {"approvals": -1}),
        ("executor", "shop.charge", {"amount": "5000"}),
        ("executor", "shop.charge", {"amount": 1.5}),
        ("executor", "shop.charge", {"user": None}),
        ("executor", "shop.charge", {"facts": (1,)}),
    ],
)
def test_what_does_not_fit_the_schema_is_denied(role: str, tool: str, facts: dict[str, Any]) -> None:
    """R32"""
    decision = policy(CAPABILITY).decide(role, tool, Facts(**facts))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")


def test_a_rule_that_cannot_be_evaluated_denies_instead_of_being_skipped() -> None:
    """R32"""
    overflow = '@id("o")\n@layer("hard")\nforbid (principal, action, resource) when { context.amount * 2 > 10 };'
    assert asks(overflow, amount=2**62).code == "policy_error"
    assert asks(overflow, amount=1).verdict == "allow"


def test_a_rule_on_a_group_of_roles_or_tools_is_never_skipped() -> None:
    """R32"""
    for scope in ('principal in Group::"workers", action', 'principal, action in Action::"write"'):
        rule = f'@id("g")\n@layer("hard")\nforbid ({scope}, resource);'
        assert asks(rule).rules == ("g",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("permit (principal", "cannot be read"),
        (CAPABILITY + "forbid (principal, action, resource) when { context.amuont > 1 };", "annot|fit|layer"),
        ("permit (principal, action, resource);", "layer"),
        ('@layer("hard")\npermit (principal, action, resource);', "a permit is"),
        ('@layer("capability")\nforbid (principal, action, resource);', "a permit is"),
        ('@layer("approval")\nforbid (principal, action, resource);', "needs @approvals"),
        ('@layer("hard")\n@code("nonsense")\nforbid (principal, action, resource);', "closed list"),
        ('@layer("hard")\nforbid (principal, action == Action::"shop.none", resource);', "do not fit"),
        ('@layer("hard")\nforbid (principal, action, resource) when { context.amuont > 1 };', "do not fit"),
        (CAPABILITY + CAPABILITY, "two rules are named 'all'"),
        ('@layer("capability")\npermit (principal == ?principal, action, resource);', "a template"),
        ("// unattended: shop.none\n", "unattended tool 'shop.none' does not exist"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_when_loaded(text: str, message: str) -> None:
    """R52"""
    with pytest.raises(Permanent) as error:
        policy(text)
    assert error.value.code == "configuration"
    assert any(part in str(error.value) for part in message.split("|"))


def test_any_change_of_the_files_is_another_version(tmp_path: Path) -> None:
    """R52"""
    (tmp_path / "a.cedar").write_text(POLICY)
    version = PolicySet.load(CARDS, tmp_path).version
    (tmp_path / "a.cedar").write_text(POLICY + "\n")
    assert (policy().version != version, PolicySet.load(CARDS, tmp_path).version != version) == (True, True)
