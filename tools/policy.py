"""Cedar policies in three layers, evaluated by the gateway before anything else.

Capabilities permit, hard rules forbid for good, approval rules forbid until enough people agreed. Whatever Cedar
reports as an error is a denial, because an erroring `forbid` would otherwise be skipped.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cedarpy

from memory.errors import Permanent
from tools import policy_rules, rule_facts, tool_descriptions
from tools.action import Decision, canonical
from tools.discovery import files_of, text_of
from tools.money import DEFAULT
from tools.tool_descriptions import ToolDescription
from tools.unknown_amounts import StrictRules

# The binding leaves the types of its dictionaries open; whatever it answers is checked here.
_CEDAR: Any = cedarpy

FOLDER = Path(__file__).parent / "policies"
SETTING = "COUNTERSIGN_POLICY_DIR"
ROLES = ("planner", "researcher", "executor", "auditor")
_MAX_LONG = 2**63 - 1
_SENTENCES = 5
"""Most problems that one refusal tells."""
_UNATTENDED_LINE = re.compile(r"^//\s*unattended:\s*(.+)$", re.MULTILINE)
_SCHEMA = """
entity Group;
entity Agent in [Group];
entity Target;
action "read"; action "write"; action "destructive"; action "unattended";
"""
_APPLIES = """ appliesTo { principal: Agent, resource: Target, context: {
  user: String, amount: Long, exposure: Long, currency: String, approvals: Long, tainted: Bool, reversible: Bool,
  kind: String, facts: Set<String> } };"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts for a verdict besides role and tool; computed by the gateway, never taken from an agent."""

    user: str = ""
    amount: int = 0
    exposure: int = 0
    currency: str = ""
    """Currency of amount and exposure; empty is that of the accounts."""
    approvals: int = 0
    tainted: bool = False
    reversible: bool = True
    target: str = "none/none"
    facts: tuple[str, ...] = ()
    """What the tool says further, `name=value`."""


