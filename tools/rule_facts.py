"""Facts that rules name, and the tools in their scope that do not state them; called when policies are loaded.

A rule on a fact that nobody states would be passed by in silence, so it is refused at load and denies at the door.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

from tools.facts import BUILT_IN, is_name
from tools.tool_descriptions import ToolDescription

Expression = Mapping[str, Any]
"""A policy or a part of it, in Cedar's JSON form."""
Use = tuple[str, str]
"""A fact that a rule names, and the value that it compares it with; empty if it takes any."""

_ATTRIBUTES = {"amount": "amount", "exposure": "amount", "currency": "amount", "kind": "target"}
"""Attributes of Cedar's context that stem from an option of the tool, and the fact that this option states."""
_EFFECTS = ("read", "write", "destructive")
_OPERANDS = ("left", "right", "arg", "if", "then", "else", "in")
_CONTEXT, _RESOURCE, _ACTION = {"Var": "context"}, {"Var": "resource"}, {"Var": "action"}
_FACTS = {".": {"left": _CONTEXT, "attr": "facts"}}
_READERS = ("contains", "containsAny", "containsAll")
_FORM = 'look at facts by context.facts.contains("name=value"), containsAny or containsAll, with the texts written out'


@dataclass(frozen=True, slots=True)
class FactDemand:
    """One fact that a rule looks at when it is asked about one tool."""

    rule: str
    fact: str
    values: frozenset[str]
    """The only values that there are; empty if it can be anything."""
    problem: str = ""
    """Sentence for the tool's author; empty if the card states the fact."""

    def is_met(self, stated: Mapping[str, str]) -> bool:
        """Return whether a call says what the rule asks; else the rule could be passed by."""
        value = stated.get(self.fact)
        return not self.problem and value is not None and (not self.values or value in self.values)


def stated(facts: Sequence[str], target: str) -> Mapping[str, str]:
    """Return what one call says, by fact; of a fact that is said twice nothing is known."""
    names = [fact.partition("=")[0] for fact in facts]
    values = {name: fact.partition("=")[2] for name, fact in zip(names, facts, strict=True) if names.count(name) == 1}
    kind = target.partition("/")[0]
    # Every call has an amount, if only zero: whether that means anything is a matter of the card.
    return {**values, "amount": ""} | ({"target": kind} if kind not in ("", "none") else {})


def demands(
    rules: Iterable[tuple[str, Expression]], cards: Mapping[str, ToolDescription], unattended: frozenset[str]
) -> Mapping[str, tuple[FactDemand, ...]]:
    """Return what the rules look at, by the name of each tool and of each effect (`@write`), as examples use it.

    Raises ValueError for a rule of which nobody could say what facts it looks at.
    """
    rules = list(rules)
    by_tool = {name: tuple(_of_tool(rules, card, name in unattended)) for name, card in cards.items()}
    return by_tool | {f"@{effect}": tuple(_of_effect(rules, effect, cards)) for effect in _EFFECTS}


def _of_tool(
    rules: Iterable[tuple[str, Expression]], card: ToolDescription, is_unattended: bool
) -> Iterator[FactDemand]:
    action = _Action(card.name, frozenset({card.name, card.effect, "unattended" if is_unattended else card.effect}))
    # A read spends nothing, so it has no amount to state.
    spared = {*card.inapplicable, "amount"} if card.effect == "read" else {*card.inapplicable}
    for rule, fact, values in _named(rules, action, spared):
        yield FactDemand(rule, fact, frozenset(card.facts.get(fact, ())), _problem(card, rule, fact, values))


def _of_effect(
    rules: Iterable[tuple[str, Expression]], effect: str, cards: Mapping[str, ToolDescription]
) -> Iterator[FactDemand]:
    name = f"@{effect}"
    for rule, fact, _ in _named(rules, _Action(name, frozenset({name, effect})), BUILT_IN):
        yield FactDemand(rule, fact, _vocabulary(fact, effect, cards.values()))


