"""JSON Schema fit of a literal to a tool's argument; called by plan validation.

The tool's own model remains the judge when the step runs.
"""

from collections.abc import Mapping
from typing import Any

import jsonschema

from tools.action import Json

Schema = Mapping[str, Any]

# The library leaves its types open; only the message of an error is taken from it.
_LIBRARY: Any = jsonschema


def misfit(value: Json, schema: Schema, root: Schema) -> str | None:
    """Return why the value does not fit, as a clause, or None if it fits; `root` holds the definitions."""
    errors = _LIBRARY.Draft202012Validator(root).evolve(schema=schema).iter_errors(value)
    error = _LIBRARY.exceptions.best_match(errors)
    if error is None:
        return None
    # Of a union the first option says what is wanted; the others are mostly null.
    return str(error.context[0].message if error.context else error.message)


def part_of(schema: Schema, root: Schema) -> bool:
    """Return whether the argument takes a part of a large result, by handle."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    definition: Schema = root.get("$defs", {}).get(name, {}) if name else schema
    return "handle" in definition.get("properties", {})
