"""YAML front matter: what stands between two lines `---` at the beginning of a text; read by knowledge and runbooks."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event
from yaml.nodes import MappingNode, Node, SequenceNode

from memory.errors import Permanent

_OPENING, _CLOSING = re.compile(r"---[ \t]*\n"), re.compile(r"\n---[ \t]*\n")
_MERGE = "tag:yaml.org,2002:merge"
_READER = yaml.SafeLoader("")
_DEPTH_LIMIT = 20
"""Levels of nested mappings and lists; what people write stays far below."""


def split(text: str) -> tuple[dict[str, Any], str]:
    """Return front matter and body; a text that does not begin with a line `---` is all body.

    Files of other systems are read too: a byte order mark, their ends of lines and space after `---` do not count.
    Raises Permanent("bad_request") for front matter that is not closed, no YAML, no mapping, too large to read, or that
    names one thing twice.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    opening = _OPENING.match(text)
    if opening is None:
        return {}, text
    closing = _CLOSING.search(text, opening.end() - 1)
    if closing is None:
        raise Permanent("bad_request", "the front matter must be closed by a line ---")
    head, body = text[opening.end() : closing.start()], text[closing.end() :]
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
    """Refuse references and deep nesting before loading: a few references can stand for millions of values."""
    depth = 0
    events: object = yaml.parse(head, yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # loose stubs
    for event in cast("Iterator[Event]", events):
        if isinstance(event, AliasEvent):
            raise Permanent("bad_request", f"the front matter refers to *{event.anchor}; write the value out")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > _DEPTH_LIMIT:
            raise Permanent("bad_request", f"the front matter is nested more than {_DEPTH_LIMIT} deep; keep it flat")
    root: object = yaml.compose(head, yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # loose stubs
    _refuse_repetition(cast("Node | None", root))


def _refuse_repetition(node: Node | None) -> None:
    """Refuse a key that a mapping has twice: YAML would take the last one and say nothing."""
    # Compared as they are read: `yes` and `true` are one key, and so are `1` and `0x1`.
    keys: list[object] = []
    for key, value in node.value if isinstance(node, MappingNode) else ():
        line = key.start_mark.line + 2
        if key.tag == _MERGE:
            raise Permanent("bad_request", f"the front matter merges with `<<` in line {line}; write the values out")
        name = _name(key)
        if name in keys:
            message = f"the front matter names {str(key.value)!r} a second time, in line {line}; leave one"
            raise Permanent("bad_request", message)
        keys.append(name)
        _refuse_repetition(value)
    for item in node.value if isinstance(node, SequenceNode) else ():
        _refuse_repetition(item)


def _name(key: Node) -> object:
    read = cast("Callable[..., object]", _READER.construct_object)  # pyright: ignore[reportUnknownMemberType]  # loose stubs
    return read(key, deep=True)
