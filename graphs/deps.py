"""Dependencies of flows: what a flow may hand to its nodes, one callable per right.

The wiring builds them; a flow takes them apart, so that each node gets what its role may use and no more.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.execution.binding import Binder
from graphs.execution.capabilities import (
    Adopt,
    AskAboutAudit,
    Cite,
    Perform,
    Planner,
    ReadAnswers,
    ReadEntries,
    ReadStanding,
    Record,
)
from graphs.execution.cuts import Cuts
from graphs.planning.plan import Plan
from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.governance import approvals
from memory.postgres.database import Database
from memory.runs import leases, records
from memory.runs.leases import Lease
from memory.runs.results import RunRows
from memory.store import pruning
from tools import audits
from tools.action import Action
from tools.admission import admit
from tools.catalog import Catalog, ToolCard
from tools.gateway import Gateway
from tools.money import Money


@dataclass(frozen=True, slots=True)
class Deps:
    """Rights that flows are built from."""

    planner: Callable[[Lease], Planner]
    """Makes the planner of one run, bound to what its requester may read."""
    adopt: Adopt
    record: Record
    cite: Cite
    perform: Perform
    amount: Callable[[Action], Money | None]
    """Business amount of an action; None if it is not about money."""
    cards: Mapping[str, ToolCard]
    """The catalogue, without anything that could act."""
    binder: Binder
    """Turns the step that a run stands at into an action."""
    rows: Callable[[Lease], Cuts]
    standing: ReadStanding
    ask_about_audit: AskAboutAudit
    answers: ReadAnswers
    entries: ReadEntries
    look_again: Callable[[], Awaitable[list[str]]]
    """Looks at effects in doubt that are due; answers with the runs that can go on."""
    embedder: Embedder = LEXICAL
    """The embedder that memory is searched with."""

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
            amount=lambda action: admit(action, catalog).amount,
            cards=catalog.cards,
            binder=Binder(catalog.cards),
            rows=lambda lease: RunRows(database, lease.access, lease.run, "cut"),
            standing=lambda lease, approval: approvals.view(database, lease.access, approval),
            ask_about_audit=lambda lease, question: audits.ask(database, lease, question),
            answers=_answer_reader(database),
            entries=lambda lease: leases.read_story(database, lease),
            look_again=gateway.look_again,
            embedder=embedder,
        )


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
        entry = {**body, **lease.step_facts}
        if lease.luggage is not None and "key" in entry:
            lease.luggage.add_entry(entry)
        else:
            await leases.record(database, lease, entry)

    return record


def _citer(database: Database) -> Cite:
    async def cite(lease: Lease, memories: Sequence[str]) -> None:
        async with database.transaction(lease.access) as connection:
            await pruning.cite(connection, lease.access, memories)

    return cite


def _answer_reader(database: Database) -> ReadAnswers:
    async def read(lease: Lease) -> Sequence[str]:
        return (await records.get(database, lease.access, lease.run)).answers

    return read
