"""JSON that people write and review: a name that stands twice is an error, for whoever reads the first would be wrong.

Used for request bodies, command lines, examples of policies and answers of models.
"""

import json
from typing import Any


class RepeatedName(ValueError):
    """A mapping has one name twice."""


def read(text: str | bytes) -> Any:
    """Return the value of a JSON text; raises RepeatedName naming what stands twice, else ValueError if it is none."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedName(f"{max(names, key=names.count)!r} stands there twice; leave one")
    return values
