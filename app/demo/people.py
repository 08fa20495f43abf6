"""People of the story as HTTP clients, each with a key of their own; used by the acts and the proof."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from memory.errors import Permanent, Temporary
from tools.certificates import trust_of

_SECONDS = 60.0
_EVENTS = {"Accept": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """One event that the API streamed."""

    name: str
    data: Mapping[str, Any]


class Person:
    """Somebody with a key; use it as a context manager."""

    def __init__(self, name: str, key: str, api: str) -> None:
        self.name = name
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx2.AsyncClient(
            base_url=api, headers=headers, timeout=_SECONDS, trust_env=False, verify=trust_of(api)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        await self._client.aclose()

    async def get(self, path: str, **params: str | int) -> Any:
        """Return the answer of a read; raises Permanent with the API's own words if it refuses."""
        return _answer(await self._client.get(path, params=params))

    async def content(self, path: str) -> bytes:
        """Return what a read answers, byte by byte; raises Permanent with the API's own words if it refuses."""
        response = await self._client.get(path)
        if not response.is_success:
            _answer(response)
        return response.content

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the answer of a request; raises Permanent with the API's own words if it refuses."""
        return _answer(await self._client.post(path, json=body))

    async def journal(self, run: str) -> list[dict[str, Any]]:
        """Return every entry of a run."""
        entries: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = await self.get(f"/api/runs/{run}/journal", after=after, limit=200)
            entries, after = entries + page["items"], page["next"]
        return entries

    @asynccontextmanager
    async def says(self, message: str) -> AsyncGenerator[AsyncIterator[StoryEvent]]:
        """Send a chat message and follow what comes of it, until the run ends."""
        async with self._client.stream("POST", "/api/chat", json={"message": message}, headers=_EVENTS) as response:
            yield await _events(response)

    @asynccontextmanager
    async def follows(self, run: str) -> AsyncGenerator[AsyncIterator[StoryEvent]]:
        """Follow a run from its beginning to its end."""
        async with self._client.stream("GET", f"/api/runs/{run}/events", headers=_EVENTS) as response:
            yield await _events(response)

    async def approves(self, approval: str, reason: str) -> str:
        """Read an approval, countersign exactly what was read, and return its status then."""
        view = await self.get(f"/api/approvals/{approval}")
        decision = {"decision": "approve", "nonce": view["nonce"], "reason": reason}
        return (await self.post(f"/api/approvals/{approval}/decisions", decision))["status"]


async def _events(response: httpx2.Response) -> AsyncIterator[StoryEvent]:
    if response.is_error:
        await response.aread()
        _answer(response)
    return _parse_events(response)


async def _parse_events(response: httpx2.Response) -> AsyncIterator[StoryEvent]:
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield StoryEvent(name, json.loads(value))


def _answer(response: httpx2.Response) -> Any:
    if response.is_server_error:
        raise Temporary("unavailable", f"the API answered {response.status_code}: {response.text[:300]}")
    if response.is_error:
        raise Permanent("bad_request", f"the API answered {response.status_code}: {response.text[:300]}")
    return response.json()
