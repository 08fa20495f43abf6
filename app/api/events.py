"""Event stream of a tenant: what becomes of all its runs, for whoever watches many; any part can be read again.

An event's id is a place in the tenant's log. Each reader reads for itself, as fast as its client takes it, and what one
sees is what one would see of the run alone.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse

from app.api import stream
from app.api.dependencies import CallerDep, ExtendedLog, Services, ServicesDep
from app.api.progress import Pace
from memory.errors import Permanent
from memory.evidence import log_entries
from memory.evidence.log_entries import Position
from memory.scope import Access

router = APIRouter(tags=["events"])
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": stream.EVENT}},
        "description": "event start with the place where it begins, then of every run: run, step, gate, progress, "
        "message, end; it does not end by itself",
    }
}
_PAGE = 200
_MOST_PACES = 1_000
"""Batched steps whose speed one stream measures at once; of older ones it begins anew."""


@router.get(
    "/api/events",
    operation_id="tenant_events",
    response_class=Response,
    responses=_ANSWERS,
    dependencies=[ExtendedLog],
)
async def events(
    services: ServicesDep,
    caller: CallerDep,
    last_event_id: Annotated[str, Header()] = "",
    since: Annotated[
        str, Query(description="id of the last event that was read; 0 from the beginning, unset from now on")
    ] = "",
) -> Response:
    """Follow all runs of the tenant: the events of each as in its own stream, after `Last-Event-ID` or `since`."""
    text, end = last_event_id or since, await log_entries.end(services.database, caller.access)
    position = Position.of(text) if text else end
    if (position.leaves, position.seq) > (end.leaves, 0):
        # As after a restored backup: whoever waited there would miss what fills the log up to it, and not know.
        raise Permanent("bad_request", f"{text!r} lies beyond the end of the log, {end}; go on from there, or from 0")
    return EventSourceResponse(follow(services, caller.access, position), headers=stream.HEADERS)


async def follow(services: Services, access: Access, position: Position) -> AsyncGenerator[bytes]:
    """Yield encoded events for ever, first one that says where it starts; comments keep quiet streams alive."""
    reader, quiet = _LogReader(services, access, position), stream.Quiet()
    yield stream.ServerEvent("start", {"since": str(position)}, str(position)).encode()
    with services.feed.follow_tenant(access, position.leaves) as follower:
        while True:
            async for event in reader.read_events():
                yield event.encode()
                quiet.begin()
            if not await follower.wait(reader.position.leaves, quiet.seconds):
                yield KEEPALIVE_COMMENT
                quiet.begin()


class _LogReader:
    """Reader of a tenant's log for one client, with the place up to which everything was sent."""

    def __init__(self, services: Services, access: Access, position: Position) -> None:
        self.position = position
        self._services = services
        self._access = access
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    async def read_events(self) -> AsyncIterator[stream.ServerEvent]:
        """Yield the events of entries that were taken into the log since the last call."""
        is_full = True
        while is_full:
            page = await log_entries.read(self._services.database, self._access, self.position, _PAGE)
            is_full = len(page) == _PAGE
            for row in page:
                if entry := row.entry:
                    pace, id = self._pace(entry.run), str(row.position)
                    async for event in stream.events(self._services, self._access, entry, pace, id):
                        yield event
                self.position = row.position

    def _pace(self, run: str) -> Pace:
        pace = self._paces.pop(run, None) or Pace()
        self._paces[run] = pace
        if len(self._paces) > _MOST_PACES:
            self._paces.popitem(last=False)
        return pace
