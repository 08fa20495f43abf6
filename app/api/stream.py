"""Event stream of a run (server-sent events), made from journal entries, so that any part can be read again.

Called by the chat and by `/api/runs/{id}/events`; an event's id is the number of its entry.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from app.api.dependencies import Services
from app.api.progress import Pace
from memory.governance import approvals, journal
from memory.governance.approvals import ApprovalKind
from memory.governance.journal import JournalEntry
from memory.runs import records, run_story
from memory.runs.models import Run
from memory.scope import Access

EventName = Literal["run", "step", "gate", "progress", "message", "end"]
_QUIET_SECONDS = 15.0
_PAGE = 200
_NAMES: Mapping[str, EventName] = {
    "requested": "run",
    "resumed": "run",
    "cancel": "run",
    "planned": "step",
    "read": "step",
    "skipped": "step",
    "contradicted": "step",
    "denied": "step",
    "audited": "step",
    "outcome": "step",
    "held": "gate",
    "approval": "gate",
    "vote": "gate",
    "vote_refused": "gate",
    "question": "gate",
    "taken_over": "gate",
    "clarify": "gate",
    "answered": "message",
    "ended": "end",
}
"""Which entries clients see, and as what."""

_GATES: Mapping[ApprovalKind, str] = {"action": "approval", "audit": "audit"}

# Proxies must neither keep nor buffer a stream.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: EventName
    data: Mapping[str, Any]
    seq: int | None = None
    """Set on the last event of an entry: reading on after it misses nothing."""

    def encode(self) -> bytes:
        """Return the event in the format of server-sent events."""
        id = None if self.seq is None else str(self.seq)
        return format_sse_event(event=self.name, id=id, data_str=json.dumps(self.data, default=str))


def events(entry: JournalEntry, pace: Pace) -> list[ServerEvent]:
    """Return the events of one journal entry; entries that only machinery needs have none."""
    body = entry.body
    server_events = _events_of(entry.run, body, pace)
    if server_events:
        server_events[-1] = ServerEvent(server_events[-1].name, server_events[-1].data, entry.seq)
    return server_events


def _events_of(run: str, body: Mapping[str, Any], pace: Pace) -> list[ServerEvent]:
    name = _NAMES.get(body["kind"])
    if name is None:
        return []
    data: dict[str, Any] = {"run": run, **_plain(body)}
    if body["kind"] != "outcome":
        return [ServerEvent(name, data)]
    step = ServerEvent(name, {key: data.get(key) for key in ("run", "kind", "step", "tool", "effect", "state", "at")})
    progress = pace.note(body)
    return [step] if progress is None else [step, ServerEvent("progress", {"run": run, **progress})]


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in ("key", "nonce", "call")}


def response(
    services: Services, access: Access, run: str, after: int, headers: Mapping[str, str]
) -> EventSourceResponse:
    """Return the stream of a run's events after an entry; it ends with the run."""
    return EventSourceResponse(follow(services, access, run, after), headers={**_HEADERS, **headers})


async def follow(services: Services, access: Access, run: str, after: int) -> AsyncIterator[bytes]:
    """Yield encoded events until the run's last entry was sent; comments keep quiet streams alive."""
    reader = _JournalReader(services, access, run, after)
    async for _ in services.feed.wakeups(run):
        # First read, then ask for the end: an entry that comes in between is read at the next wake-up.
        async for event in reader.read_events():
            yield event.encode()
        if await reader.is_finished():
            return
        if reader.is_due_for_comment():
            yield KEEPALIVE_COMMENT


class _JournalReader:
    """Reader of one run's journal for one client, with the number of the last entry sent."""

    def __init__(self, services: Services, access: Access, run: str, after: int) -> None:
        self._services = services
        self._access = access
        self._run = run
        self._after = after
        self._pace = Pace()
        self._last_write = _loop_time()

    async def read_events(self) -> AsyncIterator[ServerEvent]:
        """Yield the events of entries that were recorded since the last call."""
        while entries := await journal.read(
            self._services.database, self._access, self._run, after=self._after, limit=_PAGE
        ):
            for event in [event for entry in entries for event in events(entry, self._pace)]:
                # The message of the run is no event of its own entry; clients get it before the end.
                if event.name == "end":
                    yield await self._final_message(event)
                yield event
            self._after, self._last_write = entries[-1].seq, _loop_time()

    async def is_finished(self) -> bool:
        """Return whether the run has ended and its last entry was sent."""
        run = await records.get(self._services.database, self._access, self._run)
        return run.has_ended and run.seq <= self._after

    def is_due_for_comment(self) -> bool:
        """Return whether nothing was written for so long that a comment is due; the caller then writes one."""
        if _loop_time() - self._last_write <= _QUIET_SECONDS:
            return False
        self._last_write = _loop_time()
        return True

    async def _final_message(self, end: ServerEvent) -> ServerEvent:
        text = end.data.get("message")
        if text is None:
            # Cancelled while nobody led it, forgotten, or recorded before entries said it.
            text = (await run_story.show(self._services.database, self._access, self._run)).run.message
        return ServerEvent("message", {"run": self._run, "from": "countersign", "text": text})


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


async def wait_for_end_or_gate(services: Services, access: Access, id: str) -> tuple[Run, dict[str, Any] | None]:
    """Wait until a run ended or needs a person; returns it, with the open gate if there is one."""
    async for _ in services.feed.wakeups(id):
        run = await records.get(services.database, access, id)
        if run.has_ended:
            return run, None
        if gate := await open_gate(services, access, run):
            return replace(run, status="waiting"), gate
    raise AssertionError("wake-ups never end by themselves")


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
    return _plain(questions[-1]) if questions else {}
