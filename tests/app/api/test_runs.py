from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from app.api.dependencies import Services
from memory.runs import leases, records
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from memory.store import search, write
from memory.store.models import Provenance
from tests.app.conftest import RecordingQueue
from tools import effects
from tools.action import Json

Ask = Callable[..., Awaitable[Lease]]


async def test_a_message_starts_a_run_and_wakes_a_worker(a: httpx2.AsyncClient, queue: RecordingQueue) -> None:
    answer = await a.post("/api/runs", json={"message": "customers were billed twice"})
    assert answer.status_code == 202
    assert queue == [answer.json()["run"]]
    assert answer.headers["location"] == f"/api/runs/{queue[0]}"


async def test_a_run_shows_request_requester_and_cost(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    run = (await a.post("/api/runs", json={"message": "pause it"})).json()["run"]
    view = (await b.get(f"/api/runs/{run}")).json()
    assert (view["requester"], view["request"], view["status"]) == ("alice", "pause it", "queued")
    assert view["cost"]["calls"] == {"spent": 0, "reserved": 0, "limit": 100}


async def test_correlation_id_of_the_client_is_recorded_and_returned(a: httpx2.AsyncClient) -> None:
    """R110."""
    answer = await a.post("/api/runs", json={"message": "x"}, headers={"X-Correlation-Id": "mine-1"})
    view = (await a.get(answer.headers["location"])).json()
    assert (answer.headers["x-correlation-id"], view["correlation"]) == ("mine-1", "mine-1")


async def test_a_malformed_plan_is_refused_with_every_problem_and_nothing_written(
    a: httpx2.AsyncClient, queue: RecordingQueue
) -> None:
    """R2."""
    plan: dict[str, Any] = {
        "id": "p",
        "goal": "g",
        "steps": [{"id": "one", "tool": "billing.nothing", "effect": "write", "args": {}}],
    }
    answer = await a.post("/api/runs", json={"plan": plan})
    assert (answer.status_code, answer.json()["code"]) == (422, "plan_invalid")
    assert answer.json()["problems"]
    assert queue == []
    assert (await a.get("/api/runs")).json()["items"] == []


async def test_a_plan_with_an_unknown_tool_is_refused(a: httpx2.AsyncClient) -> None:
    step: dict[str, Any] = {"id": "one", "tool": "billing.nothing", "effect": "read", "args": {}, "expect": "true"}
    answer = await a.post("/api/runs", json={"plan": {"id": "p", "goal": "g", "steps": [step]}})
    assert answer.json()["code"] == "plan_invalid"
    assert "billing.nothing" in answer.json()["detail"]


async def test_an_unknown_runbook_is_not_found(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/runs", json={"runbook": "no.such"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_message_and_plan_together_are_refused(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/runs", json={"message": "x", "runbook": "y"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_lists_go_on_by_cursor_without_loss(a: httpx2.AsyncClient) -> None:
    runs = {(await a.post("/api/runs", json={"message": "x"})).json()["run"] for _ in range(5)}
    items: list[str] = []
    cursor: str | None = None
    while True:
        page = (await a.get("/api/runs", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        items += [item["run"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(items) == 5
    assert set(items) == runs


async def test_a_made_up_cursor_is_refused(a: httpx2.AsyncClient) -> None:
    assert (await a.get("/api/runs", params={"cursor": "nonsense"})).status_code == 400


async def test_cancel_ends_a_waiting_run_once(a: httpx2.AsyncClient) -> None:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    assert (await a.post(f"/api/runs/{run}/cancel", json={"reason": "no"})).json()["status"] == "cancelled"
    again = await a.post(f"/api/runs/{run}/cancel", json={"reason": "no"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_stranger_may_not_cancel_but_an_operator_may(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    bob_run = (await b.post("/api/runs", json={"message": "x"})).json()["run"]
    answer = await a.post(f"/api/runs/{bob_run}/cancel", json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    alice_run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    assert (await b.post(f"/api/runs/{alice_run}/cancel", json={})).status_code == 200


async def test_a_stopped_run_is_resumed_and_woken(
    a: httpx2.AsyncClient, services: Services, alice: Principal, queue: RecordingQueue
) -> None:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    lease = await records.lease(services.database, run, 1)
    assert lease
    async with services.database.transaction(Access.of(alice)) as connection:
        await records.finish(connection, lease, status="stopped", reason="killed", message="stopped", body={})
    queue.clear()
    assert (await a.post(f"/api/runs/{run}/resume")).status_code == 202
    assert queue == [run]


async def test_a_run_of_another_tenant_does_not_exist(a: httpx2.AsyncClient) -> None:
    answer = await a.get("/api/runs/authority-somebody")
    assert answer.status_code == 404


async def test_the_journal_of_a_run_can_be_read_on(a: httpx2.AsyncClient) -> None:
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    entries: list[dict[str, Any]] = (await a.get(f"/api/runs/{run}/journal")).json()["items"]
    assert [entry["body"]["kind"] for entry in entries] == ["requested"]
    assert (await a.get(f"/api/runs/{run}/journal", params={"after": 1})).json()["items"] == []


async def test_a_thread_belongs_to_who_opened_it(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    await a.post("/api/runs", json={"message": "x", "thread": "t1"})
    answer = await b.post("/api/runs", json={"message": "x", "thread": "t1"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_run_shows_what_came_of_each_step(a: httpx2.AsyncClient, services: Services) -> None:
    """R98: status, duration, tool, cost and where to look."""
    run = (await a.post("/api/runs", json={"message": "look"})).json()["run"]
    lease, cost = await records.lease(services.database, run, 1), {"tokens": 0, "micros": 0, "calls": 1, "millis": 12}
    assert lease
    entry: dict[str, Json] = {"tool": "jobs.look", "state": "done", "outcome": {"result": {}, "message": ""}}
    for batch in ("look#1", "look#2"):
        body = {**entry, "step": batch, "cost": cost, "checkpoint": f"c-{batch}"}
        await effects.end_read(services.database, lease, body)
    view = (await a.get(f"/api/runs/{run}")).json()
    assert view["outcomes"] == [
        {
            "step": "look",
            "tool": "jobs.look",
            "status": "done",
            "duration": 24,
            "cost": {"calls": 2, "tokens": 0, "micros": 0},
            "pointers": ["c-look#1", "c-look#2"],
        }
    ]
    assert view["memory"] == {"shown": [], "cited": []}


async def test_a_run_that_is_cancelled_while_it_waits_leaves_what_any_other_does(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, services: Services, alice: Principal
) -> None:
    """R91 R97: its outcome, its requester's summary and no working memory, whoever cancels it; repeated, the same."""
    run = (await a.post("/api/runs", json={"message": "pause the retry job"})).json()["run"]
    working = leases.access_of(alice, run, run)
    await write.remember(services.database, working, "half is done", trust="untrusted", provenance=Provenance())
    for _ in range(2):
        answer = await b.post(f"/api/runs/{run}/cancel", json={}, headers={"Idempotency-Key": "once"})
        assert answer.json() == {"run": run, "status": "cancelled"}
    memories = {str(memory.scope): memory.body for memory in await search.ls(services.database, working)}
    assert memories.keys() == {"agent:shared", "user:alice"}
    assert memories["user:alice"].startswith("asked 'pause the retry job': request cancelled (cancelled) in")
    assert [item["body"] for item in (await b.get("/api/memory")).json()["items"]] == [memories["agent:shared"]]
