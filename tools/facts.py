"""Facts of an action that policies may look at: how a tool states them, and the values that they can have.

A tool declares them, admission computes them, and the rules in force are compared with them when policies are loaded.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tools.action import Json

BUILT_IN = frozenset({"amount", "target"})
"""Facts that a tool states by options of their own."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact about a call: its name, how it follows from the arguments, and what it can be."""

    name: str
    of: Callable[[Any], Json]
    """Returns the value for these arguments; None says that it is not known, and rules on it then deny."""
    values: tuple[str, ...] = ()
    """The only values there are, in lower case; empty for ids and names, which stay exactly as they are."""

    def __post_init__(self) -> None:
        """Refuse a declaration that rules could not rely on."""
        if not is_name(self.name):
            raise TypeError(f"fact {self.name!r}: name it in lower case, with underscores between words")
        if self.name in BUILT_IN:
            raise TypeError(f"fact {self.name!r} is stated by the tool's own option `{self.name}`")
        if not _are_normal(self.values):
            raise TypeError(f"fact {self.name!r}: list its values in lower case and without space around them")

    def value(self, arguments: object) -> str | None:
        """Return the fact as rules compare it, None if it is not known; raises ValueError for a value it cannot have.

        Other spellings of the values listed are normalised; ids and names are not touched.
        """
        text = _text(self.of(arguments))
        if text is None or not text.strip():
            return None
        if not self.values:
            return text
        if _normal(text) not in self.values:
            raise ValueError(f"{self.name} is {text!r}; it can be {', '.join(self.values)}")
        return _normal(text)


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a fact."""
    return _NAME.fullmatch(text) is not None


def state(facts: Sequence[Fact], arguments: object) -> tuple[str, ...]:
    """Return the facts of one call as policies get them, `name=value`; what is not known is left out."""
    values = {fact.name: fact.value(arguments) for fact in facts}
    return tuple(sorted(f"{name}={value}" for name, value in values.items() if value is not None))


def check(tool: str, facts: object, inapplicable: object, built_in: Iterable[str]) -> None:
    """Raise TypeError, naming the tool, for declarations that are none or that contradict each other.

    `built_in` are those that the tool states by options of their own.
    """
    if not _are_all(Fact, facts):
        form = "facts=(Fact('environment', lambda args: ..., ('prod', 'staging')),)"
        raise TypeError(f"tool {tool!r}: state its facts as {form}")
    if not _are_all(str, inapplicable):
        raise TypeError(f"tool {tool!r}: say what does not apply as inapplicable=('environment',)")
    stated = [*(fact.name for fact in cast(tuple[Fact, ...], facts)), *cast(tuple[str, ...], inapplicable), *built_in]
    if len({*stated}) < len(stated):
        raise TypeError(f"tool {tool!r} says twice what there is about {max(stated, key=stated.count)!r}; leave one")


def _are_all(kind: type, value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, kind) for item in cast(tuple[object, ...], value))


def declared(facts: Sequence[Fact], built_in: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return what a tool states, by name with the values that there are, as its card shows it."""
    return {**{fact.name: fact.values for fact in facts}, **dict.fromkeys(built_in, ())}


def _text(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"a fact is a text, a number or a flag, not {value!r}")


def _are_normal(values: object) -> bool:
    return _are_all(str, values) and all(value and value == _normal(value) for value in cast(tuple[str, ...], values))


def _normal(text: str) -> str:
    return text.strip().casefold()
