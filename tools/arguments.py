"""Validation of a tool's arguments by its own model: the same one at intake, for edits, and when the step runs.

Called by plan validation, by the API and by admission; strict, since a text is no number, whatever it looks like.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from tools.action import Json


def parse(model: type[BaseModel], args: Mapping[str, Json]) -> BaseModel:
    """Return the arguments as their model holds them; raises ValidationError, TypeError or ValueError."""
    # As JSON, so that what has no form of its own there (days, ids) is read from text, and nothing else is converted.
    return model.model_validate_json(json.dumps(dict(args)), strict=True)


def problems(model: type[BaseModel], args: Mapping[str, Json], later: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return what is wrong with the arguments, as pairs of a place and a sentence; none are accepted by `parse`.

    Those in `later` are not known yet, so that nothing is said about them, nor about arguments as a whole.
    """
    try:
        parse(model, args)
    except ValidationError as error:
        return list(_sentences(error, later))
    # Checks of an author may stumble over what is not known yet.
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        return [] if later else [("", str(error))]
    return []


def part_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Return whether an argument with this schema takes a part of a large result, by handle."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    definition: Mapping[str, Any] = root.get("$defs", {}).get(name, {}) if name else schema
    return "handle" in definition.get("properties", {})


def _sentences(error: ValidationError, later: Collection[str]) -> Iterator[tuple[str, str]]:
    for item in error.errors(include_url=False, include_context=False):
        if not _is_open(item["loc"], later):
            yield ".".join(map(str, item["loc"])), _sentence(item["msg"], item["input"])


def _is_open(place: Sequence[int | str], later: Collection[str]) -> bool:
    """Return whether an error is about what is not known yet, or about all arguments before all are known."""
    return bool(later) and (not place or place[0] in later)


def _sentence(message: str, value: object) -> str:
    shown = repr(value) if isinstance(value, bool | int | float | str) else ""
    text = message.removeprefix("Value error, ")
    return f"{shown[:100]}: {text}" if shown else text
