from collections.abc import AsyncIterator

import httpx2
import pytest

from app.api.problems import PROBLEMS
from memory.errors import CODES
from memory.scope import Principal
from tests.conftest import Connection


def test_every_code_has_a_status_and_a_next_step() -> None:
    assert set(PROBLEMS) == CODES
    assert all(kind.next and 400 <= kind.status < 600 for kind in PROBLEMS.values())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("PUT", "/api/runs", 405, "bad_request"),
        ("GET", "/api/runs?limit=0", 422, "bad_request"),
        ("GET", "/api/runs/%00", 400, "bad_request"),
    ],
)
async def test_failures_are_problem_documents(
    a: httpx2.AsyncClient, *, method: str, path: str, status: int, code: str
) -> None:
    answer = await a.request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert all(
        isinstance(problem[name], str) and problem[name] for name in ("detail", "trace_id", "next", "title", "type")
    )


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer cs_made_up"}, {"X-Api-Key": "x"}])
async def test_without_a_known_key_nothing_is_told(anonymous: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    answer = await anonymous.get("/api/runs", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("state", ["expires = now() - interval '1 second'", "revoked = now()"])
async def test_expired_and_revoked_keys_are_refused(
    a: httpx2.AsyncClient, owner: Connection, *, alice: Principal, state: str
) -> None:
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [alice.tenant])
        await owner.execute(f"update keys set {state}".encode())
    answer = await a.get("/api/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_the_key_may_come_in_either_header(a: httpx2.AsyncClient, anonymous: httpx2.AsyncClient) -> None:
    secret = a.headers["authorization"].partition(" ")[2]
    person = (await anonymous.get("/api/me", headers={"X-Api-Key": secret})).json()
    assert (person["person"], person["groups"]) == ("alice", ["support"])


async def test_a_body_that_is_not_json_is_refused(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/runs", content=b"<x/>", headers={"Content-Type": "text/xml"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    answer = await a.post("/api/runs", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")


async def test_a_large_message_is_refused_and_not_read_whole(a: httpx2.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 100_000

    answer = await a.post("/api/chat", content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert read < 20
    answer = await a.post("/api/chat", json={"message": "x" * 10_000_000})
    assert answer.status_code == 413


async def test_what_the_database_refuses_has_a_name_and_starts_nothing(
    a: httpx2.AsyncClient, owner: Connection
) -> None:
    await owner.execute("alter table journal add constraint broken check (false) not valid")
    try:
        answer = await a.post("/api/runs", json={"message": "x"})
    finally:
        await owner.execute("alter table journal drop constraint broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "record_refused")
    assert "'journal'" in answer.json()["detail"].replace('"', "'")
    assert (await a.get("/api/runs")).json()["items"] == []


@pytest.mark.parametrize("message", ["", "   ", "a\x00b", "\ud800", "x" * 8001])
async def test_text_that_cannot_be_a_message_is_refused(a: httpx2.AsyncClient, message: str) -> None:
    text = b'{"message": "%s"}' % message.encode("unicode_escape").replace(b"\\x00", b"\\u0000")
    answer = await a.post("/api/chat", content=text, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")
    assert (await a.get("/api/runs")).json()["items"] == []


async def test_who_asks_is_never_read_from_the_body(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/runs", json={"message": "x", "user": "bob", "tenant": "other"})
    assert answer.status_code == 422
