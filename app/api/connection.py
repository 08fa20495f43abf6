"""HTTP connection of one client: bytes and seconds are counted before the parser gets to see anything.

The parser has no limit of its own, and what it does with a header grows faster than the header. `app.api.server`
serves through it.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.api import problems
from app.api.guard import MOST_BYTES, STREAM
from app.api.peers import Peers
from app.edge import Edge
from memory.errors import Code

_PIECE = 65_536
"""Bytes of a body that the parser gets at once."""
_LEFTOVER = 1_000_000
"""Bytes that are read and dropped after a refusal: a client that only sends would lose the answer otherwise."""
_LINGER_SECONDS = 2.0
_RETRY_SECONDS = 1


def protocol(edge: Edge) -> Callable[..., asyncio.Protocol]:
    """Return what makes the connections of one server."""
    peers = Peers(edge.connections, edge.connections_per_peer, edge.proxies)

    def connect(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        return Connection(config, server_state, app_state, _loop, edge=edge, peers=peers)

    return connect


class Connection(HttpToolsProtocol):
    """A connection within the limits of the edge; what exceeds them is answered with a problem and ended."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        edge: Edge,
        peers: Peers,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._edge = edge
        self._peers = peers
        self._address = ""
        self._in_head = True
        self._head_bytes = 0
        """Bytes of a head that is not complete; 0 between two requests."""
        self._has_ended = False
        """Whether a request was completed by the piece that the parser has now."""
        self._body_bytes = 0
        self._extra_bytes = 0
        """Bytes that came with a body and are none of it: sizes of chunks, and trailers."""
        self._is_refused = False
        self._leftover = _LEFTOVER
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._address = self.client[0] if self.client else ""
        if not self._peers.admit(self, self._address):
            # At once: who waits for an answer to be read would be one connection more.
            self._is_refused = True
            self.transport.write(_answer("too_many_connections", "the server has as many connections as it takes"))
            self.transport.close()
            return
        self._expire_in(self._edge.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and make room."""
        self._peers.leave(self, self._address)
        self._cancel_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def give_way(self) -> bool:
        """End at once if the client is waited for; return whether it did."""
        is_waiting = not self._is_at_work() or not (self._in_head or self.cycle.response_started)
        if is_waiting:
            self._peers.leave(self, self._address)
            self.transport.abort()
        return is_waiting

    def data_received(self, data: bytes) -> None:
        """Give the parser no more than the limits allow."""
        self._unset_keepalive_if_required()
        start = 0
        while start < len(data) and not self._is_refused:
            room = self._edge.header_bytes - self._head_bytes if self._in_head else _PIECE
            # The usual request fits: a slice of the whole is no copy.
            piece = data[start : start + room]
            start += room
            self._feed(piece)
        if self._is_refused:
            self._drop(len(data) - min(start, len(data)))
        else:
            self._watch()

    def _feed(self, piece: bytes) -> None:
        if self.parser is None:
            return
        was_in_head, body_before = self._in_head, self._body_bytes
        self._has_ended = False
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # A server may go on in HTTP; the parser takes no further request on this connection.
            self._is_refused = True
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError:
            self._refuse("bad_request", "this is no HTTP")
            return
        if not self._has_ended:
            self._count(len(piece), was_in_head=was_in_head, body=self._body_bytes - body_before)

    def _count(self, size: int, *, was_in_head: bool, body: int) -> None:
        """Count a piece that completed no request, of which so much was body."""
        if self._in_head:
            self._head_bytes += size
            limit = self._edge.header_bytes
            if self._head_bytes >= limit:
                self._refuse("headers_too_large", f"more than {limit:,} bytes came before the end of the headers")
        elif not was_in_head:
            self._extra_bytes += size - body
            self._check_body()

    def _check_body(self) -> None:
        if self._extra_bytes > self._edge.header_bytes + self._body_bytes:
            self._refuse("headers_too_large", "what came beside the body is larger than it; send no trailers")
        # Until it is answered, the guard counts; after that the rest is only read to be dropped.
        elif self._body_bytes > MOST_BYTES + _LEFTOVER:
            self._refuse("too_large", f"the body is larger than {MOST_BYTES:,} bytes; send less")

    def on_headers_complete(self) -> None:
        """Start the request; its body comes next."""
        super().on_headers_complete()
        self._in_head = False
        self._head_bytes = self._body_bytes = self._extra_bytes = 0
        self._cancel_deadline()

    def on_body(self, body: bytes) -> None:
        """Count, and pass on."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        self._in_head = self._has_ended = True
        self._cancel_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on, and do not wait for ever for a client that leaves the end of its answer unread."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.pause_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, also one whose client never read its answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self._edge.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def shutdown(self) -> None:
        """End at once, unless a whole request is being answered; streams never end by themselves, and are resumed."""
        if not self._in_head or (self._is_at_work() and self.cycle.scope.get(STREAM)):
            self.transport.abort()
        super().shutdown()

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]  # None before the first request

    def _watch(self) -> None:
        """Set a deadline for what is not complete, unless one runs."""
        if self._deadline is not None or self.transport.is_closing():
            return
        if not self._in_head:
            self._expire_in(self._edge.body_seconds)
        elif self._head_bytes:
            self._expire_in(self._edge.header_seconds)

    def _expire_in(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._expire)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self._in_head and not self._head_bytes:
            self.transport.close()
            return
        part = "headers" if self._in_head else "body"
        self._refuse("request_timeout", f"the {part} of the request took too long")

    def _refuse(self, code: Code, detail: str) -> None:
        """Answer with a problem and end, without waiting for what else comes."""
        self._is_refused = True
        self._cancel_deadline()
        if not self._may_answer():
            self._end_unanswered()
            return
        if self._is_at_work():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_answer(code, detail))
        self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _may_answer(self) -> bool:
        """Return whether nothing was answered to the request that is arriving, and no earlier one is being answered."""
        if self._in_head:
            return not self._is_at_work()
        return self._is_at_work() and not self.cycle.response_started

    def _end_unanswered(self) -> None:
        """End after what is being answered to an earlier request, or at once if its own answer has begun."""
        if self._in_head:
            self.cycle.keep_alive = False
        else:
            self.transport.abort()

    def _drop(self, size: int) -> None:
        """Read on for a while, or the client would get a reset in place of the answer."""
        self._leftover -= size
        if self._leftover < 0 and not self.transport.is_closing():
            self.transport.pause_reading()


def _answer(code: Code, detail: str) -> bytes:
    status, trace = problems.PROBLEMS[code].status, uuid4().hex
    body = json.dumps(problems.document(code, detail, status=status, instance="", trace=trace)).encode()
    retry = f"retry-after: {_RETRY_SECONDS}\r\n" if code == "too_many_connections" else ""
    head = (
        f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        f"x-correlation-id: {trace}\r\n{retry}connection: close\r\n\r\n"
    )
    return STATUS_LINE[status] + head.encode() + body
