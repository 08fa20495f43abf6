"""Whether a literal fits the JSON schema of a tool's argument: the part of the standard that pydantic models use.

Called by plan validation; the tool's own model remains the judge when the step runs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tools.action import Json

Schema = Mapping[str, Any]
Check = Callable[[Any, Any], bool]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int,),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (Mapping,),
    "null": (type(None),),
}
_CHECKS: Mapping[str, tuple[Check, str]] = {
    "const": (lambda value, want: value == want, "must be"),
    "enum": (lambda value, want: value in want, "must be one of"),
    "pattern": (lambda value, want: not isinstance(value, str) or bool(re.search(want, value)), "must match"),
    "minimum": (lambda value, want: not isinstance(value, int) or value >= want, "must be at least"),
    "exclusiveMinimum": (lambda value, want: not isinstance(value, int) or value > want, "must be more than"),
    "maximum": (lambda value, want: not isinstance(value, int) or value <= want, "must be at most"),
    "minLength": (lambda value, want: not isinstance(value, str) or len(value) >= want, "must be at least as long as"),
    "maxLength": (lambda value, want: not isinstance(value, str) or len(value) <= want, "must be at most as long as"),
}


def misfit(value: Json, schema: Schema, root: Schema) -> str | None:
    """Return why the value does not fit, as the end of a sentence, or None if it fits."""
    schema = resolved(schema, root)
    options: Sequence[Schema] = schema.get("anyOf", ())
    if options and all(misfit(value, option, root) for option in options):
        return misfit(value, options[0], root)
    if not _has_type(value, schema.get("type")):
        return f"is {value!r}, which is no {schema['type']}"
    for word, (fits, says) in _CHECKS.items():
        if word in schema and not fits(value, schema[word]):
            return f"is {value!r}, which {says} {schema[word]!r}"
    return _inside(value, schema, root)


def part_of(schema: Schema, root: Schema) -> bool:
    """Return True if the argument takes a part of a large result, by handle."""
    return "handle" in resolved(schema, root).get("properties", {})


def resolved(schema: Schema, root: Schema) -> Schema:
    """Return the schema that a `$ref` stands for, or the schema itself."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    return root.get("$defs", {}).get(name, {}) if name else schema


def _has_type(value: Json, name: str | None) -> bool:
    if name is None:
        return True
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES.get(name, (object,)))


def _inside(value: Json, schema: Schema, root: Schema) -> str | None:
    inner: Schema | bool | None
    if isinstance(value, Mapping):
        missing = sorted(set(schema.get("required", ())) - value.keys())
        if missing:
            return f"lacks {missing[0]!r}"
        inner, items = schema.get("additionalProperties"), list(value.values())
    else:
        inner, items = schema.get("items"), list(value) if isinstance(value, list | tuple) else []
    if inner is None or isinstance(inner, bool):
        return None
    return next(filter(None, (misfit(item, inner, root) for item in items)), None)
