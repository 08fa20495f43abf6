"""Facts: a rule is never passed by because a tool is silent, and authors are told which fact is missing where."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from memory.errors import Permanent
from tools.action import Action, Effect, Json
from tools.admission import admit
from tools.catalog import Catalog
from tools.facts import Fact
from tools.money import Money
from tools.policy import FOLDER, Facts, PolicySet
from tools.tool import Call, Tool, tool

ENVIRONMENT = Fact("environment", lambda args: args.env, ("prod", "staging"))
PERMIT = '@id("all") @layer("capability")\npermit (principal, action, resource);\n'
HARD = '@id("rule") @layer("hard")\nforbid (principal, action, resource) '


class Arguments(BaseModel, extra="forbid"):
    """Where, and what."""

    env: str | None = "prod"
    name: str = ""


def one(args: Arguments) -> Money:
    return Money(1, "EUR")


def table(args: Arguments) -> str:
    return "table/x"


def environment(args: Arguments) -> Mapping[str, Json]:
    return {"environment": "prod"}


def declare(name: str, effect: Effect, **options: Any) -> Tool:
    async def act(args: Arguments, call: Call) -> Mapping[str, Json]:
        """Do it."""
        return {}

    return tool(name, effect=effect, playbook="db.disk-full", failures=("n: n",), **options)(act)


def policy(text: str, *tools: Tool) -> PolicySet:
    return PolicySet({"test.cedar": PERMIT + text}, Catalog(tools).cards)


def decide(policies: PolicySet, tool: Tool, **facts: Any) -> str:
    values: dict[str, Any] = {"approvals": 9, "target": "table/t", **facts}
    decision = policies.decide("executor", tool.name, Facts(**values))
    return decision.code or decision.verdict


def test_a_rule_by_a_fact_does_not_vanish_where_a_tool_says_nothing() -> None:
    """R50: with a tool that states the fact, too, nothing but one of its values will do."""
    tools = [declare("own.drop", "destructive"), declare("own.pay", "write"),
             declare("own.erase", "destructive", facts=(ENVIRONMENT,))]  # fmt: skip
    files = {"base.cedar": (FOLDER / "base.cedar").read_text()}
    policies = PolicySet(files, Catalog(tools).cards)
    for name in ("own.drop", "own.erase"):
        silent = policies.decide("executor", name, Facts(facts=(), approvals=2))
        other = policies.decide("executor", name, Facts(facts=("environment=Prod",), approvals=2))
        prod = policies.decide("executor", name, Facts(facts=("environment=prod",), approvals=2))
        assert {silent.verdict, other.verdict, prod.verdict} == {"deny"}
        assert (silent.code, "'environment'" in silent.message) == ("fact_missing", True)
    values: list[Any] = [-1, 1.5, True, 2**63]
    odd = [policies.decide("executor", "own.pay", Facts(amount=value, approvals=1)) for value in values]
    assert {decision.verdict for decision in odd} == {"deny"}
    both = ("environment=prod", "environment=staging")
    assert policies.decide("executor", "own.erase", Facts(facts=both[1:], approvals=2)).verdict == "allow"
    assert policies.decide("executor", "own.erase", Facts(facts=both, approvals=2)).verdict == "deny"


CONDITIONS = [
    'when { context.facts.contains("environment=prod") };',
    'when { context["facts"].contains("environment=prod") };',
    'when { context.facts.containsAny(["environment=prod"]) };',
    'when { context.facts.containsAll(["environment=prod"]) };',
    'when { !context.facts.contains("environment=staging") };',
    'unless { context.facts.contains("environment=staging") };',
    'unless { !context.facts.contains("environment=prod") };',
    'when { context.amount > 5 && context.facts.contains("environment=prod") };',
    'when { if context.tainted then true else context.facts.contains("environment=prod") };',
    'when { {a: context.facts.contains("environment=prod")}.a };',
    'when { [context.facts.contains("environment=prod")].contains(true) };',
]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(
    "head",
    [
        HARD,
        '@id("rule") @layer("approval") @approvals("1")\nforbid (principal, action, resource) ',
        '@id("rule") @layer("capability")\npermit (principal, action, resource) ',
    ],
)
def test_whatever_a_rule_is_and_however_it_looks_a_silent_tool_is_denied(head: str, condition: str) -> None:
    spent = {"amount": one}
    silent, plain = (
        declare("own.act", "write", **spent),
        declare("own.not", "write", inapplicable=("environment",), **spent),
    )
    policies = policy(head + condition, silent, plain)
    assert decide(policies, silent) in {"fact_missing", "policy_denied"}
    assert "'rule' looks at 'environment', of which tool 'own.act' says nothing" in "".join(policies.unstated)
    assert "own.not" not in "".join(policies.unstated)


@pytest.mark.parametrize(
    "condition",
    [
        "when { context.facts.isEmpty() };",
        'when { context.facts == ["environment=prod"] };',
        "when { context.facts.contains(context.user) };",
        'when { ["environment=prod"].containsAll(context.facts) };',
        'when { {a: context.facts}.a.contains("environment=prod") };',
        'when { context has facts && context.facts.contains("environment=prod") };',
        'unless { context.facts.contains("environment = prod") };',
        'unless { context.facts.contains("prod") };',
        'unless { context.facts.contains("amount=5") };',
    ],
)
def test_a_rule_whose_facts_nobody_could_name_is_refused(condition: str) -> None:
    with pytest.raises(Permanent, match="cannot be read: rule 'rule': ") as error:
        policy(HARD + condition, declare("own.act", "write", facts=(ENVIRONMENT,)))
    assert error.value.code == "configuration"


@pytest.mark.parametrize(
    ("scope", "condition", "names"),
    [
        ("action", "", {"own.look", "own.act", "own.drop"}),
        ('action in Action::"write"', "", {"own.act"}),
        ('action in [Action::"write", Action::"destructive"]', "", {"own.act", "own.drop"}),
        ('action == Action::"own.look"', "", {"own.look"}),
        ("action", 'action in Action::"destructive" && ', {"own.drop"}),
        ("action", 'action != Action::"own.drop" && ', {"own.look", "own.act"}),
        ("action", '!(action in [Action::"read", Action::"write"]) && ', {"own.drop"}),
        ("action", '(action in Action::"write" || context.tainted) && ', {"own.look", "own.act", "own.drop"}),
    ],
)
def test_only_tools_that_the_rule_is_about_must_say_something(scope: str, condition: str, names: set[str]) -> None:
    tools = [declare("own.look", "read"), declare("own.act", "write"), declare("own.drop", "destructive")]
    text = f'when {{ {condition}context.facts.contains("environment=prod") }};'
    policies = policy(HARD.replace("principal, action", f"principal, {scope}") + text, *tools)
    assert {tool.name for tool in tools if f"'{tool.name}'" in "".join(policies.unstated)} == names
    assert {tool.name for tool in tools if decide(policies, tool) == "fact_missing"} == names


@pytest.mark.parametrize(
    ("condition", "fact"),
    [("when { context.amount > 5 };", "amount"), ("when { context.currency != \"EUR\" };", "amount"),
     ("when { context.exposure > 5 };", "amount"),
     ('when { context.kind == "table" };', "target"), ('when { resource == Target::"table/x" };', "target"),
     ('unless { resource in Target::"table/x" };', "target")],
)  # fmt: skip
def test_amount_and_target_are_facts_as_well(condition: str, fact: str) -> None:
    stated: dict[str, Any] = {"amount": one, "target": table}
    silent, full = declare("own.act", "write"), declare("own.full", "write", **stated)
    policies = policy(HARD + condition, silent, full, declare("own.none", "write", inapplicable=(fact,)))
    assert decide(policies, silent) in {"fact_missing", "policy_denied"}
    assert [f"'{fact}', of which tool 'own.act'" in sentence for sentence in policies.unstated] == [True]
    assert decide(policies, full, target="none/none") != "allow" or fact == "amount"


def test_loading_tells_the_author_what_is_missing_and_how_to_say_it(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(PERMIT + HARD + CONDITIONS[0])
    with pytest.raises(Permanent) as error:
        PolicySet.load(Catalog([declare("own.act", "write")]).cards, tmp_path)
    assert error.value.code == "configuration"
    for part in ("'rule'", "'environment'", "'own.act'", "facts=(Fact('environment'", "inapplicable=('environment',)"):
        assert part in str(error.value)


def test_a_rule_compares_with_values_that_the_card_lists(tmp_path: Path) -> None:
    """`environment=Prod` in a rule would never be true, and nobody would see it."""
    (tmp_path / "a.cedar").write_text(PERMIT + HARD + CONDITIONS[0].replace("prod", "Prod"))
    act = declare("own.act", "write", facts=(ENVIRONMENT,))
    with pytest.raises(
        Permanent, match=r"'environment' with 'Prod', but on tool 'own\.act' it is one of prod, staging"
    ):
        PolicySet.load(Catalog([act]).cards, tmp_path)


@pytest.mark.parametrize(
    ("value", "stated"),
    [("prod", ("environment=prod",)), (" Prod\n", ("environment=prod",)), ("STAGING", ("environment=staging",)),
     (None, ()), ("", ()), (" ", ())],
)  # fmt: skip
def test_other_spellings_of_a_listed_value_are_normalised(value: str | None, stated: tuple[str, ...]) -> None:
    act = declare("own.act", "write", facts=(ENVIRONMENT,))
    action = Action("r", "s", "executor", "own.act", {"env": value}, "p", "alice")
    facts = admit(action, Catalog([act])).facts
    assert facts.facts == stated
    policies = policy(HARD + 'when { context.facts.contains("environment=prod") };', act)
    assert decide(policies, act, facts=facts.facts) == {"environment=prod": "policy_denied", "": "fact_missing"}.get(
        "".join(stated), "allow"
    )


@pytest.mark.parametrize("value", ["production", "prod1", "pr od", "ｐｒｏｄ"])
def test_a_value_that_is_not_listed_is_refused_with_those_that_are(value: str) -> None:
    act = declare("own.act", "write", facts=(ENVIRONMENT,))
    with pytest.raises(Permanent, match="it can be prod, staging") as error:
        admit(Action("r", "s", "executor", "own.act", {"env": value}, "p", "alice"), Catalog([act]))
    assert error.value.code == "invalid_arguments"


def test_ids_and_names_stay_exactly_as_they_are() -> None:
    act = declare("own.act", "write", facts=(Fact("owner", lambda args: args.name),))
    action = Action("r", "s", "executor", "own.act", {"name": " Ann=Lee "}, "p", "alice")
    assert admit(action, Catalog([act])).facts.facts == ("owner= Ann=Lee ",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"facts": environment}, r"state its facts as facts=\(Fact"),
        ({"facts": (ENVIRONMENT, ENVIRONMENT)}, "says twice what there is about 'environment'"),
        ({"facts": (ENVIRONMENT,), "inapplicable": ("environment",)}, "says twice"),
        ({"target": table, "inapplicable": ("target",)}, "says twice"),
        ({"inapplicable": "environment"}, r"inapplicable=\('environment',\)"),
    ],
)
def test_a_declaration_that_says_two_things_or_none_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"'own.act'.*{message}"):
        declare("own.act", "write", **options)


@pytest.mark.parametrize("arguments", [("Env",), ("amount",), ("env", ("Prod",)), ("env", "prod"), ("env", ("",))])
def test_a_fact_that_rules_could_not_rely_on_is_refused(arguments: tuple[Any, ...]) -> None:
    name, *values = arguments
    with pytest.raises(TypeError, match="fact '"):
        Fact(name, lambda args: "x", *values)


def test_the_card_shows_what_is_stated_and_what_does_not_apply() -> None:
    """R66"""
    card = Catalog.discover().cards["cloud.drop_table"]
    assert card.facts == {"environment": ("prod", "staging"), "target": ()}
    assert card.inapplicable == ("amount",)
