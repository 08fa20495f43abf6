"""Slots of runbooks: inputs from the requester's own words, a probe, or configuration; never anyone else's text.

Called by runbooks and by candidates when a plan is made. Extractors are a closed list, one per type.
"""

import re
from collections.abc import Mapping
from typing import Literal, cast

from pydantic import Field, model_validator

from graphs.planning.plan import Expression, Part
from memory.errors import Permanent
from tools import cel
from tools.action import Json

SlotType = Literal["text", "integer", "charge", "email", "amount", "person", "customer"]
"""A `customer` is named by a charge id, an e-mail address or a full name, in this order of preference."""
SlotValue = bool | int | str

_PERSON = r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+){1,2}"
_NUMBER = r"(\d{1,9})(?:[.,](\d{2}))?"
_IN_TEXT: Mapping[SlotType, re.Pattern[str]] = {
    "text": re.compile(r"[\"“]([^\"”\n]{1,200})[\"”]"),
    "integer": re.compile(r"(?<![\w.,-])(\d{1,9})(?![\w.,-]*\w)"),
    "charge": re.compile(r"\b(ch_[a-z0-9]{6,32})\b"),
    "email": re.compile(r"(?<![\w.+-])([\w.+-]+@[\w-]+(?:\.[\w-]+)+)"),
    "amount": re.compile(rf"(?:EUR|€)\s?{_NUMBER}(?!\d)|(?<!\d){_NUMBER}\s?(?:EUR\b|€)"),
    "person": re.compile(rf"(?:[Cc]ustomers?|[Cc]lient|[Nn]amed|[Ff]or|[Oo]f|[Ff]rom|[Tt]o)\s+({_PERSON})"),
}
_WHOLE: Mapping[SlotType, re.Pattern[str]] = {
    "text": re.compile(r"[^\n\x00]{1,200}"),
    "charge": re.compile(r"ch_[a-z0-9]{6,32}"),
    "email": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "person": re.compile(r"[\w'’. -]{2,80}"),
}
_CUSTOMER: tuple[SlotType, ...] = ("charge", "email", "person")
EXAMPLES: Mapping[SlotType, SlotValue] = {
    "text": "text",
    "integer": 1,
    "charge": "ch_000000000000",
    "email": "someone@example.com",
    "amount": 100,
    "person": "Some One",
    "customer": "someone@example.com",
}
"""A value per type, with which a runbook is tried before any request exists."""


class Slot(Part):
    """One input of a runbook: its type and the only place it may come from."""

    type: SlotType
    source: Literal["request", "probe", "config"] = Field(alias="from")
    value: Expression | None = None
    """CEL over the probe's `result`."""
    default: SlotValue | None = None
    ask: str = ""
    """The question for people when the request does not say."""

    @model_validator(mode="after")
    def _source_is_complete(self) -> "Slot":
        if (self.source == "probe") != (self.value is not None):
            raise ValueError("a slot from the probe, and no other, has a value over its result")
        if self.source == "config" and self.default is None:
            raise ValueError("a slot from configuration carries its default")
        if self.default is not None and not fits(self.type, self.default):
            raise ValueError(f"default {self.default!r} is no {self.type}")
        return self


def fits(type: SlotType, value: Json) -> bool:
    """Return True if the value is one of this type; amounts are minor units."""
    if type in ("integer", "amount"):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if type == "customer":
        return any(fits(type, value) for type in _CUSTOMER)
    return isinstance(value, str) and _WHOLE[type].fullmatch(value) is not None


def extract(type: SlotType, request: str) -> SlotValue | None:
    """Return the one value of this type that the request names; None if it names none or several different ones."""
    if type == "customer":
        return next(filter(None, (extract(type, request) for type in _CUSTOMER)), None)
    values = {_value(type, match) for match in _IN_TEXT[type].finditer(request)}
    return values.pop() if len(values) == 1 else None


def words(request: str) -> str:
    """Return the request without ids, addresses and amounts, which resemble no runbook."""
    for type in ("charge", "email", "amount"):
        request = _IN_TEXT[type].sub(" ", request)
    return request


def bind(
    slots: Mapping[str, Slot], request: str, inputs: Mapping[str, Json], probe: Mapping[str, Json] | None
) -> dict[str, SlotValue]:
    """Return a value for each slot that has one; what is missing is missing.

    `inputs` are what the authenticated requester sent beside the message; they fill slots from the request only, and
    none of them is passed over: raises Permanent `plan_invalid` naming one that does not fit.
    """
    if problems := misfits(slots, inputs):
        raise Permanent("plan_invalid", "; ".join(problems))
    values = {name: _fill(name, slot, request, inputs, probe or {}) for name, slot in slots.items()}
    return {name: value for name, value in values.items() if value is not None}


def misfits(slots: Mapping[str, Slot], inputs: Mapping[str, Json]) -> list[str]:
    """Return a sentence for each input that no slot takes from a request, or that has another type."""
    names = ", ".join(name for name, slot in slots.items() if slot.source == "request") or "none"
    problems = ((name, _misfit(name, value, slots.get(name), names)) for name, value in inputs.items())
    return [f"inputs.{name}: {problem}" for name, problem in problems if problem]


def _misfit(name: str, value: Json, slot: Slot | None, names: str) -> str:
    if slot is None:
        return f"the runbook takes no such input; it takes {names}"
    if slot.source != "request":
        return f"the runbook sets {name!r} by its {slot.source}; it takes {names}"
    return "" if fits(slot.type, value) else f"{value!r} is no {slot.type}"


def _fill(
    name: str, slot: Slot, request: str, inputs: Mapping[str, Json], probe: Mapping[str, Json]
) -> SlotValue | None:
    if slot.source == "config":
        return slot.default
    if slot.source == "probe":
        value = compile_value(slot).value({"result": probe})
    else:
        value = inputs[name] if name in inputs else extract(slot.type, request)
    return cast(SlotValue, value) if fits(slot.type, value) else slot.default


def compile_value(slot: Slot) -> cel.CompiledExpression:
    """Return the compiled value of a slot from the probe; raises Permanent `plan_invalid`."""
    return cel.compile(slot.value or "null", {"result": "any"}, "any")


def _value(type: SlotType, match: re.Match[str]) -> SlotValue:
    groups = [group for group in match.groups() if group is not None]
    if type == "amount":
        return int(groups[0]) * 100 + (int(groups[1]) if len(groups) > 1 else 0)
    return int(groups[0]) if type == "integer" else groups[0]
