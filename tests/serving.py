"""HTTP servers of this process for the length of a block; used by tests of the API, the demo business and scenarios."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from socket import socket

import uvicorn


@asynccontextmanager
async def serving(server: uvicorn.Server, listener: socket) -> AsyncGenerator[None]:
    """Serve on a bound socket until the block ends.

    The server is cancelled: asked to exit it looks up only every tenth of a second, longer than many tests take.
    """
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  # uvicorn announces nothing
            await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for connection in list(server.server_state.connections):
            connection.shutdown()
        for listening in server.servers:
            listening.close()
