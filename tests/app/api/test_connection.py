import asyncio
from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from app.api.server import http_server
from app.edge import Edge
from app.processes import listening
from tests.app.api.sockets import connect, edge

LIVE = b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\n"
HALF = b"GET /livez HTTP/1.1\r\nHost: api\r\nX-Half: "
POST = b"POST /api/keys/claim HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "head",
    [
        HALF + b"a" * 10_000_000,
        b"GET /" + b"a" * 10_000_000,
        b"GET /livez HTTP/1.1\r\n" + b"X-A: b\r\n" * 1_000_000,
        b"\r\n" * 5_000_000,
    ],
    ids=["one header", "address", "many headers", "blank lines"],
)
async def test_a_head_beyond_the_limit_is_refused_before_it_is_read_whole(app: FastAPI, head: bytes) -> None:
    async with edge(app) as port, connect(port) as wire:
        sending = asyncio.create_task(wire.send(head))
        text = await wire.rest()
        await sending
    assert text.startswith(b"HTTP/1.1 431 ")


async def test_the_limit_holds_for_every_request_of_a_connection(app: FastAPI) -> None:
    async with edge(app) as port, connect(port) as wire:
        await wire.send(LIVE)
        assert (await wire.reply()).status == 200
        await wire.send(HALF + b"a" * 40_000)
        assert (await wire.reply()).status == 431


async def test_the_refusal_is_a_problem_and_ends_the_connection(app: FastAPI) -> None:
    async with edge(app, header_bytes=2_000) as port, connect(port) as wire:
        await wire.send(HALF + b"a" * 2_000 + b"\r\n\r\n")
        reply = await wire.reply()
        assert (reply.status, reply.body["code"], reply.body["status"]) == (431, "headers_too_large", 431)
        assert (reply.headers["content-type"], reply.headers["connection"]) == ("application/problem+json", "close")
        assert reply.headers["x-correlation-id"] == reply.body["trace_id"]
        assert await wire.rest() == b""


async def test_requests_within_the_limits_are_answered_however_they_are_cut(app: FastAPI) -> None:
    head = HALF + b"a" * 1_900 + b"\r\n\r\n"
    async with edge(app, header_bytes=2_000) as port, connect(port) as wire:
        for byte in head:
            await wire.send(bytes([byte]))
        assert (await wire.reply()).status == 200
        await wire.send(head * 5)
        assert [(await wire.reply()).status for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("content", "part"),
    [(HALF, "headers"), (b"\r\n", "headers"), (POST + b"Content-Length: 100\r\n\r\n{", "body")],
)
async def test_half_a_request_is_not_waited_for(app: FastAPI, content: bytes, part: str) -> None:
    async with edge(app, header_seconds=0.1, body_seconds=0.1) as port, connect(port) as wire:
        await wire.send(content)
        reply = await wire.reply()
        assert (reply.status, reply.body["code"]) == (408, "request_timeout")
        assert part in reply.body["detail"]
        assert await wire.rest() == b""


async def test_a_connection_on_which_nothing_comes_is_closed(app: FastAPI) -> None:
    async with edge(app, header_seconds=0.1, idle_seconds=1) as port, connect(port) as silent, connect(port) as idle:
        await idle.send(LIVE)
        assert (await idle.reply()).status == 200
        assert await silent.rest() == b""
        assert await idle.rest() == b""


@pytest.mark.parametrize("content", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"])
async def test_what_is_no_http_is_answered_with_a_problem(app: FastAPI, content: bytes) -> None:
    async with edge(app) as port, connect(port) as wire:
        await wire.send(content)
        reply = await wire.reply()
        assert (reply.status, reply.body["code"]) == (400, "bad_request")


@pytest.mark.parametrize("rest", [b"1;" + b"x" * 100_000, b"2\r\n{}\r\n0\r\nX-T: " + b"x" * 100_000])
async def test_what_comes_beside_a_body_has_a_limit_too(app: FastAPI, rest: bytes) -> None:
    async with edge(app, header_bytes=2_000) as port, connect(port) as wire:
        await wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await wire.send(rest)
        reply = await wire.reply()
        assert (reply.status, reply.body["code"]) == (431, "headers_too_large")


async def test_half_open_requests_push_out_each_other_and_nobody_else(app: FastAPI) -> None:
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(edge(app, connections_per_peer=3))
        halves = [await stack.enter_async_context(connect(port)) for _ in range(9)]
        for half in halves:
            await half.send(HALF)
        async with connect(port) as wire:
            await wire.send(LIVE)
            assert (await wire.reply()).status == 200
        assert [await half.rest() for half in halves[:6]] == [b""] * 6
        await halves[8].send(b"x\r\n\r\n")
        assert (await halves[8].reply()).status == 200


async def test_what_is_being_answered_gives_way_to_nobody() -> None:
    async with edge(_endless, connections=2) as port, connect(port) as first, connect(port) as second:
        for wire in (first, second):
            await wire.send(LIVE)
            assert (await wire.reply()).status == 200
        async with connect(port) as third:
            reply = await third.reply()
        assert (reply.status, reply.body["code"], reply.headers["retry-after"]) == (503, "too_many_connections", "1")


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    lost = asyncio.Event()

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        writing = asyncio.create_task(_write(send, b"x" * 1_000_000))
        while (await receive())["type"] != "http.disconnect":
            continue
        writing.cancel()
        lost.set()

    async with edge(flood, unread_seconds=0.1) as port, connect(port) as wire:
        await wire.send(LIVE)
        await lost.wait()


async def test_the_end_waits_for_answers_and_for_nothing_else() -> None:
    """Streams, idle connections and half-sent requests; the grace would be longer than the test may take."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listening("127.0.0.1", 0))
        server = http_server(_endless, Edge(grace_seconds=600))
        serving = asyncio.create_task(server.serve([listener]))
        port = listener.getsockname()[1]
        wires = [await stack.enter_async_context(connect(port)) for _ in range(4)]
        for wire, content in zip(wires, (LIVE, HALF, POST + b"Content-Length: 9\r\n\r\n{", b""), strict=True):
            await wire.send(content)
        assert (await wires[0].reply()).status == 200
        server.should_exit = True
        await serving
        assert [await wire.rest() for wire in wires] == [b""] * 4


async def _endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a stream that has begun and never ends."""
    scope["is_stream"] = True
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"transfer-encoding", b"chunked")]}
    if scope["method"] == "GET":
        await send(start)
    while (await receive())["type"] != "http.disconnect":
        continue


async def _write(send: Send, content: bytes) -> None:
    while True:
        await send({"type": "http.response.body", "body": content, "more_body": True})
        # Once nobody is there, it returns at once.
        await asyncio.sleep(0)


UPGRADES = (
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1Ez\r\n",
)


@pytest.mark.parametrize("upgrade", UPGRADES, ids=["HTTP/2", "WebSocket"])
async def test_a_wish_for_another_protocol_is_answered_in_http_and_ends_the_connection(
    app: FastAPI, upgrade: bytes
) -> None:
    async with edge(app) as port, connect(port) as wire:
        await wire.send(LIVE[:-2] + upgrade + b"\r\n" + LIVE)
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await wire.rest() == b""


async def test_a_refused_second_request_does_not_cost_the_answer_to_the_first(app: FastAPI) -> None:
    async with edge(app, header_bytes=2_000) as port, connect(port) as wire:
        await wire.send(LIVE + HALF + b"a" * 20_000)
        assert (await wire.reply()).status == 200
        assert await wire.rest() == b""