class PolicySet:
    """One version of the rules, checked against the tools that exist."""

    def __init__(
        self, files: Mapping[str, str], cards: Mapping[str, ToolDescription], accounting: str = DEFAULT
    ) -> None:
        """Parse and validate rules on `accounting` amounts; raises Permanent("configuration") saying what is wrong.

        A fact that a tool does not state is no error here: `unstated` names it, and the rule that asks for it denies.
        """
        self.text = canonical(dict(files))
        self.version = tool_descriptions.hash_of(self.text)
        self.cards_text = tool_descriptions.text_of(cards, accounting)
        self.cards = tool_descriptions.hash_of(self.cards_text)
        text = "\n".join(files[name] for name in sorted(files))
        self._unattended_tools = _unattended_tools(files, cards)
        self._actions = frozenset(cards) | {"@read", "@write", "@destructive"}
        schema = _schema(cards.values(), self._unattended_tools)
        try:
            policy_rules.check_size(text)
            self._schema = _CEDAR.Schema.from_str(schema)
            self._policies = _CEDAR.PolicySet.from_str(text)
            self._strict = StrictRules(text)
            findings = _CEDAR.validate_policies(text, self._schema)
            texts = _texts(text)
            self._rules = {
                uid: policy_rules.read(uid, rule["effect"], rule.get("annotations", {})) for uid, rule in texts.items()
            }
            named_rules = [(self._rules[uid].name, rule) for uid, rule in texts.items()]
            self._demands = rule_facts.demands(named_rules, cards, self._unattended_tools)
        except (ValueError, RecursionError) as error:
            raise Permanent("configuration", f"the policies cannot be read: {error}") from error
        if not findings.validation_passed:
            raise Permanent("configuration", "the policies do not fit: " + "; ".join(map(str, findings.errors)))
        self._accounting = accounting
        self._highest_need = max((rule.need for rule in self._rules.values()), default=0)
        # The schema adds the actions' groups: without them a `forbid` on a group would be skipped silently.
        self._entities = _CEDAR.Entities.from_json_str(json.dumps(_roles()), self._schema)

    @classmethod
    def load(cls, cards: Mapping[str, ToolDescription], *folders: Path, accounting: str = DEFAULT) -> "PolicySet":
        """Read every `*.cedar` of these folders, by default the shipped one; an empty folder permits nothing.

        Raises Permanent("configuration") for a folder that does not exist, for two files of one name, and for a tool
        that does not state a fact at which a rule about it looks.
        """
        policies = cls(read_files(folders or (FOLDER,)), cards, accounting)
        if policies.unstated:
            raise Permanent("configuration", "; ".join(policies.unstated[:_SENTENCES]))
        return policies

    def decide(self, role: str, tool: str, facts: Facts) -> Decision:
        """Return allow, deny with a code, or hold with the number and groups of people needed.

        A hold is answered only if that many approvals would really be enough, and neither it nor an allow while a rule
        looks at a fact that the action leaves open.
        """
        decision = self._judge(role, tool, facts)
        if decision.verdict != "deny":
            decision = self._open_fact(tool, facts) or decision
        return replace(decision, policy=self.version, cards=self.cards)

    def _judge(self, role: str, tool: str, facts: Facts) -> Decision:
        is_allowed, rules = self._ask(role, tool, facts, facts.approvals)
        if is_allowed:
            return Decision("allow", rules=self._names(rules))
        if facts.approvals < self._highest_need:
            would_suffice, others = self._ask(role, tool, facts, self._highest_need)
            if would_suffice and self._only_approvals_lack(rules):
                return self._hold(rules)
            rules = others
        return self._strict.explain(self._deny(rules), facts.currency, self._accounting)

    @property
    def rules(self) -> Mapping[str, str]:
        """Return the layer of every rule by its name."""
        return {rule.name: rule.layer for rule in self._rules.values()}

    @property
    def unstated(self) -> tuple[str, ...]:
        """Return a sentence for each fact at which a rule looks and of which a tool in its scope says nothing."""
        problems = (demand.problem for demands in self._demands.values() for demand in demands)
        return tuple(dict.fromkeys(filter(None, problems)))

    def _open_fact(self, tool: str, facts: Facts) -> Decision | None:
        """Return a denial if a rule about the tool looks at a fact that the action does not say, else None."""
        stated = rule_facts.stated(facts.facts, facts.target)
        for demand in self._demands[tool]:
            if not demand.is_met(stated):
                choices = f" (one of {', '.join(sorted(demand.values))})" if demand.values else ""
                message = f"{tool!r} does not say {demand.fact!r}{choices}, at which rule {demand.rule} looks"
                return Decision("deny", code="fact_missing", rules=(demand.rule,), message=message)
        return None

    def _ask(self, role: str, tool: str, facts: Facts, approvals: int) -> tuple[bool, tuple[str, ...]]:
        """Return whether Cedar allows an action after so many approvals, and the rules that decided it."""
        if role not in ROLES or tool not in self._actions or not _fits(facts):
            return False, ("error",)
        currency = facts.currency or self._accounting
        target: dict[str, Any] = {"uid": _uid("Target", facts.target), "attrs": {}, "parents": []}
        request: dict[str, Any] = {
            "principal": _uid("Agent", role),
            "action": _uid("Action", tool),
            "resource": target["uid"],
            "context": {
                "user": facts.user,
                "amount": facts.amount,
                "exposure": facts.exposure,
                "currency": currency,
                "approvals": approvals,
                "tainted": facts.tainted,
                "reversible": facts.reversible,
                "kind": facts.target.partition("/")[0],
                "facts": list(facts.facts),
            },
        }
        return self._answer(request, target, self._policies if currency == self._accounting else self._strict.policies)

    def _answer(
        self, request: Mapping[str, Any], target: Mapping[str, Any], policies: Any
    ) -> tuple[bool, tuple[str, ...]]:
        """Return Cedar's answer, in which any error is a denial."""
        try:
            entities = self._entities.with_added_json_str(json.dumps([target]))
            result = _CEDAR.is_authorized(request, policies, entities, self._schema)
        except (ValueError, TypeError):
            return False, ("error",)
        if result.diagnostics.errors:
            return False, ("error",)
        return result.allowed, tuple(sorted(result.diagnostics.reasons))

    def _names(self, rules: Iterable[str]) -> tuple[str, ...]:
        return tuple(self._rules[rule].name for rule in rules)

    def _only_approvals_lack(self, rules: Iterable[str]) -> bool:
        matches = [self._rules.get(rule) for rule in rules]
        return bool(matches) and all(rule is not None and rule.layer == "approval" for rule in matches)

    def _hold(self, rules: Collection[str]) -> Decision:
        lacking = [self._rules[rule] for rule in rules]
        groups = _common_groups(lacking)
        if groups is None:
            return self._deny(["error"])
        return Decision(
            "hold",
            rules=self._names(rules),
            need=max(rule.need for rule in lacking),
            groups=groups,
            ttl=min(rule.ttl for rule in lacking),
        )

    def _deny(self, rules: Iterable[str]) -> Decision:
        hard = [self._rules[rule] for rule in rules if rule in self._rules]
        code, message = "no_capability", "no policy permits this"
        if "error" in rules:
            code, message = "policy_error", "the policies could not be evaluated for this action"
        elif hard:
            code, message = hard[0].code, hard[0].message
        names = tuple(rule.name for rule in hard)
        text = f"{message} (rule {', '.join(names)})" if names else message
        return Decision("deny", code=code, rules=names, message=text)


