"""Capabilities of nodes: one callable type per right, and the invocation of a node; nothing here can act.

Factories of nodes name the capabilities that they take, so that a signature says what its role can do.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphs.planning.plan import Plan
from graphs.planning.proposal import Proposal
from graphs.state import State, Update
from memory.governance.approvals import ApprovalView
from memory.governance.journal import JournalEntry
from memory.runs.leases import Lease
from memory.store.context import MemoryExcerpt
from tools.action import Action, Json, Outcome


@dataclass(frozen=True, slots=True)
class Invocation:
    """One execution of one node: for which lease, and from which checkpoint; data only."""

    lease: Lease

    @property
    def checkpoint(self) -> str:
        """Return the checkpoint that the node starts from."""
        return self.lease.checkpoint


class Perform(Protocol):
    """The gateway's door."""

    async def __call__(
        self, lease: Lease, action: Action, bundle: Sequence[Action] = (), view: Mapping[str, Json] | None = None
    ) -> Outcome:
        """Perform one action, or say why not."""
        ...


Node = Callable[[State, Invocation], Awaitable[Update]]
"""A node of a flow: reads the state, returns the keys that it changes."""
Planner = Callable[[State], Awaitable[Proposal]]
"""Proposes a plan, a question or a verdict for a state; bound to what the run's requester may read."""
RecallMemories = Callable[[str, str], Awaitable[MemoryExcerpt]]
"""Returns memories for a request and a runbook's id, either possibly empty, from what the requester may read."""
Cite = Callable[[Lease, Sequence[str]], Awaitable[None]]
"""Counts memories as used, by id: once for each run, and only those that the run was shown."""
Record = Callable[[Lease, Mapping[str, Any]], Awaitable[None]]
"""Appends an entry to the run's journal; one with a key at the latest with the next statement of the run."""
Adopt = Callable[[Lease, Plan, Mapping[str, Any]], Awaitable[None]]
"""Makes a plan the one that the run follows, with facts about it for the journal."""
ReadStanding = Callable[[Lease, str], Awaitable[ApprovalView]]
"""Returns where an approval of the run stands."""
ReadAnswers = Callable[[Lease], Awaitable[Sequence[str]]]
"""Returns the requester's answers to the run's questions so far."""
AskAboutAudit = Callable[[Lease, Mapping[str, Json]], Awaitable[str]]
"""Puts a failed audit before people, once for the same problems; returns the approval's id."""
ReadEntries = Callable[[Lease], Awaitable[Sequence[JournalEntry]]]
"""Returns the run's journal."""
