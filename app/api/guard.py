"""ASGI middleware in front of every route: trace id, size of bodies, JSON that has one meaning, sound addresses.

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
from memory import json_text
from memory.errors import Code

MOST_BYTES = 1_000_000
CORRELATION = "x-correlation-id"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class _Refusal(NamedTuple):
    code: Code
    detail: str
    status: int | None = None


class Guard:
    """ASGI middleware; refuses before any route has read the body, and counts what is streamed in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["trace"] = trace(headers)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = scope["trace"]
            await send(message)

        refusal = _refusal(scope, headers)
        if refusal is None:
            chunks = await _read(receive, scope)
            refusal = _bad_body(chunks)
            if refusal is None:
                await self._app(scope, _replay(chunks or [], receive), tell)
                return
        answer = problems.response(Request(scope), refusal.code, refusal.detail, status=refusal.status)
        await answer(scope, receive, tell)


def trace(headers: Headers) -> str:
    """Return the id that the client sent, from `X-Correlation-Id` or `traceparent`, or a new one."""
    correlation = headers.get(CORRELATION, "")
    if _ID.fullmatch(correlation):
        return correlation
    parent = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return parent.group(1) if parent else uuid4().hex


def _refusal(scope: Scope, headers: Headers) -> _Refusal | None:
    address = scope.get("raw_path", b"") + scope.get("query_string", b"") + scope["path"].encode(errors="replace")
    if b"%00" in address or b"\x00" in address:
        return _Refusal("bad_request", "the address holds a zero byte; remove it")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return _Refusal("too_large", f"the body of {length} bytes is larger than {MOST_BYTES:,}; send less")
    return _wrong_type(headers) if length != "0" or "transfer-encoding" in headers else None


def _wrong_type(headers: Headers) -> _Refusal | None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    detail = f"the body is {kind or 'of no declared type'!r}; send application/json"
    return _Refusal("unsupported_media_type", detail)


async def _read(receive: Receive, scope: Scope) -> list[Message] | None:
    """Return the messages of the body, or None if it is too large; reads have none."""
    chunks: list[Message] = []
    if scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS"):
        return chunks
    size, has_more = 0, True
    while has_more:
        message = await receive()
        chunks.append(message)
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)
        # Counted here too: a chunked body declares no length.
        if size > MOST_BYTES:
            return None
    return chunks


def _bad_body(chunks: list[Message] | None) -> _Refusal | None:
    """Return why the body is refused before any route has seen it; whether it is JSON at all is for the route."""
    if chunks is None:
        return _Refusal("too_large", f"the body is larger than {MOST_BYTES:,} bytes; send less")
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
