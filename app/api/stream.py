"""Event stream of a run (server-sent events), made from journal entries, so that any part can be read again.

Called by the chat and by `/api/runs/{id}/events`; an event's id is the number of its entry. The stream of a tenant
(`app.api.events`) sends the same events.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from app.api.dependencies import Services
from app.api.progress import Pace
from memory.governance import journal
from memory.governance.journal import JournalEntry
from memory.runs import records, run_story
from memory.scope import Access

EventName = Literal["start", "run", "step", "gate", "progress", "message", "end"]
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

EVENT: Mapping[str, Any] = {
    "type": "object",
    "description": "one event of the stream",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
}
"""Schema of an event, for the document of the API."""
# Proxies must neither keep nor buffer a stream.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: EventName
    data: Mapping[str, Any]
    id: str | None = None
    """Set on the last event of an entry: reading on after it misses nothing."""

    def encode(self) -> bytes:
        """Return the event in the format of server-sent events."""
        return format_sse_event(event=self.name, id=self.id, data_str=json.dumps(self.data, default=str))


async def events(
    services: Services, access: Access, entry: JournalEntry, pace: Pace, id: str
) -> AsyncIterator[ServerEvent]:
    """Yield the events of one journal entry, the last of them under an id; some only machinery needs have none."""
    server_events = _events_of(entry.run, entry.body, pace)
    for number, event in enumerate(server_events, 1):
        # The message of the run is no event of its own entry; clients get it before the end.
        if event.name == "end":
            yield await _final_message(services, access, entry.run, event)
        yield ServerEvent(event.name, event.data, id if number == len(server_events) else None)


def _events_of(run: str, body: Mapping[str, Any], pace: Pace) -> list[ServerEvent]:
    name = _NAMES.get(body["kind"])
    if name is None:
        return []
    data: dict[str, Any] = {"run": run, **plain(body)}
    if body["kind"] != "outcome":
        return [ServerEvent(name, data)]
    step = ServerEvent(name, {key: data.get(key) for key in ("run", "kind", "step", "tool", "effect", "state", "at")})
    progress = pace.note(body)
    return [step] if progress is None else [step, ServerEvent("progress", {"run": run, **progress})]


async def _final_message(services: Services, access: Access, run: str, end: ServerEvent) -> ServerEvent:
    text = end.data.get("message")
    if text is None:
        # Cancelled while nobody led it, forgotten, or recorded before entries said it.
        text = (await run_story.show(services.database, access, run)).run.message
    return ServerEvent("message", {"run": run, "from": "countersign", "text": text})


def plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what clients see of an entry."""
    return {key: value for key, value in body.items() if key not in ("key", "nonce", "call")}


def response(
    services: Services, access: Access, run: str, after: int, headers: Mapping[str, str]
) -> EventSourceResponse:
    """Return the stream of a run's events after an entry; it ends with the run."""
    return EventSourceResponse(follow(services, access, run, after), headers={**HEADERS, **headers})


async def follow(services: Services, access: Access, run: str, after: int) -> AsyncGenerator[bytes]:
    """Yield encoded events until the run's last entry was sent; comments keep quiet streams alive."""
    reader, quiet = _JournalReader(services, access, run, after), Quiet()
    with services.feed.follow(access, run, after) as follower:
        while True:
            # First read, then ask for the end: an entry that comes in between wakes the follower.
            async for event in reader.read_events():
                yield event.encode()
                quiet.begin()
            if await reader.is_finished():
                return
            if not await follower.wait(reader.after, quiet.seconds):
                yield KEEPALIVE_COMMENT
                quiet.begin()


class Quiet:
    """Time since something was written to a stream, of which there must not be too much."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._end = asyncio.get_running_loop().time() + _QUIET_SECONDS

    @property
    def seconds(self) -> float:
        """Return the seconds until a comment is due."""
        return max(0.0, self._end - asyncio.get_running_loop().time())


class _JournalReader:
    """Reader of one run's journal for one client, with the number of the last entry sent."""

    def __init__(self, services: Services, access: Access, run: str, after: int) -> None:
        self.after = after
        self._services = services
        self._access = access
        self._run = run
        self._pace = Pace()
        self._may_have_ended = True

    async def read_events(self) -> AsyncIterator[ServerEvent]:
        """Yield the events of entries that were recorded since the last call."""
        is_full = True
        while is_full:
            entries = await journal.read(
                self._services.database, self._access, self._run, after=self.after, limit=_PAGE
            )
            is_full = len(entries) == _PAGE
            for entry in entries:
                async for event in events(self._services, self._access, entry, self._pace, str(entry.seq)):
                    yield event
                self._may_have_ended |= entry.kind == "ended"
                self.after = entry.seq

    async def is_finished(self) -> bool:
        """Return whether the run has ended and its last entry was sent; its row is looked at only if it may have."""
        if not self._may_have_ended:
            return False
        run = await records.get(self._services.database, self._access, self._run)
        self._may_have_ended = run.has_ended
        return run.has_ended and run.seq <= self.after
