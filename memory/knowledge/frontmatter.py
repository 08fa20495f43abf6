"""The YAML between two lines `---` at the beginning of a text; read by knowledge items and by runbooks."""

from collections.abc import Iterator
from typing import Any, cast

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event

from memory.errors import Permanent

_DEEPEST = 20
"""Mappings and lists inside each other; what people write stays far below."""


def split(text: str) -> tuple[dict[str, Any], str]:
    """Return front matter and body; a text that does not begin with a line `---` is all body.

    Raises Permanent("bad_request") that says what is wrong, whatever stands there.
    """
    if not text.startswith("---\n"):
        return {}, text
    head, found, body = text[4:].partition("\n---\n")
    if not found:
        raise Permanent("bad_request", "the front matter must be closed by a line ---")
    try:
        _check(head)
        front = yaml.safe_load(head)
    except yaml.YAMLError as error:
        raise Permanent("bad_request", f"the front matter is no valid YAML: {error}") from None
    except ValueError as error:
        raise Permanent("bad_request", f"the front matter holds a date or number that is none: {error}") from None
    if not isinstance(front, dict):
        raise Permanent("bad_request", "the front matter must be a mapping of names to values")
    return cast("dict[str, Any]", front), body


def _check(head: str) -> None:
    """Refuse what takes more to read than to write: a few references can stand for millions of values."""
    depth = 0
    parsed: object = yaml.parse(head, yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # loose stubs
    for event in cast("Iterator[Event]", parsed):
        if isinstance(event, AliasEvent):
            raise Permanent("bad_request", f"the front matter refers to *{event.anchor}; write the value out")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise Permanent("bad_request", f"the front matter is nested more than {_DEEPEST} deep; keep it flat")
