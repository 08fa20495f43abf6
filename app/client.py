"""HTTP client of the API for the command line: one person's key, problems as errors, streams that reconnect."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import httpx2

from app.client_settings import ClientSettings
from memory.clock import Clock, SystemClock
from memory.errors import CODES, Code, Permanent, Temporary
from tools.certificates import trust_of

# Streams are quiet while people decide, so reading has no limit.
_SECONDS = httpx2.Timeout(30.0, read=None)
_RECONNECTS = 20
_PAUSE = 0.5


class ApiRefusal(Permanent):
    """Refusal by the API; `problem` is its whole problem document."""

    def __init__(self, code: Code, message: str, problem: Mapping[str, Any]) -> None:
        super().__init__(code, message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a run's stream."""

    name: str
    id: str
    data: Mapping[str, Any]


def segment(name: str) -> str:
    """Return a name as one segment of a path, so that no id leads to another route; raises Permanent("bad_request")."""
    if name in ("", ".", ".."):
        raise Permanent("bad_request", f"{name!r} is no id; copy one from a list")
    return quote(name, safe="")


class Api:
    """A connection to the API with one key, or with none; use it as a context manager."""

    def __init__(
        self, url: str, key: str, *, transport: httpx2.AsyncBaseTransport | None = None, clock: Clock | None = None
    ) -> None:
        self._url = url
        self._clock = clock or SystemClock()
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        # No proxy of the environment gets to see the key.
        self._client = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=_SECONDS, transport=transport, trust_env=False, verify=trust_of(url)
        )

    @classmethod
    def of(cls, settings: ClientSettings) -> "Api":
        """Return a client by the settings; raises Permanent("unauthenticated") if they name no key."""
        if settings.key is None:
            raise Permanent(
                "unauthenticated", "no key is set: put yours into COUNTERSIGN_KEY (`countersign up` prints some)"
            )
        return cls(settings.api, settings.key)

    @classmethod
    def of_nobody(cls, settings: ClientSettings) -> "Api":
        """Return a client without a key, for whoever is to get one."""
        return cls(settings.api, "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, path: str, **params: str | int | None) -> Any:
        """Return the answer of a read."""
        query = {name: value for name, value in params.items() if value is not None}
        return _object(await self._send("GET", path, params=query))

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the answer of a request."""
        return _object(await self._send("POST", path, json=dict(body)))

    async def delete(self, path: str) -> Any:
        """Return the answer of a removal."""
        return _object(await self._send("DELETE", path))

    async def lines(self, path: str, **params: str | int | None) -> AsyncIterator[str]:
        """Yield the lines of an export."""
        query = {name: value for name, value in params.items() if value is not None}
        try:
            async with self._client.stream("GET", path, params=query) as response:
                await _refuse(response)
                async for line in _lines(response):
                    yield line
        except httpx2.TransportError as error:
            raise self._away(error) from error

    async def content(self, path: str) -> bytes:
        """Return the body of a read as it came, byte by byte."""
        return (await self._send("GET", path)).content

    async def say(self, body: Mapping[str, Any]) -> AsyncIterator[StreamEvent]:
        """Send a chat message and yield what becomes of it until the run ends."""
        run, last = "", ""
        try:
            async with self._client.stream("POST", "/api/chat", json=dict(body), headers=_STREAM) as response:
                await _refuse(response)
                run = response.headers["X-Run-Id"]
                async for event in _events(response):
                    last = event.id or last
                    yield event
                return
        except httpx2.TransportError as error:
            # Without the run's id nobody knows whether one was started: the person decides about sending again.
            if not run:
                raise self._away(error) from error
        async for event in self.follow(run, last):
            yield event

    async def follow(self, run: str, last: str = "") -> AsyncIterator[StreamEvent]:
        """Yield a run's events after the one with id `last`; reconnects when the connection is lost."""
        tries = 0
        while True:
            headers = {**_STREAM, **({"Last-Event-ID": last} if last else {})}
            try:
                async with self._client.stream("GET", f"/api/runs/{run}/events", headers=headers) as response:
                    await _refuse(response)
                    async for event in _events(response):
                        last, tries = event.id or last, 0
                        yield event
                    return
            except httpx2.TransportError as error:
                tries += 1
                if tries > _RECONNECTS:
                    raise self._away(error) from error
                await self._clock.sleep(_PAUSE)

    async def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        try:
            response = await self._client.request(method, path, **content)
        except httpx2.TransportError as error:
            raise self._away(error) from error
        await _refuse(response)
        return response

    def _away(self, error: Exception) -> Temporary:
        message = (
            f"nobody answers at {self._url!r} ({type(error).__name__}); start `countersign up` or set COUNTERSIGN_URL"
        )
        return Temporary("unavailable", message)


_STREAM = {"Accept": "text/event-stream"}
_URL_HINT = "is this our API? see COUNTERSIGN_URL"


def _object(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise ApiRefusal("internal", f"{response.url.host!r} answers, but not in JSON; {_URL_HINT}", {}) from None


async def _refuse(response: httpx2.Response) -> None:
    if not response.is_error:
        return
    await response.aread()
    try:
        problem: Mapping[str, Any] = response.json()
        code = problem["code"]
    except (ValueError, KeyError, TypeError):
        raise ApiRefusal("internal", f"HTTP {response.status_code} without an explanation; {_URL_HINT}", {}) from None
    detail = f"{problem['detail']} (next: {problem['next']})"
    if code == "unavailable":
        raise Temporary("unavailable", detail)
    raise ApiRefusal(cast(Code, code) if code in CODES else "internal", detail, problem)


async def _lines(response: httpx2.Response) -> AsyncIterator[str]:
    """Yield lines that end with a line feed: a text in JSON may hold the other signs at which Python ends lines."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()
    if rest:
        yield rest.decode()


async def _events(response: httpx2.Response) -> AsyncIterator[StreamEvent]:
    fields: dict[str, str] = {}
    async for line in _lines(response):
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "event" in fields:
            yield StreamEvent(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
