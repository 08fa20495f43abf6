"""Slots of runbooks: inputs from the requester's own words, a probe, or configuration; never anyone else's text.

Called by runbooks and by candidates when a plan is made. Extractors are a closed list, one per type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import Field, model_validator

from graphs.planning import amounts
from graphs.planning.plan import Expression, Part
from memory.errors import Permanent
from tools import cel
from tools.action import Json
from tools.money import DEFAULT, CurrencyCode

SlotType = Literal["text", "integer", "charge", "email", "amount", "person", "customer"]
"""A `customer` is named by a charge id, an e-mail address or a full name, in this order of preference."""
SlotValue = bool | int | str

_PERSON = r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+){1,2}"
_IN_TEXT: Mapping[SlotType, re.Pattern[str]] = {
    "text": re.compile(r"[\"“]([^\"”\n]{1,200})[\"”]"),
    "integer": re.compile(r"(?<![\w.,-])(\d{1,9})(?![\w.,-]*\w)"),
    "charge": re.compile(r"\b(ch_[a-z0-9]{6,32})\b"),
    "email": re.compile(r"(?<![\w.+-])([\w.+-]+@[\w-]+(?:\.[\w-]+)+)"),
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
    currency: CurrencyCode | None = None
    """Of an amount from the request: what it must be in; unset is the currency of the accounts."""
    decimals: amounts.DecimalMark | None = None
    """Of an amount from the request: the mark before its decimals; unset reads what is clear either way."""

    @model_validator(mode="after")
    def _source_is_complete(self) -> "Slot":
        if (self.source == "probe") != (self.value is not None):
            raise ValueError("a slot from the probe, and no other, has a value over its result")
        if self.source == "config" and self.default is None:
            raise ValueError("a slot from configuration carries its default")
        if self.default is not None and not fits(self.type, self.default):
            raise ValueError(f"default {self.default!r} is no {self.type}")
        return self

    @model_validator(mode="after")
    def _words_are_of_an_amount(self) -> "Slot":
        if (self.currency or self.decimals) and (self.type, self.source) != ("amount", "request"):
            raise ValueError("only an amount from the request has a currency or a mark before its decimals")
        return self


def fits(type: SlotType, value: Json) -> bool:
    """Return True if the value is one of this type; amounts are minor units."""
    if type in ("integer", "amount"):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if type == "customer":
        return any(fits(type, value) for type in _CUSTOMER)
    return isinstance(value, str) and _WHOLE[type].fullmatch(value) is not None


def extract(
    type: SlotType, request: str, *, currency: str | None = DEFAULT, mark: amounts.DecimalMark | None = None
) -> SlotValue | None:
    """Return the one value of this type that the request names; None if it names none or several different ones.

    An amount is read in a currency, or with None in whichever is the only one named.
    """
    if type == "amount":
        return amounts.read(request, currency, mark)
    if type == "customer":
        return next(filter(None, (extract(type, request) for type in _CUSTOMER)), None)
    texts: set[str] = {match[1] for match in _IN_TEXT[type].finditer(request)}
    values = {int(text) if type == "integer" else text for text in texts}
    return values.pop() if len(values) == 1 else None


def words(request: str) -> str:
    """Return the request without ids, addresses and amounts, which resemble no runbook."""
    for type in ("charge", "email"):
        request = _IN_TEXT[type].sub(" ", request)
    return amounts.remove(request)


@dataclass(frozen=True, slots=True)
class Words:
    """The requester's own words, and how amounts in them are to be read."""

    request: str
    amount_answer: str = ""
    """The answer to a question for an amount, which stands before all that was said."""
    accounting: str | None = DEFAULT
    """Currency of amounts whose slot names none; None if any will do."""

    def read(self, type: SlotType, slot: Slot | None = None) -> SlotValue | None:
        """Return the one value of this type that the words name, or None."""
        if type != "amount":
            return extract(type, self.request)
        currency, mark = (slot.currency or self.accounting, slot.decimals) if slot else (self.accounting, None)
        return extract(type, self.amounts, currency=currency, mark=mark)

    @property
    def amounts(self) -> str:
        """The words in which amounts are looked for."""
        return self.amount_answer if amounts.is_named(self.amount_answer) else self.request


def bind(
    slots: Mapping[str, Slot], words: Words | str, inputs: Mapping[str, Json], probe: Mapping[str, Json] | None
) -> dict[str, SlotValue]:
    """Return a value for each slot that has one; what is missing is missing.

    `inputs` are what the authenticated requester sent beside the message; they fill slots from the request only, and
    none of them is passed over: raises Permanent `plan_invalid` naming one that does not fit.
    """
    if problems := misfits(slots, inputs):
        raise Permanent("plan_invalid", "; ".join(problems))
    words = Words(words) if isinstance(words, str) else words
    values = {name: _fill(slot, inputs.get(name), words, probe or {}) for name, slot in slots.items()}
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


def _fill(slot: Slot, given: Json, words: Words, probe: Mapping[str, Json]) -> SlotValue | None:
    if slot.source == "config":
        return slot.default
    if slot.source == "probe":
        return _fit(slot, compile_value(slot).value({"result": probe}))
    return _read(slot, words) if given is None else _fit(slot, given)


def _read(slot: Slot, words: Words) -> SlotValue | None:
    """Return what the requester says; the default only if they say nothing of an amount, not if it is unclear."""
    value = words.read(slot.type, slot)
    if value is None and slot.type == "amount" and amounts.is_named(words.amounts):
        return None
    return _fit(slot, value)


def _fit(slot: Slot, value: Json) -> SlotValue | None:
    return cast(SlotValue, value) if fits(slot.type, value) else slot.default


def compile_value(slot: Slot) -> cel.CompiledExpression:
    """Return the compiled value of a slot from the probe; raises Permanent `plan_invalid`."""
    return cel.compile(slot.value or "null", {"result": "any"}, "any")
