"""End of a run: what it leaves and erases; called by the worker that led it, and by the API while nobody leads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from memory.errors import LeaseLost
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.runs import leases, outcomes, records
from memory.runs.leases import Lease
from memory.runs.models import COLUMNS, EndStatus, RunStatus, run_of
from memory.runs.outcomes import RunOutcome
from memory.scope import Access, Principal
from memory.store import erasure, write

_CODES: tuple[Literal["ok", "lease_lost"], ...] = ("ok", "lease_lost")


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How a run ends, whatever the reason."""

    status: EndStatus
    reason: str | None
    message: str
    body: Mapping[str, Any]


async def end(database: Database, lease: Lease, ending: RunEnding, moment: datetime) -> None:
    """End a run in one commit: its last entry, its outcome and summary, and the end of its working memory.

    What waits in the lease goes with it. Raises LeaseLost if another worker leads it, and LuggageRefused.
    """
    story = [entry.body for entry in await leases.read_story(database, lease)]
    outcome = RunOutcome.of(lease.run, story, moment, status=ending.status, reason=ending.reason or "")
    principal, request = lease.access.principal, str(lease.input.get("request") or "")
    # By words alone: no transaction waits for a model, and vectors follow in the background.
    notes = [] if outcome.is_glance else outcomes.notes_of(principal, outcome, request)
    drafts = [await write.prepare(access, note) for access, note in notes]
    row = await leases.call(
        database,
        lease,
        "end_run",
        lease.run,
        lease.fence,
        {"status": ending.status, "reason": ending.reason, "message": ending.message, "body": ending.body},
        {"notes": [draft for draft, _ in drafts]},
        [vector for _, vector in drafts],
        access=outcomes.closing_access(principal, lease.run),
    )
    if member(_CODES, row["code"], "end_run") == "lease_lost":
        raise LeaseLost(lease.run)


async def close(
    database: Database, connection: Connection, principal: Principal, outcome: RunOutcome, request: str
) -> None:
    """Erase a run's working memory, leave its outcome and its requester's summary, in the transaction that ends it.

    Who only looked something up leaves nothing to remember: the journal has it, and lists stay free for what was said.
    Enters the transaction anew; whoever goes on in it enters it again.
    """
    shared_access, own = outcomes.closing_access(principal, outcome.run), Access.of(principal)
    await database.enter(connection, shared_access)
    if outcome.is_glance:
        await erasure.erase_run(connection, outcome.run)
        return
    await outcomes.conclude(connection, shared_access, outcome)
    await database.enter(connection, own)
    await outcomes.summarise(connection, own, outcome, request)


async def cancel(database: Database, connection: Connection, caller: Access, run: str, reason: str) -> RunStatus:
    """Cancel a run in a transaction that `caller` entered; returns its status now, raises like `records.cancel`.

    One that somebody leads is told to stop, and ends there; any other ends here.
    """
    status = await records.cancel(connection, run, reason)
    if status == "cancelled":
        await _close(database, connection, caller.principal.tenant, run)
        await database.enter(connection, caller)
    return status


async def _close(database: Database, connection: Connection, tenant: str, id: str) -> None:
    cursor = await connection.execute(f"select {COLUMNS} from runs where id = %s".encode(), [id])
    run = run_of(await cursor.fetchone() or {})
    assert run.ended_at is not None, "cancel_run sets it"
    cursor = await connection.execute("select body, words from journal where run = %s order by seq", [id])
    story = [{**json.loads(row["words"] or "{}"), **json.loads(row["body"])} for row in await cursor.fetchall()]
    outcome = RunOutcome.of(id, story, run.ended_at, status="cancelled", reason="cancelled")
    await close(database, connection, Principal(tenant, run.requester), outcome, run.request)
