"""Which runbooks come into question for a request, and what may be concluded from their probes; pure functions.

Called by the planner. The search itself belongs to knowledge and reaches the planner as a callable.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class Item(Protocol):
    """A knowledge item in its current version."""

    @property
    def id(self) -> str:
        """Id of the item; for runbooks that of the front matter."""
        ...

    @property
    def version(self) -> int:
        """Version under which knowledge holds it."""
        ...

    @property
    def body(self) -> str:
        """The whole text, front matter included."""
        ...


class Hit(Item, Protocol):
    """An item that the search found."""

    @property
    def score(self) -> float:
        """Similarity between 0 and 1."""
        ...


Find = Callable[[str], Awaitable[Sequence[Hit]]]
"""Returns the runbooks nearest to a text, best first; bound to what the requester may read."""
Current = Callable[[str], Awaitable[Item]]
"""Returns the current version of a runbook; raises Permanent `not_found`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a likeness of words is worth a look at the facts."""

    score: float = 0.18
    """Below this nothing is looked at: people are asked."""
    margin: float = 0.05
    """Candidates this close to the best are equals; only their probes may tell them apart."""
    rounds: int = 6
    """Plans and questions after which the planner gives up."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the probe of one candidate saw: None if it could not be made or answered nothing usable."""

    equal: bool
    """True if the candidate is as good as the best one."""
    true: bool | None


def worth_a_look(hits: Sequence[Hit], limits: Limits) -> list[tuple[Hit, bool]]:
    """Return the hits above the threshold, each with whether it is as good as the best."""
    best = max((hit.score for hit in hits), default=0.0)
    return [(hit, hit.score >= best - limits.margin) for hit in hits if hit.score >= limits.score]


def conclude(sights: Sequence[Sight]) -> int | Literal["nothing_wrong", "unclear"]:
    """Return the position of the one candidate to act on, or why there is none.

    Facts decide: a single equal whose probe is true is chosen. A true probe of a lesser candidate never starts
    anything, but it does forbid the answer that nothing is wrong.
    """
    chosen = [position for position, sight in enumerate(sights) if sight.equal and sight.true]
    if len(chosen) == 1:
        return chosen[0]
    if chosen or any(sight.true is not False for sight in sights if sight.equal) or any(s.true for s in sights):
        return "unclear"
    return "nothing_wrong" if sights else "unclear"
