"""Raw connections to a server of this process: what no well-behaved HTTP client would send."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from app.api.server import http_server
from app.edge import Edge
from app.processes import listening
from tests.serving import serving


class Reply(NamedTuple):
    """One answer as it stood on the wire."""

    status: int
    headers: dict[str, str]
    body: Any


class Wire:
    """A connection whose bytes are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, content: bytes) -> None:
        """Send, as far as the server lets us."""
        try:
            self._writer.write(content)
            await self._writer.drain()
        except ConnectionError:
            return

    async def reply(self) -> Reply:
        """Return the next answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(head[0].split()[1]), headers, json.loads(body) if body else None)

    async def until(self, content: bytes) -> None:
        """Read up to some bytes of an answer that goes on."""
        await self._reader.readuntil(content)

    async def rest(self) -> bytes:
        """Return all that comes until the server ends the connection."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@asynccontextmanager
async def connect(port: int) -> AsyncGenerator[Wire]:
    """Open a connection for the length of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        wire.close()


@asynccontextmanager
async def edge(app: ASGIApp, **limits: Any) -> AsyncGenerator[int]:
    """Serve an application within limits; yields the port."""
    with listening("127.0.0.1", 0) as listener:
        async with serving(http_server(app, Edge(**limits)), listener):
            yield listener.getsockname()[1]