def read_files(folders: Iterable[Path]) -> dict[str, str]:
    """Return the text of every `*.cedar` of these folders by its name; raises Permanent("configuration")."""
    files: dict[str, str] = {}
    for path in (path for folder in folders for path in files_of(folder, "*.cedar", SETTING)):
        if path.name in files:
            raise Permanent("configuration", f"two policy files are named {path.name!r}; rename one of them")
        files[path.name] = text_of(path)
    return files


def _common_groups(rules: Iterable[policy_rules.Rule]) -> frozenset[str] | None:
    """Return the groups whose people satisfy every rule, none if anybody does; None if nobody can."""
    group_sets = [rule.groups for rule in rules if rule.groups]
    if not group_sets:
        return frozenset()
    return frozenset[str].intersection(*group_sets) or None


def _fits(facts: Facts) -> bool:
    return all(
        type(number) is int and 0 <= number <= _MAX_LONG for number in (facts.amount, facts.exposure, facts.approvals)
    )


def _roles() -> list[dict[str, Any]]:
    workers = _uid("Group", "workers")
    parents: dict[str, list[dict[str, str]]] = {"researcher": [workers], "executor": [workers]}
    agents = [{"uid": _uid("Agent", role), "attrs": {}, "parents": parents.get(role, [])} for role in ROLES]
    return [{"uid": workers, "attrs": {}, "parents": []}, *agents]


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _unattended_tools(files: Mapping[str, str], cards: Mapping[str, ToolDescription]) -> frozenset[str]:
    names: set[str] = set()
    for file, text in files.items():
        for line in _UNATTENDED_LINE.findall(text):
            for name in (part.strip() for part in line.split(",")):
                if name not in cards:
                    raise Permanent("configuration", f"{file}: unattended tool {name!r} does not exist")
                names.add(name)
    return frozenset(names)


def _schema(cards: Iterable[ToolDescription], alone: frozenset[str]) -> str:
    lines = [_SCHEMA]
    effects: dict[str, str] = {"@read": "read", "@write": "write", "@destructive": "destructive"}
    effects.update({card.name: card.effect for card in cards})
    for name, effect in effects.items():
        groups = [effect, "unattended"] if name in alone else [effect]
        lines.append(f"action {json.dumps(name)} in [{', '.join(map(json.dumps, groups))}]{_APPLIES}")
    return "\n".join(lines)


def _texts(text: str) -> dict[str, dict[str, Any]]:
    """Return the rules in JSON, keyed by Cedar's own policy ids, which diagnostics report."""
    policies: Mapping[str, dict[str, Any]] = json.loads(_CEDAR.policies_to_json_str(text))
    names = [rule.get("annotations", {}).get("id", uid) for uid, rule in policies["staticPolicies"].items()]
    if len({*names}) < len(names):
        raise ValueError(f"two rules are named {max(names, key=names.count)!r}; rename one of them")
    if policies["templates"]:
        raise ValueError(
            "a template (`?principal`) is no rule until it is linked, which nobody does here; write a rule"
        )
    return policies["staticPolicies"]
