"""Open gates of runs: what a run waits for, and callers who wait until it has ended or needs a person."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.api import stream
from app.api.dependencies import Services
from memory.governance import approvals, journal
from memory.governance.approvals import ApprovalKind
from memory.governance.feed import SETTLING
from memory.runs import records
from memory.runs.models import Run
from memory.scope import Access

_GATES: Mapping[ApprovalKind, str] = {"action": "approval", "audit": "audit"}


async def wait_for_end_or_gate(
    services: Services, access: Access, id: str, after: int, *, is_fresh: bool
) -> tuple[Run, dict[str, Any] | None]:
    """Wait until a run ended or needs a person; returns it, with the open gate if there is one.

    Of a fresh run it is certain that neither was so at its entry `after`; it is looked at when there is more.
    """
    with services.feed.follow(access, id, after, SETTLING) as follower:
        if is_fresh:
            await follower.wait(after)
        while True:
            run = await records.get(services.database, access, id)
            if run.has_ended:
                return run, None
            if gate := await open_gate(services, access, run):
                return replace(run, status="waiting"), gate
            await follower.wait(run.seq)


async def open_gate(services: Services, access: Access, run: Run) -> dict[str, Any] | None:
    """Return the open gate of a run: an approval, a failed audit, a question to its requester, or None."""
    if run.status == "waiting" and run.waits_for == "clarify":
        return {"kind": "clarify", "question": await _question(services, access, run)}
    if run.status not in ("running", "waiting"):
        return None
    rounds = await approvals.ls(services.database, access, status="open", run=run.id, limit=1)
    return {"kind": _GATES[rounds[0].kind], "approval": rounds[0].id} if rounds else None


async def _question(services: Services, access: Access, run: Run) -> dict[str, Any]:
    # The question is among the last entries of a run that waits for its answer.
    after = max(0, run.seq - 50)
    entries = await journal.read(services.database, access, run.id, after=after, limit=50)
    questions = [entry.body for entry in entries if entry.kind in ("clarify",)]
    return stream.plain(questions[-1]) if questions else {}
