"""Proposals of a planner: a plan, a question to the requester, or a verdict that there is nothing to do.

Planners return them; adoption puts them on record and turns them into state.
"""

from typing import TypedDict

from graphs.planning.plan import Plan
from graphs.state import CandidateState, Clarify
from tools.action import Json


class Recollection(TypedDict):
    """Memories by id."""

    shown: list[str]
    """Those that were before the planner."""
    cited: list[str]
    """Those that its plan or question rests on."""


class Proposal(TypedDict, total=False):
    """What a planner answers in one round; a plan travels typed until the state stores it."""

    plan: Plan | None
    clarify: Clarify | None
    verdict: str | None
    note: str
    candidates: list[CandidateState]
    round: int
    violations: list[dict[str, Json]]
    """Breaches of contract by a model, for the journal."""
    stale: bool
    recalled: Recollection
    """For the journal only."""
