"""Closed sets of codes and states that SQL answers with, checked at the border; called by the modules that call SQL."""

from collections.abc import Sequence
from typing import TypeVar

from memory.errors import Permanent

Member = TypeVar("Member", bound=str)


def member(members: Sequence[Member], value: object, source: str) -> Member:
    """Return a value of SQL as the member that it equals; raises Permanent("internal") if there is none.

    `members` are the arguments of a `Literal`, so that the type checker knows every value that may follow.
    """
    for candidate in members:
        if candidate == value:
            return candidate
    raise Permanent("internal", f"SQL {source!r} answered {value!r}; add it to the closed type of {source!r}")
