"""Answers of tools as they may be recorded: text that any journal takes, results that are small exact objects.

The gateway settles with them, so that no answer of any shape, depth or size can keep an effect from being settled.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from tools.action import Json, canonical, has_long_number
from tools.resilience import Attempt

_LARGEST_RESULT = 8_000
"""Bytes of a result in canonical JSON."""


def plain(text: str) -> str:
    """Return text that can be recorded, whatever a service or a model put into it."""
    return text[:500].replace("\0", "").encode(errors="replace").decode()


def is_small(value: object, largest: int = _LARGEST_RESULT) -> bool:
    """Return whether a value is an exact JSON object of at most `largest` bytes.

    Floats, NULs and integers beyond 64 bits are not exact for all who read it.
    """
    try:
        text = canonical(cast(Json, value)) if isinstance(value, Mapping) else ""
        if not text or len(text.encode()) > largest:
            return False
        return "\\u0000" not in text and not has_long_number(cast(object, value))
    except (TypeError, ValueError, RecursionError):
        return False


def small(attempt: Attempt) -> Attempt:
    """Keep what a tool answered out of journals and prompts if it is not a small, exact JSON object."""
    message = "the tool's answer was too large, too deep or no exact object; dropped"
    return attempt if is_small(attempt.result) else replace(attempt, result={}, message=message)
