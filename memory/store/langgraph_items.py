"""Items of LangGraph's store as memories: paths, values and filters, checked; used by `langgraph_store` alone.

A path is a namespace and a key. As text it is a JSON list, which is the key of the memory that holds the item.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from math import isfinite
from operator import ge, gt, le, lt
from typing import Any, Literal, cast, get_args

from langgraph.store.base import MatchCondition, PutOp

from memory.errors import Permanent
from memory.scope import Scope, ScopeKind, Trust
from memory.store.models import Note, Provenance

Namespace = tuple[str, ...]

_LEVELS = 64
"""Most levels of a nested value."""
_TTL_LIMIT = timedelta(days=36_525)


def scope(path: Namespace) -> Scope | None:
    """Return the scope that a path names by its first two labels, or None."""
    if len(path) < 2 or not path[1] or path[0] not in get_args(ScopeKind):
        return None
    return Scope.parse(f"{path[0]}:{path[1]}")


def text(path: Namespace) -> str:
    """Return a path as the key of a memory; raises Permanent("bad_request") for labels that are no text."""
    return require_text(json.dumps(path, ensure_ascii=False, separators=(",", ":")))


def prefix(namespace: Namespace) -> str:
    """Return the common beginning of the keys of all items in and below a namespace."""
    return f"{text(namespace)[:-1]}," if namespace else '["'


def require_text(words: str) -> str:
    """Return the text itself; raises Permanent("bad_request") for unpaired surrogates, which cannot be stored."""
    try:
        words.encode()
    except UnicodeEncodeError as error:
        raise Permanent("bad_request", f"{words[:80]!r} is no text: {error.reason}; send whole characters") from error
    return words


def note(op: PutOp, trust: Trust) -> Note:
    """Return an item as a note; raises Permanent("bad_request") for what a memory cannot store."""
    path = (*op.namespace, op.key)
    if not isinstance(cast(Any, op.key), str):
        raise Permanent("bad_request", f"the key {op.key!r} of {op.namespace!r} is no text; make it one")
    facts: dict[str, Any] = {} if _is_searchable(path, op.index) else {"index": False}
    life = None if op.ttl is None else _life(op.ttl)
    if life is not None:
        facts["ttl"] = life.total_seconds()
    return Note(_json(path, op.value), trust, Provenance(facts=facts), key=text(path), ttl=life)


def meets(conditions: Iterable[MatchCondition], space: Namespace) -> bool:
    """Return whether a namespace meets all conditions on its beginning and end."""
    return all(_meets(condition, space) for condition in conditions)


def _meets(condition: MatchCondition, space: Namespace) -> bool:
    path = condition.path
    if len(path) > len(space):
        return False
    part = space[: len(path)] if condition.match_type == "prefix" else space[len(space) - len(path) :]
    return all(label_pattern in ("*", label) for label_pattern, label in zip(path, part, strict=True))


def _life(minutes: float) -> timedelta:
    if not isfinite(minutes) or not 0 < minutes <= _TTL_LIMIT.total_seconds() / 60:
        raise Permanent("bad_request", f"a ttl of {minutes!r} minutes; use more than 0 and at most a century")
    return timedelta(minutes=minutes)


def _json(path: Namespace, value: Any) -> str:
    if not isinstance(value, Mapping):
        raise Permanent("bad_request", f"the value of {path!r} is no mapping; wrap it in one: {{'value': ...}}")
    try:
        if _is_deep(cast(object, value), _LEVELS):
            raise Permanent("bad_request", f"the value of {path!r} is nested deeper than {_LEVELS} levels; flatten it")
        return require_text(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Permanent("bad_request", f"the value of {path!r} is no JSON: {error}") from error


def _is_deep(value: object, levels: int) -> bool:
    if isinstance(value, Mapping):
        inner = list(cast(Mapping[object, object], value).values())
    elif isinstance(value, list | tuple):
        inner = list(cast(list[object], value))
    else:
        return False
    return levels == 0 or any(_is_deep(item, levels - 1) for item in inner)


def _is_searchable(path: Namespace, index: Literal[False] | list[str] | None) -> bool:
    if index is False or index is None or index == ["$"]:
        return index is not False
    raise Permanent("bad_request", f"{path!r} cannot be found by {index!r} alone; leave index out, or pass False")


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


def matches(value: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Return whether a value meets every condition; raises Permanent("bad_request") for an unknown operator."""
    return all(_fits(value.get(key), condition) for key, condition in filters.items())


def _fits(value: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping):
        conditions = cast("Mapping[str, Any]", condition)
        if any(name.startswith("$") for name in conditions):
            return all(_is_true(value, name, operand) for name, operand in conditions.items())
        return isinstance(value, Mapping) and matches(cast("Mapping[str, Any]", value), conditions)
    if isinstance(condition, list | tuple):
        values = cast("list[Any]", value) if isinstance(value, list) else None
        items = list(cast("list[Any]", condition))
        return values is not None and len(values) == len(items) and all(map(_fits, values, items))
    return _is_equal(value, condition)


def _is_true(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return _is_equal(value, operand)
    if operator == "$ne":
        return not _is_equal(value, operand)
    if operator not in _ORDER:
        operators = ", ".join(("$eq", "$ne", *_ORDER))
        raise Permanent("bad_request", f"no filter operator {operator!r}; use one of {operators}")
    return _value_type(value) == _value_type(operand) != "other" and _ORDER[operator](value, operand)


def _is_equal(value: Any, operand: Any) -> bool:
    """Compare values as JSON does: true is no number, though 1 == True in Python, and a tuple is a list."""
    if isinstance(value, Mapping) and isinstance(operand, Mapping):
        mapping, operand_mapping = cast("Mapping[str, Any]", value), cast("Mapping[str, Any]", operand)
        return mapping.keys() == operand_mapping.keys() and all(
            _is_equal(mapping[key], operand_mapping[key]) for key in mapping
        )
    if isinstance(value, list | tuple) and isinstance(operand, list | tuple):
        items, operands = list(cast("list[Any]", value)), list(cast("list[Any]", operand))
        return len(items) == len(operands) and all(map(_is_equal, items, operands))
    return isinstance(value, bool) == isinstance(operand, bool) and value == operand


def _value_type(value: Any) -> str:
    if isinstance(value, bool):
        return "other"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "other"
