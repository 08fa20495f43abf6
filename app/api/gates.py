"""Open gates of runs: what a run waits for, and callers who wait until it has ended or needs a person."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.api import stream
from app.api.dependencies import Services
from memory.governance import approvals, journal
from memory.governance.approvals import ApprovalKind
from memory.governance.feed import SETTLING
from memory.runs import records, run_story
from memory.runs.models import Run
from memory.runs.run_story import RunAccount
from memory.scope import Access

_GATES: Mapping[ApprovalKind, str] = {"action": "approval", "audit": "audit"}


@dataclass(frozen=True, slots=True)
class Settlement:
    """A run that has ended or needs a person: its open gate, or what the journal says of its end."""

    run: Run
    gate: Mapping[str, Any] | None = None
    account: RunAccount | None = None


async def wait_for_end_or_gate(
    services: Services, access: Access, id: str, after: int, *, is_fresh: bool
) -> Settlement:
    """Wait until a run ended or needs a person.

    Of a fresh run it is certain that neither was so at its entry `after`; it is looked at when there is more.
    """
    with services.feed.follow(access, id, after, SETTLING) as follower:
        if is_fresh:
            await follower.wait(after)
        while True:
            # What was told may be forged or undone since: what was looked at decides.
            if follower.has_ended and (end := await _end_of(services, access, id)):
                return end
            run = await records.get(services.database, access, id)
            if settlement := await _settlement(services, access, run):
                return settlement
            await follower.wait(run.seq)


async def _end_of(services: Services, access: Access, id: str) -> Settlement | None:
    account = await run_story.show(services.database, access, id)
    return Settlement(account.run, account=account) if account.run.has_ended else None


async def _settlement(services: Services, access: Access, run: Run) -> Settlement | None:
    if run.has_ended:
        return await _end_of(services, access, run.id)
    gate = await open_gate(services, access, run)
    return Settlement(replace(run, status="waiting"), gate) if gate else None


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
