"""What a node may be given: one callable per right, and the turn that it takes; types only, nothing here can act.

Factories of nodes name the rights that they take, so that a signature says what its role can do.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphs.execution.binding import Slice
from graphs.planning.plan import Plan
from graphs.state import State, Update
from memory.runs.records import Lease
from memory.store.context import MemoryExcerpt
from tools.action import Action, Json, Outcome


@dataclass(frozen=True, slots=True)
class Invocation:
    """One execution of one node: for which lease, and from which checkpoint; data only."""

    lease: Lease
    checkpoint: str = ""


class Perform(Protocol):
    """The gateway's door."""

    async def __call__(
        self, lease: Lease, action: Action, bundle: Sequence[Action] = (), view: Mapping[str, Json] | None = None
    ) -> Outcome:
        """Perform one action, or say why not."""
        ...


class Cuts(Protocol):
    """Parts of large results, by reference; rows are not readable through it."""

    async def cut(self, part: Slice, start: int, count: int) -> Slice:
        """Return rows of a slice as a slice."""
        ...

    async def cuts(self, part: Slice, start: int, size: int) -> Sequence[Slice]:
        """Return every batch of a slice from `start` on."""
        ...


Node = Callable[[State, Invocation], Awaitable[Update]]
Planner = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
RecallMemories = Callable[[str, str], Awaitable[MemoryExcerpt]]
"""What memory holds for a request and a runbook's id, of which either may be empty; in what the requester may read."""
Cite = Callable[[Lease, Sequence[str]], Awaitable[None]]
"""Counts memories as used, by id: once for each run, and only those that it was shown."""
Record = Callable[[Lease, Mapping[str, Any]], Awaitable[None]]
Adopt = Callable[[Lease, Plan, Mapping[str, Any]], Awaitable[None]]
