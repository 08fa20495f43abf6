from dataclasses import replace

import httpx2
import pytest
from fastapi import FastAPI

from app.api.brake import Brake, peer_of
from app.api.dependencies import Services
from memory.errors import ControlError, Permanent, Temporary
from memory.scope import Access, Principal
from tests.app.api.sockets import connect, edge
from tests.app.conftest import key_of

WRONG = Permanent("unauthenticated", "wrong")


@pytest.fixture
def braked(app: FastAPI, services: Services) -> FastAPI:
    """Return the application with a brake that takes two wrong keys a minute."""
    app.state.services = replace(services, brake=Brake(2))
    return app


@pytest.fixture
async def secret(services: Services, people: dict[str, Principal]) -> str:
    return (await key_of(services.database, Access.of(people["root"]), "alice")).secret


async def test_wrong_keys_are_braked_and_right_ones_never(braked: FastAPI, secret: str) -> None:
    async with edge(braked) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [await client.get("/api/me", headers={"X-Api-Key": f"wrong{n}"}) for n in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
        assert answers[2].json()["code"] == "too_many_wrong_keys"
        assert 0 < int(answers[2].headers["retry-after"]) <= 60
        assert (await client.get("/api/me", headers={"X-Api-Key": secret})).status_code == 200


async def test_codes_of_keys_are_braked_too(braked: FastAPI) -> None:
    async with edge(braked) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [await client.post("/api/keys/claim", json={"code": f"claim_{n}"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]


@pytest.mark.parametrize(
    ("proxies", "statuses"),
    [("", [401, 401, 429, 429]), ("127.0.0.0/8", [401] * 4), ("10.0.0.1", [401, 401, 429, 429])],
)
async def test_forwarded_addresses_count_only_from_configured_proxies(
    braked: FastAPI, proxies: str, statuses: list[int]
) -> None:
    async with edge(braked, proxies=proxies) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        headers = [{"X-Api-Key": "wrong", "X-Forwarded-For": f"1.1.1.1, 203.0.113.{n}"} for n in range(4)]
        assert [(await client.get("/api/me", headers=one)).status_code for one in headers] == statuses


async def test_the_key_is_looked_at_before_the_body_is_read(app: FastAPI, secret: str) -> None:
    post = b"POST /api/runs HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: 500000\r\n"
    async with edge(app) as port, connect(port) as wire:
        await wire.send(post + b"X-Api-Key: wrong\r\n\r\n")
        assert (await wire.reply()).status == 401
        await wire.send(b"x" * 500_000 + post + f"X-Api-Key: {secret}\r\n\r\n".encode() + b'{"message": "')
        await wire.send(b"x" * (500_000 - 15) + b'"}')
        reply = await wire.reply()
        assert (reply.status, reply.body["code"]) == (422, "bad_request")


async def test_a_body_that_breaks_off_starts_nothing(app: FastAPI, a: httpx2.AsyncClient, secret: str) -> None:
    head = b"POST /api/runs HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    async with edge(app, body_seconds=0.1) as port, connect(port) as wire:
        await wire.send(head + f"X-Api-Key: {secret}\r\n\r\n".encode() + b'{"message": "x"}')
        assert (await wire.reply()).status == 408
        await wire.rest()
    assert (await a.get("/api/runs")).json()["items"] == []


@pytest.mark.parametrize("second", ["Authorization: Bearer other", "X-Api-Key: other", "Authorization: Basic eDp5"])
async def test_two_credentials_are_refused_on_the_wire(app: FastAPI, secret: str, second: str) -> None:
    request = f"GET /api/me HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {secret}\r\n"
    async with edge(app) as port, connect(port) as wire:
        await wire.send(f"{request}\r\n{request}{second}\r\n\r\n".encode())
        assert [(await wire.reply()).status for _ in range(2)] == [200, 401]


async def test_strangers_may_not_send_large_bodies(app: FastAPI) -> None:
    async with edge(app) as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.post("/api/keys/claim", json={"code": "x" * 20_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_brake_lets_go_with_time_and_remembers_so_many() -> None:
    now = 0.0
    brake = Brake(2, lambda: now)
    codes = [brake.refuse("1.1.1.1", WRONG).code for _ in range(3)]
    assert codes == ["unauthenticated", "unauthenticated", "too_many_wrong_keys"]
    error: ControlError = brake.refuse("1.1.1.1", WRONG)
    assert isinstance(error, Temporary)
    now += error.delay
    assert brake.refuse("1.1.1.1", WRONG) is WRONG
    for number in range(10_001):
        brake.refuse(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", WRONG)
    assert [brake.refuse("1.1.1.1", WRONG) for _ in range(2)] == [WRONG, WRONG]


def test_a_network_of_one_subscriber_is_one_peer() -> None:
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff%eth0") != peer_of("2001:db8:0:1::1")
    assert peer_of("::ffff:192.0.2.1") == peer_of("192.0.2.1") == "192.0.2.1"
    assert peer_of("made up") == "made up"
