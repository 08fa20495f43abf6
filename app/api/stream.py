"""What clients see of a run while it happens: events made from journal entries, so that any of them can be read again.

Called by the chat and by `/api/runs/{id}/events`; an event's id is the number of its entry.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastapi.responses import StreamingResponse

from app.api.dependencies import Services
from app.api.progress import Pace
from app.api.start_run import ENDED
from memory.governance import approvals, journal
from memory.governance.journal import JournalEntry
from memory.runs import records
from memory.scope import Access

Name = Literal["run", "step", "gate", "progress", "message", "end"]
_QUIET_SECONDS = 15.0
_PAGE = 200
_ALIVE = b": still here\n\n"
_NAMES: Mapping[str, Name] = {
    "requested": "run",
    "resumed": "run",
    "cancel": "run",
    "planned": "step",
    "read": "step",
    "skipped": "step",
    "denied": "step",
    "audited": "step",
    "outcome": "step",
    "held": "gate",
    "approval": "gate",
    "vote": "gate",
    "vote_refused": "gate",
    "question": "gate",
    "clarify": "gate",
    "answered": "message",
    "ended": "end",
}
"""Which entries clients see, and as what."""

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One thing that happened, as clients see it."""

    name: Name
    data: Mapping[str, Any]
    seq: int | None = None
    """Set on the last event of an entry: reading on after it misses nothing."""

    def encoded(self) -> bytes:
        """Return the event in the format of server-sent events."""
        place = "" if self.seq is None else f"id: {self.seq}\n"
        return f"event: {self.name}\n{place}data: {json.dumps(self.data, default=str)}\n\n".encode()


def events(entry: JournalEntry, pace: Pace) -> list[ServerEvent]:
    """Return what an entry tells clients; most entries of the machinery tell nothing."""
    body = entry.body
    found = _found(entry.run, body, pace)
    if found:
        found[-1] = ServerEvent(found[-1].name, found[-1].data, entry.seq)
    return found


def _found(run: str, body: Mapping[str, Any], pace: Pace) -> list[ServerEvent]:
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


def response(services: Services, access: Access, run: str, after: int, headers: Mapping[str, str]) -> StreamingResponse:
    """Return the stream of a run's events after an entry; it ends with the run."""
    return StreamingResponse(
        follow(services, access, run, after), media_type="text/event-stream", headers={**_HEADERS, **headers}
    )


async def follow(services: Services, access: Access, run: str, after: int) -> AsyncIterator[bytes]:
    """Yield encoded events until the run has ended and everything was told; comments keep quiet streams alive."""
    teller = _Teller(services, access, run, after)
    async for _ in services.feed.wakeups(run):
        async for event in teller.news():
            yield event.encoded()
        if await teller.done():
            return
        if teller.quiet():
            yield _ALIVE


class _Teller:
    """One client's place in a run's journal."""

    def __init__(self, services: Services, access: Access, run: str, after: int) -> None:
        self._parts = services
        self._access = access
        self._run = run
        self._after = after
        self._pace = Pace()
        self._spoke = _now()

    async def news(self) -> AsyncIterator[ServerEvent]:
        """Yield what was recorded since the last time."""
        while entries := await journal.read(
            self._parts.database, self._access, self._run, after=self._after, limit=_PAGE
        ):
            for event in [event for entry in entries for event in events(entry, self._pace)]:
                if event.name == "end":
                    yield await self._last_word()
                yield event
            self._after, self._spoke = entries[-1].seq, _now()

    async def done(self) -> bool:
        """Return whether the run has ended and everything of it was told."""
        row = await records.get(self._parts.database, self._access, self._run)
        return row["status"] in ENDED and row["seq"] <= self._after

    def quiet(self) -> bool:
        """Return whether the client should hear that we are still here."""
        if _now() - self._spoke <= _QUIET_SECONDS:
            return False
        self._spoke = _now()
        return True

    async def _last_word(self) -> ServerEvent:
        row = await records.get(self._parts.database, self._access, self._run)
        return ServerEvent("message", {"run": self._run, "from": "countersign", "text": row["message"]})


def _now() -> float:
    return asyncio.get_running_loop().time()


async def settled(services: Services, access: Access, run: str) -> dict[str, Any]:
    """Wait until a run ended or needs a person; returns its row, with the open `gate` if there is one."""
    async for _ in services.feed.wakeups(run):
        row = await records.get(services.database, access, run)
        if row["status"] in ENDED:
            return {**row, "gate": None}
        if gate := await open_gate(services, access, row):
            return {**row, "status": "waiting", "gate": gate}
    raise AssertionError("wake-ups never end by themselves")


async def open_gate(services: Services, access: Access, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a run asks people at this moment: an approval, or a question to its requester."""
    if row["status"] == "waiting" and row["waits_for"] == "clarify":
        return {"kind": "clarify", "question": await _question(services, access, row)}
    if row["status"] not in ("running", "waiting"):
        return None
    opened = await approvals.ls(services.database, access, status="open", run=row["id"], limit=1)
    return {"kind": "approval", "approval": opened[0]["id"]} if opened else None


async def _question(services: Services, access: Access, row: Mapping[str, Any]) -> dict[str, Any]:
    after = max(0, row["seq"] - 50)
    entries = await journal.read(services.database, access, row["id"], after=after, limit=50)
    asked = [entry.body for entry in entries if entry.kind in ("clarify",)]
    return _plain(asked[-1]) if asked else {}
