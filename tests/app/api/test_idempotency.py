import httpx2
import pytest

from app.api.dependencies import Services
from memory.errors import Permanent
from memory.runs import idempotency
from memory.scope import Access, Principal
from tests.app.conftest import RecordingQueue

KEY = {"Idempotency-Key": "k1"}


async def test_a_repeated_start_is_answered_alike_and_starts_nothing(
    a: httpx2.AsyncClient, queue: RecordingQueue
) -> None:
    first = await a.post("/api/runs", json={"message": "x"}, headers=KEY)
    second = await a.post("/api/runs", json={"message": "x"}, headers=KEY)
    assert (first.json(), second.headers["idempotency-replayed"]) == (second.json(), "true")
    assert queue == [first.json()["run"]]


async def test_the_same_key_with_another_body_is_refused(a: httpx2.AsyncClient) -> None:
    await a.post("/api/runs", json={"message": "x"}, headers=KEY)
    answer = await a.post("/api/runs", json={"message": "y"}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


async def test_while_the_first_is_at_work_the_second_is_told_so(
    a: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    async with services.database.transaction(Access.of(alice)) as connection:
        await idempotency.earlier_answer(connection, idempotency.IdempotentRequest.of("k1", "POST /api/runs", {}))
        answer = await a.post("/api/runs", json={"message": "x"}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_keys_of_two_people_are_two_keys(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    alice_run = (await a.post("/api/runs", json={"message": "x"}, headers=KEY)).json()
    bob_run = (await b.post("/api/runs", json={"message": "x"}, headers=KEY)).json()
    assert alice_run["run"] != bob_run["run"]


async def test_a_refused_request_keeps_no_answer(a: httpx2.AsyncClient) -> None:
    await a.post("/api/runs", json={"message": "x", "thread": "t1"})
    busy = await a.post("/api/runs", json={"message": "y", "thread": "t1"}, headers=KEY)
    assert (busy.status_code, busy.json()["code"]) == (409, "busy")
    run = (await a.get("/api/runs")).json()["items"][0]["run"]
    await a.post(f"/api/runs/{run}/cancel", json={})
    assert (await a.post("/api/runs", json={"message": "y", "thread": "t1"}, headers=KEY)).status_code == 202


async def test_answers_are_seen_by_their_own_person_only(services: Services, alice: Principal, bob: Principal) -> None:
    request = idempotency.IdempotentRequest.of("k", "r", {"x": 1})
    async with services.database.transaction(Access.of(alice)) as connection:
        await idempotency.record(connection, request, {"run": "1"})
    async with services.database.transaction(Access.of(bob)) as connection:
        cursor = await connection.execute("select * from requests")
        assert await cursor.fetchall() == []
    async with services.database.transaction(Access.of(alice)) as connection:
        assert await idempotency.earlier_answer(connection, request) == {"run": "1"}
        with pytest.raises(Permanent, match="another request"):
            await idempotency.earlier_answer(connection, idempotency.IdempotentRequest.of("k", "r", {"x": 2}))
