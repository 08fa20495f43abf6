"""Judgements: whatever policy looked at stands in the entry, and leads to the same verdict when it is read back."""

import json
import os
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.errors import Permanent
from tests.tools.support import POLICY, TOOLS
from tests.tools.test_policy import CARDS
from tools import judgement, policy_rules, tool_descriptions
from tools.action import Action, Role, canonical
from tools.admission import admit
from tools.catalog import Catalog
from tools.policy import Facts, PolicySet

EXAMPLES = int(os.environ.get("CS_EXAMPLES", "150"))
CATALOG = Catalog(TOOLS)
CONDITIONS = [
    "context.amount > 5000",
    "context.exposure >= 100 && context.approvals < 2",
    "context.tainted",
    "!context.reversible",
    'context.currency == "JPY"',
    'context.kind == "charge"',
    'context.facts.contains("environment=prod")',
    'resource == Target::"charge/1"',
    'context.user == "alice"',
    "context.amount * 4611686018427387904 > 0",
]
ACTIONS = ['action == Action::"shop.charge"', 'action in Action::"write"', "action"]
TEXT = st.sampled_from(["", "alice", "charge/1", "none/none", "environment=prod", "EUR", "JPY", "é\n\U0001f600", "a=b"])
NUMBER = st.one_of(st.integers(0, 10_000), st.sampled_from([-1, 2**62, 2**63, 2**70]))
FACTS = st.builds(
    Facts,
    user=TEXT,
    amount=NUMBER,
    exposure=NUMBER,
    currency=st.sampled_from(["", "EUR", "JPY"]),
    approvals=st.integers(0, 3),
    tainted=st.booleans(),
    reversible=st.booleans(),
    target=TEXT,
    facts=st.lists(TEXT, max_size=3).map(tuple),
)
RULES = st.lists(
    st.tuples(*map(st.sampled_from, (["hard", "approval"], ACTIONS, CONDITIONS, [1, 2, 3]))),
    max_size=4,
)


def files(rules: list[tuple[str, str, str, int]]) -> dict[str, str]:
    """Return the shop's policies with further rules, each in a file of its own."""
    own = {
        f"{number}.cedar": f'@id("own-{number}") @layer("{layer}") @approvals("{need}") @groups("g{need}")\n'
        f"forbid (principal, {action}, resource) when {{ {condition} }};"
        for number, (layer, action, condition, need) in enumerate(rules)
    }
    return {"shop.cedar": POLICY, **own}


def kept(text: str) -> PolicySet:
    """Return policies as they are built from kept texts alone."""
    value: Any = json.loads(text)
    descriptions = tool_descriptions.read(value["cards"])
    return PolicySet(json.loads(value["policy"]), descriptions.tools, descriptions.accounting)


@settings(max_examples=EXAMPLES, deadline=None)
@given(RULES, FACTS, st.sampled_from(sorted(CARDS)), st.sampled_from([*get_args(Role), "stranger"]))
def test_recorded_facts_and_kept_texts_lead_to_the_same_verdict(
    rules: list[tuple[str, str, str, int]], facts: Facts, tool: str, role: str
) -> None:
    live = PolicySet(files(rules), CARDS, "EUR")
    again = kept(json.dumps({"policy": live.text, "cards": live.cards_text}))
    written = json.dumps({name: getattr(facts, name) for name in Facts.__slots__})
    assert again.decide(role, tool, judgement.facts_of(json.loads(written))) == live.decide(role, tool, facts)


def test_a_record_holds_every_fact_and_names_its_texts() -> None:
    action = Action("r", "s", "executor", "shop.charge", {"id": "a"}, "p", "alice")
    policies = PolicySet({"shop.cedar": POLICY}, CARDS)
    admission = admit(action, CATALOG)
    decision = policies.decide(action.role, action.tool, admission.facts)
    record: dict[str, Any] = judgement.record(admission, decision)
    assert judgement.facts_of(record["facts"]) == admission.facts
    assert (record["policy"], record["cards"]) == (policies.version, policies.cards)
    assert record["policy"] == tool_descriptions.hash_of(canonical({"shop.cedar": POLICY}))
    assert record["schema"] == tool_descriptions.read(policies.cards_text).tools["shop.charge"].schema_hash


def test_a_description_that_says_the_same_in_another_way_is_none() -> None:
    text = tool_descriptions.text_of(CARDS, "EUR")
    assert tool_descriptions.text_of(tool_descriptions.read(text).tools, "EUR") == text
    for odd in (text + " ", text.replace('"read"', '"reads"'), text.replace('"EUR"', "5"), text.replace("[]", "{}", 1)):
        with pytest.raises(ValueError, match="descri"):
            tool_descriptions.read(odd)


@pytest.mark.parametrize("inner", ["(" * 65 + "true" + ")" * 65, "true && " * 1300 + "true"])
def test_a_rule_that_would_end_the_parser_is_refused(inner: str) -> None:
    rule = f'@id("deep") @layer("hard") forbid (principal, action, resource) when {{ {inner} }};'
    with pytest.raises(Permanent, match="make it two"):
        PolicySet({"a.cedar": rule}, CARDS)


def test_brackets_in_texts_and_comments_do_not_count() -> None:
    policy_rules.check_size(
        '// ((((\n@message("' + "(" * 200 + '\\"((") forbid (principal, action, resource);' + "// {{" * 99
    )
