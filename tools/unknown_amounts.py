"""Policies as they judge amounts of another currency, of which nobody knows what they come to: the strict side holds.

A rule that names `context.currency` says itself what it means and stays as it is. In every other rule a comparison of
an amount counts as whatever makes the verdict stricter: a prohibition applies, a permission does not.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import cedarpy

from tools.action import Decision

# The binding leaves the types of its dictionaries open; what it cannot read it refuses.
_CEDAR: Any = cedarpy
_AMOUNTS = frozenset({"amount", "exposure"})
_CONTEXT = {"Var": "context"}
_WAYS = {"&&": ("left", "right"), "||": ("left", "right")}

Node = Any
"""A part of a policy as Cedar writes it in JSON."""


class StrictRules:
    """One set of rules as it judges amounts of another currency than that of the accounts."""

    def __init__(self, text: str) -> None:
        """Rewrite the rules; raises ValueError for what Cedar cannot read."""
        rules: dict[str, Any] = json.loads(_CEDAR.policies_to_json_str(text))
        old: dict[str, Any] = rules["staticPolicies"]
        new = {uid: _strict(rule) for uid, rule in old.items()}
        self.policies: Any = _CEDAR.PolicySet.from_json_str(json.dumps({**rules, "staticPolicies": new}))
        self._names = {rule.get("annotations", {}).get("id", uid) for uid, rule in new.items() if rule is not old[uid]}

    def explain(self, denial: Decision, currency: str, accounting: str) -> Decision:
        """Return a denial that says why an amount of another currency did not pass."""
        if currency in ("", accounting) or self._names.isdisjoint(denial.rules):
            return denial
        reason = f"a rule that names no `context.currency` speaks of {accounting}; nobody knows what {currency} come to"
        return replace(denial, message=f"{denial.message}; {reason}")


def _strict(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions: list[Mapping[str, Any]] = rule["conditions"]
    if _mentions(conditions, frozenset({"currency"})) or not _mentions(conditions, _AMOUNTS):
        return rule
    applies = rule["effect"] == "forbid"
    return {**rule, "conditions": [_condition(condition, applies=applies) for condition in conditions]}


def _condition(condition: Mapping[str, Any], *, applies: bool) -> Mapping[str, Any]:
    # `unless` is a `when` that must not hold.
    value = applies if condition["kind"] == "when" else not applies
    return {**condition, "body": _decide(condition["body"], value=value)}


def _decide(node: Node, *, value: bool) -> Node:
    """Return a condition in which every comparison of an amount counts as what leads the whole to this value."""
    if not _mentions(node, _AMOUNTS):
        return node
    (operator, operands), *_ = node.items()
    if operator in _WAYS:
        return {operator: {side: _decide(operands[side], value=value) for side in _WAYS[operator]}}
    if operator == "!":
        return {"!": {"arg": _decide(operands["arg"], value=not value)}}
    # Whatever else an amount stands in is taken as a whole: a comparison, a choice, a record.
    return {"Value": value}


def _mentions(node: Node, attributes: frozenset[str]) -> bool:
    """Return whether a condition reads one of these attributes, or compares the context as a whole."""
    if isinstance(node, list):
        return any(_mentions(item, attributes) for item in cast(list[Node], node))
    if not isinstance(node, Mapping):
        return False
    part = cast(Mapping[str, Any], node)
    access = part.get(".") or part.get("has")
    if access and access["left"] == _CONTEXT:
        return access["attr"] in attributes
    if part == _CONTEXT:
        return attributes == _AMOUNTS
    return any(_mentions(item, attributes) for item in part.values())
