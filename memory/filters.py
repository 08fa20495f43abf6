"""Whether a JSON value fits a filter of LangGraph's `search`; called by the store adapter alone.

Values compare as what they are: numbers with numbers, texts with texts; what cannot be compared does not fit.
"""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any, cast

from memory.errors import Permanent

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether every key of the filter fits; raises Permanent("bad_request") for an unknown operator."""
    return all(_fits(value.get(key), condition) for key, condition in wanted.items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        conditions = cast("Mapping[str, Any]", wanted)
        if any(name.startswith("$") for name in conditions):
            return all(_holds(value, name, operand) for name, operand in conditions.items())
        return isinstance(value, Mapping) and matches(cast("Mapping[str, Any]", value), conditions)
    if isinstance(wanted, list | tuple):
        there = cast("list[Any]", value) if isinstance(value, list) else None
        items = list(cast("list[Any]", wanted))
        return there is not None and len(there) == len(items) and all(map(_fits, there, items))
    return _equal(value, wanted)


def _holds(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return _equal(value, operand)
    if operator == "$ne":
        return not _equal(value, operand)
    if operator not in _ORDER:
        known = ", ".join(("$eq", "$ne", *_ORDER))
        raise Permanent("bad_request", f"no filter operator {operator!r}; use one of {known}")
    return _kind(value) == _kind(operand) != "other" and _ORDER[operator](value, operand)


def _equal(value: Any, wanted: Any) -> bool:
    """Compare whole values; in JSON true is no number, though Python says 1 == True, and a tuple is a list."""
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        there, other = cast("Mapping[str, Any]", value), cast("Mapping[str, Any]", wanted)
        return there.keys() == other.keys() and all(_equal(there[key], other[key]) for key in there)
    if isinstance(value, list | tuple) and isinstance(wanted, list | tuple):
        items, others = list(cast("list[Any]", value)), list(cast("list[Any]", wanted))
        return len(items) == len(others) and all(map(_equal, items, others))
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "other"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "other"
