"""Everything a flow may hand to its nodes, one callable per right; built by the wiring, taken apart by the flow."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.execution.binding import Slice
from graphs.execution.capabilities import Adopt, Cite, Cuts, Perform, Planner, Record
from graphs.planning.plan import Plan
from graphs.planning.validation import Card
from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.governance import approvals, journal
from memory.governance.approvals import ApprovalView
from memory.governance.journal import JournalEntry
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.records import Lease
from memory.runs.results import RunRows
from memory.store import pruning
from tools.action import Action
from tools.admission import admit
from tools.catalog import Catalog
from tools.gateway import Gateway

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Deps:
    """What flows are built from."""

    planner: Callable[[Lease], Planner]
    """Makes the planner of one run, bound to what its requester may read."""
    adopt: Adopt
    """Makes a plan the one that the run follows, with facts about it for the journal."""
    record: Record
    cite: Cite
    perform: Perform
    amount: Callable[[Action], int]
    """Business amount of an action, in minor units."""
    cards: Mapping[str, Card]
    rows: Callable[[Lease], Cuts]
    standing: Callable[[Lease, str], Awaitable[ApprovalView]]
    answers: Callable[[Lease], Awaitable[Sequence[str]]]
    """What the requester answered to this run's questions so far."""
    entries: Callable[[Lease], Awaitable[Sequence[JournalEntry]]]
    """The run's journal."""
    embedder: Embedder = LEXICAL
    """What memory is searched with."""

    @classmethod
    def of(
        cls,
        database: Database,
        catalog: Catalog,
        gateway: Gateway,
        planner: Callable[[Lease], Planner],
        embedder: Embedder = LEXICAL,
    ) -> "Deps":
        """Return the rights of a whole system."""
        return cls(
            planner=planner,
            adopt=_adopter(database),
            record=_recorder(database),
            cite=_citer(database),
            perform=gateway.perform,
            amount=lambda action: admit(action, catalog).facts.amount,
            cards=catalog.cards,
            rows=lambda lease: _Rows(RunRows(database, lease.access, lease.run, "cut")),
            standing=lambda lease, approval: approvals.view(database, lease.access, approval),
            answers=_answers(database),
            entries=_entries(database),
            embedder=embedder,
        )


class _Rows:
    """A run's results seen through references only."""

    def __init__(self, rows: RunRows) -> None:
        self._rows = rows

    async def cut(self, part: Slice, start: int, count: int) -> Slice:
        return _slice(await self._rows.cut(_part(part), start, count))

    async def cuts(self, part: Slice, start: int, size: int) -> Sequence[Slice]:
        return [_slice(found) for found in await self._rows.cuts(_part(part), start, size)]


def _part(part: Slice) -> Any:
    return dict(part)


def _slice(part: Any) -> Slice:
    return dict(part)


def _adopter(database: Database) -> Adopt:
    async def adopt(lease: Lease, plan: Plan, facts: Mapping[str, Any]) -> None:
        await records.adopt(
            database,
            lease,
            plan=plan.model_dump(mode="json"),
            plan_hash=plan.hash,
            budget=plan.budget.model_dump(),
            facts=facts,
        )

    return adopt


def _recorder(database: Database) -> Record:
    async def record(lease: Lease, body: Mapping[str, Any]) -> None:
        await journal.append(database, lease.access, lease.run, body, fence=lease.fence)

    return record


def _citer(database: Database) -> Cite:
    async def cite(lease: Lease, memories: Sequence[str]) -> None:
        async with database.transaction(lease.access) as connection:
            await pruning.cite(connection, lease.access, memories)

    return cite


def _answers(database: Database) -> Callable[[Lease], Awaitable[Sequence[str]]]:
    async def answers(lease: Lease) -> Sequence[str]:
        return (await records.get(database, lease.access, lease.run))["answers"]

    return answers


def _entries(database: Database) -> Callable[[Lease], Awaitable[Sequence[JournalEntry]]]:
    async def entries(lease: Lease) -> Sequence[JournalEntry]:
        found: list[JournalEntry] = []
        while page := await journal.read(
            database, lease.access, lease.run, after=found[-1].seq if found else 0, limit=_PAGE
        ):
            found += page
            if len(page) < _PAGE:
                break
        return found

    return entries
