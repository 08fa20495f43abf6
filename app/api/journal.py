"""Journal over HTTP: export and heads as lines of JSON, and the check of all that is on record."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app import auth
from app.api.dependencies import Caller, CallerDep, ExtendedLog, Services, ServicesDep
from memory.evidence import log
from memory.evidence.check import check
from memory.evidence.lines import lines
from memory.runs import records

router = APIRouter(prefix="/api/journal", tags=["journal"])


@router.get("/heads", operation_id="list_heads", response_class=StreamingResponse, dependencies=[ExtendedLog])
async def heads(
    services: ServicesDep, caller: CallerDep, after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
) -> StreamingResponse:
    """Print the heads of the tenant's log after a number, as lines: what to keep elsewhere."""
    return StreamingResponse(_head_lines(services, caller, after), media_type="application/x-ndjson")


@router.get("/export", operation_id="export_journal", response_class=StreamingResponse, dependencies=[ExtendedLog])
async def export(services: ServicesDep, caller: CallerDep, run: str | None = None) -> StreamingResponse:
    """Export all that a stranger needs to check the tenant's journal, or one run: `docs/journal.md` is the format.

    The whole is for operators, one run also for whoever asked for it.
    """
    if run is None or (await records.get(services.database, caller.access, run)).requester != caller.principal.id:
        auth.demand(caller.principal, *auth.OPERATORS)
    return StreamingResponse(_lines(services, caller, run), media_type="application/x-ndjson")


@router.get("/verify", operation_id="verify_journal")
async def verify(
    services: ServicesDep, caller: CallerDep, trouble: Annotated[str, ExtendedLog], run: str | None = None
) -> dict[str, Any]:
    """Check chains, log, heads and rows; `broken` names the first bad place of each chain, and every bad row."""
    async with services.database.snapshot(caller.access) as connection:
        result = await check(connection, run)
    broken = [*result.problems, *([{"log": caller.principal.tenant, "what": trouble}] if trouble else [])]
    return {"ok": not broken, **result.counts, "broken": broken, "notes": list(result.notes)}


async def _lines(services: Services, caller: Caller, run: str | None) -> AsyncIterator[bytes]:
    async with services.database.snapshot(caller.access) as connection, aclosing(lines(connection, run)) as texts:
        async for line in texts:
            yield f"{line}\n".encode()


async def _head_lines(services: Services, caller: Caller, after: int) -> AsyncIterator[bytes]:
    async with services.database.transaction(caller.access) as connection:
        async for head in log.heads(connection, after):
            signature = head.signature.hex() if head.signature else None
            line = {"line": "head", "number": head.number, "text": head.text, "signature": signature}
            yield f"{json.dumps(line)}\n".encode()
