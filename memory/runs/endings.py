"""What the end of a run leaves and erases, whoever ends it: the worker that led it, or a person while nobody did."""

import json

from memory.postgres.database import Connection, Database
from memory.runs import outcomes, records
from memory.runs.outcomes import RunOutcome
from memory.scope import Access, Principal
from memory.store import erasure


async def close(
    database: Database, connection: Connection, principal: Principal, ended: RunOutcome, request: str
) -> None:
    """Erase a run's working memory, leave its outcome and its requester's summary, in the transaction that ends it.

    Who only looked something up leaves nothing to remember: the journal has it, and lists stay free for what was said.
    Enters the transaction anew; whoever goes on in it enters it again.
    """
    shared, own = outcomes.closing_access(principal, ended.run), Access.of(principal)
    await database.enter(connection, shared)
    if ended.is_glance:
        await erasure.erase_run(connection, ended.run)
        return
    await outcomes.conclude(connection, shared, ended)
    await database.enter(connection, own)
    await outcomes.summarise(connection, own, ended, request)


async def cancel(database: Database, connection: Connection, by: Access, run: str, reason: str) -> str:
    """Cancel a run in a transaction that `by` entered; returns its status now, raises like `runs.cancel`.

    One that somebody leads is told to stop, and ends there; any other ends here.
    """
    status = await records.cancel(connection, run, reason)
    if status == "cancelled":
        await _close(database, connection, by.principal.tenant, run)
        await database.enter(connection, by)
    return status


async def _close(database: Database, connection: Connection, tenant: str, run: str) -> None:
    found = await connection.execute(
        "select id, plan, created, ended, spent_tokens, spent_micros, requester, input from runs where id = %s", [run]
    )
    row = await found.fetchone() or {}
    told = await connection.execute("select body from journal where run = %s order by seq", [run])
    entries = [json.loads(entry["body"]) for entry in await told.fetchall()]
    ended = RunOutcome.of(row, entries, row["ended"], status="cancelled", reason="cancelled")
    request = str(row["input"].get("request") or "")
    await close(database, connection, Principal(tenant, row["requester"]), ended, request)
