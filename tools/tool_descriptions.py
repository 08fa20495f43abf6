"""Descriptions of tools for policies: all that a verdict can rest on besides rules and facts, as one text by hash.

Policies judge by it in a process and, years later, by its text alone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from tools.action import Effect, canonical, digest

_FIELDS = {"effect", "facts", "inapplicable", "schema"}
_EFFECTS = ("read", "write", "destructive")


class ToolDescription(Protocol):
    """What policies know of a tool; a card of the catalogue has it, and so has a kept text."""

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def effect(self) -> Effect:
        """Return what it does to the world."""
        ...

    @property
    def facts(self) -> Mapping[str, tuple[str, ...]]:
        """Return the facts that it states, each with the values that there are."""
        ...

    @property
    def inapplicable(self) -> tuple[str, ...]:
        """Return the facts of which it says that it has none."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """Return the schema of its arguments."""
        ...


@dataclass(frozen=True, slots=True)
class KeptDescription:
    """The description of one tool, read from a kept text."""

    name: str
    effect: Effect
    facts: Mapping[str, tuple[str, ...]]
    inapplicable: tuple[str, ...]
    schema: Mapping[str, Any]
    schema_hash: str
    """Hash of the argument schema, by which entries name it."""


@dataclass(frozen=True, slots=True)
class ToolDescriptions:
    """The descriptions of all tools of an installation, and the currency that it accounts in."""

    tools: Mapping[str, KeptDescription]
    accounting: str


def text_of(tools: Mapping[str, ToolDescription], accounting: str) -> str:
    """Return the one text that describes these tools."""
    descriptions = {
        name: {
            "effect": tool.effect,
            "facts": {fact: list(values) for fact, values in tool.facts.items()},
            "inapplicable": list(tool.inapplicable),
            "schema": dict(tool.schema),
        }
        for name, tool in tools.items()
    }
    return canonical({"accounting": accounting, "tools": descriptions})


def hash_of(text: str) -> str:
    """Return the hash by which entries name a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(text: str) -> ToolDescriptions:
    """Return what a text describes; raises ValueError for one that no release like this one wrote."""
    try:
        value = json.loads(text)
        tools = {name: _description(name, fields) for name, fields in value["tools"].items()}
        descriptions = ToolDescriptions(tools, value["accounting"])
        is_ours = text_of(tools, descriptions.accounting) == text
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it describes no tools: {type(error).__name__}") from None
    if not is_ours or not isinstance(cast(object, descriptions.accounting), str):
        raise ValueError("it describes tools in another way than this release does")
    return descriptions


def _description(name: str, fields: Mapping[str, Any]) -> KeptDescription:
    if {*fields} != _FIELDS or fields["effect"] not in _EFFECTS:
        raise ValueError(f"the description of tool {name!r} has another form")
    facts = {fact: _texts(values) for fact, values in fields["facts"].items()}
    inapplicable, schema = _texts(fields["inapplicable"]), fields["schema"]
    return KeptDescription(name, fields["effect"], facts, inapplicable, schema, digest(schema))


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in cast(list[object], values)):
        raise ValueError("it describes a list of texts in another form")
    return tuple(cast(list[str], values))