def _named(
    rules: Iterable[tuple[str, Expression]], action: "_Action", spared: Set[str]
) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield rule, fact and the values that it is compared with."""
    for rule, policy in rules:
        for fact, pairs in groupby(_uses(rule, policy, action), key=itemgetter(0)):
            if fact not in spared:
                yield rule, fact, frozenset(filter(None, map(itemgetter(1), pairs)))


def _vocabulary(fact: str, effect: str, cards: Iterable[ToolDescription]) -> frozenset[str]:
    """Return the values that tools of an effect list for a fact; empty if one of them takes anything."""
    lists = [card.facts[fact] for card in cards if card.effect == effect and fact in card.facts]
    return frozenset[str]().union(*lists) if all(lists) else frozenset[str]()


def _problem(card: ToolDescription, rule: str, fact: str, values: frozenset[str]) -> str:
    if fact not in card.facts:
        option = {"amount": "amount=lambda args: ...", "target": "target=lambda args: 'kind/name'"}.get(
            fact, f"facts=(Fact({fact!r}, lambda args: ..., ('value', ...)),)"
        )
        return (
            f"rule {rule!r} looks at {fact!r}, of which tool {card.name!r} says nothing: write {option} on its card, "
            f"or inapplicable=({fact!r},) if it has none, or let the rule name the tools that it is about"
        )
    odd = values - {*card.facts[fact]} if card.facts[fact] else frozenset[str]()
    if odd:
        return (
            f"rule {rule!r} compares {fact!r} with {min(odd)!r}, but on tool {card.name!r} it is one of "
            f"{', '.join(card.facts[fact])}: mend the rule, or add the value to the card"
        )
    return ""


@dataclass(frozen=True, slots=True)
class _Action:
    """A tool or effect about which a rule is asked, and what is settled by that alone."""

    name: str
    groups: frozenset[str]

    def value(self, expression: Expression) -> bool | None:
        """Return what an expression comes to whatever the call is, or None if that depends on the call."""
        ((operator, part),) = expression.items()
        if operator == "Value":
            return part if isinstance(part, bool) else None
        if operator == "!":
            inner = self.value(part["arg"])
            return None if inner is None else not inner
        if operator in ("&&", "||"):
            return self._junction(operator == "||", part)
        return self._comparison(operator, part)

    def is_covered(self, scope: Expression) -> bool:
        """Return whether a rule with this scope is about the action."""
        if scope["op"] == "All":
            return True
        ids = {entity["id"] for entity in scope.get("entities") or [scope["entity"]]}
        return self.name in ids if scope["op"] == "==" else bool(ids & self.groups)

    def is_excluded(self, conditions: Iterable[Expression]) -> bool:
        """Return whether a `when` or `unless` of a rule leaves the action out, whatever the call is."""
        return any(self.value(part["body"]) is (part["kind"] != "when") for part in conditions)

    def _junction(self, decisive: bool, part: Expression) -> bool | None:
        sides = [self.value(part[side]) for side in ("left", "right")]
        if decisive in sides:
            return decisive
        return None if None in sides else not decisive

    def _comparison(self, operator: str, part: Any) -> bool | None:
        if operator not in ("==", "!=", "in") or part["left"] != _ACTION:
            return None
        ids = _ids(part["right"])
        if ids is None:
            return None
        return bool(ids & self.groups) if operator == "in" else (self.name in ids) == (operator == "==")


def _ids(expression: Expression) -> frozenset[str] | None:
    """Return the ids of entities that are written out, None if one of them is not."""
    try:
        return frozenset(str(item["Value"]["__entity"]["id"]) for item in expression.get("Set", [expression]))
    except (KeyError, TypeError):
        return None


def _uses(rule: str, policy: Expression, action: _Action) -> list[Use]:
    """Return the facts on which the verdict of a rule about one action can depend, each as often as it is named."""
    if not action.is_covered(policy["action"]) or action.is_excluded(policy["conditions"]):
        return []
    target = [("target", "")] if {"entity", "in"} & policy["resource"].keys() else []
    try:
        return sorted([*target, *_of_conditions(policy["conditions"], action)])
    except ValueError as error:
        raise ValueError(f"rule {rule!r}: {error}") from None


def _of_conditions(conditions: Iterable[Expression], action: _Action) -> Iterator[Use]:
    for part in conditions:
        yield from _walk(part["body"], action)


def _walk(expression: Expression, action: _Action) -> Iterator[Use]:
    """Yield the facts in those parts of a condition that are still open when the action is given."""
    if action.value(expression) is not None:
        return
    ((operator, part),) = expression.items()
    if operator in _READERS and part["left"] == _FACTS:
        yield from map(_fact, _texts(part["right"]))
    elif operator in (".", "has") and part["left"] == _CONTEXT:
        yield from _attribute(part["attr"])
    else:
        yield from _variable(expression)
        for child in _children(operator, part):
            yield from _walk(child, action)


def _attribute(name: str) -> Iterator[Use]:
    if name == "facts":
        raise ValueError(_FORM)
    if name in _ATTRIBUTES:
        yield _ATTRIBUTES[name], ""


def _variable(expression: Expression) -> Iterator[Use]:
    if expression == _CONTEXT:
        raise ValueError(_FORM)
    if expression == _RESOURCE:
        yield "target", ""


def _texts(expression: Expression) -> list[str]:
    texts: list[object] = [item.get("Value") for item in expression.get("Set", [expression])]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(_FORM)
    return cast(list[str], texts)


def _fact(text: str) -> Use:
    name, _, value = text.partition("=")
    if not is_name(name) or name in BUILT_IN or not value or value != value.strip():
        raise ValueError(f"{text!r} is no fact; write name=value, without spaces")
    return name, value


def _children(operator: str, part: Any) -> Iterable[Expression]:
    if operator in ("Value", "Var", "Slot"):
        return ()
    if operator == "Record":
        return part.values()
    return cast(list[Expression], part) if isinstance(part, list) else [part[n] for n in _OPERANDS if n in part]
