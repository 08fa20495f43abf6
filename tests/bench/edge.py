"""Cost of the edge: what counting bytes adds to a request, and who waits beside half-open requests and a slow reader.

Rounds are paired, so that what else the machine does falls on both sides: `python -m tests.bench.edge`.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from app.api.server import create_app, http_server
from app.edge import Edge
from app.processes import listening
from tests.app.api.sockets import Wire, connect
from tests.serving import serving

ROUNDS, REQUESTS = 30, 300
HALF_OPEN = 400
LIVE = b"GET /livez HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n"
FLOOD = b"GET /flood HTTP/1.1\r\nHost: bench\r\n\r\n"


async def counting() -> dict[str, float]:
    """Return the median time of a request through the stock protocol and through ours, in microseconds."""
    async with (
        _serving(_server(_answer)) as stock,
        _serving(http_server(_answer, Edge())) as ours,
        connect(stock) as stock_wire,
        connect(ours) as our_wire,
    ):
        pairs = [(await _seconds(stock_wire), await _seconds(our_wire)) for _ in range(ROUNDS)]
    differences = [(own - other) * 1e6 for other, own in pairs]
    return {
        "stock_us": round(statistics.median(other for other, _ in pairs) * 1e6, 1),
        "ours_us": round(statistics.median(own for _, own in pairs) * 1e6, 1),
        "difference_us": round(statistics.median(differences), 1),
    }


async def crowd() -> dict[str, float]:
    """Return the median of `/livez` alone and beside a crowd, by turns; `ratio` is that of the pairs' median."""
    alone: list[float] = []
    beside: list[float] = []
    async with _serving(http_server(_flooding, Edge())) as port, connect(port) as wire:
        for _ in range(ROUNDS // 3):
            alone.append(await _seconds(wire))
            async with _crowd(port):
                beside.append(await _seconds(wire))
    ratios = [one / other for one, other in zip(beside, alone, strict=True)]
    return {
        "alone_us": round(statistics.median(alone) * 1e6, 1),
        "beside_us": round(statistics.median(beside) * 1e6, 1),
        "ratio": round(statistics.median(ratios), 2),
        "worst_ratio": round(max(ratios), 2),
    }


@asynccontextmanager
async def _crowd(port: int) -> AsyncGenerator[None]:
    """Keep half-open requests and a reader that stops reading for the length of the block."""
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(connect(port))
        await reader.send(FLOOD)
        for _ in range(HALF_OPEN):
            half = await stack.enter_async_context(connect(port))
            await half.send(LIVE[:-2])
        yield


async def _seconds(wire: Wire) -> float:
    """Return the median time of a request on a connection that stays."""
    times: list[float] = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        await wire.send(LIVE)
        await wire.reply()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@asynccontextmanager
async def _serving(server: uvicorn.Server) -> AsyncGenerator[int]:
    with listening("127.0.0.1", 0) as listener:
        async with serving(server, listener):
            yield listener.getsockname()[1]


def _server(app: object) -> uvicorn.Server:
    """Return a server as it comes, without our limits."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", server_header=False, ws="none"))  # pyright: ignore[reportArgumentType]  # any ASGI application


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    body = b'{"status":"ok"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_API = create_app()


async def _flooding(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the API, and one address with more than its client reads."""
    if scope["path"] != "/flood":
        await _API(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    writing = asyncio.create_task(_write(send))
    await receive()
    while (await receive())["type"] != "http.disconnect":
        continue
    writing.cancel()


async def _write(send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        # To somebody who is gone the server sends without waiting, and nobody else would have a turn.
        await asyncio.sleep(0)


def main(names: Sequence[str]) -> None:
    """Print the figures that are named, or all."""
    import uvloop

    for name, work in (("counting", counting), ("crowd", crowd)):
        if not names or name in names:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                sys.stdout.write(json.dumps({name: runner.run(work())}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
