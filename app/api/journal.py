"""Journal over HTTP: export and heads as lines of JSON, and verification of the hash chains."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.api.dependencies import Caller, CallerDep, ExtendedLog, Services, ServicesDep
from app.api.runs import entry_view
from memory.evidence import log
from memory.governance import journal
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
    """Export every entry that the caller's tenant has, run by run; each line carries what its hash was made of."""
    if run:
        await records.get(services.database, caller.access, run)
    return StreamingResponse(_lines(services, caller, run), media_type="application/x-ndjson")


@router.get("/verify", operation_id="verify_journal", dependencies=[ExtendedLog])
async def verify(services: ServicesDep, caller: CallerDep, run: str | None = None) -> dict[str, Any]:
    """Recompute the chains; `broken` names the first bad entry of each run."""
    async with services.database.transaction(caller.access) as connection:
        verification = await journal.verify(connection, run)
    broken = [{"run": gap.run, "seq": gap.seq, "what": gap.problem} for gap in verification.breaks]
    return {"ok": verification.ok, "runs": verification.runs, "entries": verification.entries, "broken": broken}


async def _lines(services: Services, caller: Caller, run: str | None) -> AsyncIterator[bytes]:
    async with services.database.transaction(caller.access) as connection:
        async for entry in journal.export(connection, run):
            # Body and words as text: parsing and printing them again could change what the hashes cover.
            texts = {"body": entry.text, "words": entry.words, "salt": entry.salt and str(entry.salt)}
            yield (json.dumps({**entry_view(entry), **texts}) + "\n").encode()


async def _head_lines(services: Services, caller: Caller, after: int) -> AsyncIterator[bytes]:
    async with services.database.transaction(caller.access) as connection:
        async for head in log.heads(connection, after):
            signature = head.signature.hex() if head.signature else None
            yield (json.dumps({"number": head.number, "text": head.text, "signature": signature}) + "\n").encode()
