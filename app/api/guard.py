"""ASGI middleware in front of every route: trace id, key, size of bodies, JSON that has one meaning, sound addresses.

`server.create_app` adds it. It is no resource: it has no route of its own.
"""

import re
from http import HTTPStatus
from typing import NamedTuple
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.api.dependencies import CALLER, caller_by_key
from memory import json_text
from memory.errors import Code, ControlError
from memory.postgres.refusals import DriverError

MOST_BYTES = 1_000_000
STREAM = "is_stream"
"""Where a scope says that its answer has no end of its own."""
CORRELATION = "x-correlation-id"
_MOST_BYTES_OF_STRANGERS = 10_000
_KEYLESS = frozenset({"/api/keys/claim"})
"""Addresses below `/api` that ask for no key."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class _Refusal(NamedTuple):
    code: Code
    detail: str
    status: int | None = None


class _ClientLeft(Exception):
    """The client went, or was ended, before its body was complete."""


class Guard:
    """ASGI middleware; asks for the key before it reads a body, and refuses before any route has seen one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["trace"] = trace(Headers(scope=scope))
        request, tell = Request(scope), _marking(scope, send)
        try:
            chunks = await _admit(request, receive)
        except _ClientLeft:
            return
        if isinstance(chunks, _Refusal):
            answer = problems.response(request, chunks.code, chunks.detail, status=chunks.status)
        elif isinstance(chunks, Exception):
            answer = await problems.answer(request, chunks)
        else:
            await self._app(scope, _replay(chunks, receive), tell)
            return
        await answer(scope, receive, tell)


def _marking(scope: Scope, send: Send) -> Send:
    """Return what sends an answer with its trace id, and notes in the scope whether it is a stream."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Correlation-Id"] = scope["trace"]
            scope[STREAM] = headers.get("content-type", "").startswith("text/event-stream")
        await send(message)

    return tell


def trace(headers: Headers) -> str:
    """Return the id that the client sent, from `X-Correlation-Id` or `traceparent`, or a new one."""
    correlation = headers.get(CORRELATION, "")
    if _ID.fullmatch(correlation):
        return correlation
    parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return parent.group(1) if parent else uuid4().hex


async def _admit(request: Request, receive: Receive) -> list[Message] | _Refusal | ControlError | DriverError:
    """Return the messages of the body, none for a read, or why the request is refused."""
    scope = request.scope
    if refusal := _bad_address(scope):
        return refusal
    limit = _MOST_BYTES_OF_STRANGERS
    if scope["path"].startswith("/api/") and scope["path"] not in _KEYLESS:
        try:
            scope[CALLER] = await caller_by_key(request)
        except (ControlError, DriverError) as error:
            return error
        limit = MOST_BYTES
    return _bad_announcement(request.headers, limit) or await _take_body(receive, scope, limit)


def _bad_address(scope: Scope) -> _Refusal | None:
    address = scope.get("raw_path", b"") + scope.get("query_string", b"") + scope["path"].encode(errors="replace")
    if b"%00" in address or b"\x00" in address:
        return _Refusal("bad_request", "the address holds a zero byte; remove it")
    return None


def _bad_announcement(headers: Headers, limit: int) -> _Refusal | None:
    """Return why a body is refused by what its headers say of it."""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        return _Refusal("too_large", f"the body of {length} bytes is larger than {limit:,}; send less")
    return _wrong_type(headers) if length != "0" or "transfer-encoding" in headers else None


def _wrong_type(headers: Headers) -> _Refusal | None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    detail = f"the body is {kind or 'of no declared type'!r}; send application/json"
    return _Refusal("unsupported_media_type", detail)


async def _read(receive: Receive, scope: Scope, limit: int) -> list[Message] | None:
    """Return the messages of the body, or None if it is too large; reads have none."""
    chunks: list[Message] = []
    if scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS"):
        return chunks
    size, has_more = 0, True
    while has_more:
        message = await receive()
        # Half a body must not pass for a whole one.
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        chunks.append(message)
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)
        # Counted here too: a chunked body declares no length.
        if size > limit:
            return None
    return chunks


async def _take_body(receive: Receive, scope: Scope, limit: int) -> list[Message] | _Refusal:
    chunks = await _read(receive, scope, limit)
    return _bad_body(chunks, limit) or chunks or []


def _bad_body(chunks: list[Message] | None, limit: int) -> _Refusal | None:
    """Return why the body is refused before any route has seen it; whether it is JSON at all is for the route."""
    if chunks is None:
        return _Refusal("too_large", f"the body is larger than {limit:,} bytes; send less")
    try:
        json_text.read(b"".join(chunk.get("body", b"") for chunk in chunks))
    except json_text.RepeatedName as error:
        return _Refusal("bad_request", f"the body can be read two ways: {error}", HTTPStatus.UNPROCESSABLE_ENTITY)
    except (ValueError, RecursionError):
        return None
    return None


def _replay(chunks: list[Message], receive: Receive) -> Receive:
    async def replay() -> Message:
        return chunks.pop(0) if chunks else await receive()

    return replay
