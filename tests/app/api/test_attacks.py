"""Requests made to break in or to break something: each gets its refusal, and nothing is left behind."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from memory.governance import principals
from memory.postgres.database import Database
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.app.conftest import decision
from tests.conftest import Connection

pytestmark = pytest.mark.anyio
STEP: dict[str, Any] = {
    "id": "act", "tool": "jobs.pause", "effect": "write", "args": {"job": "j"}, "expect": "size(result) >= 0",
    "backout": "resume it",
}  # fmt: skip


def plan_body(step: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a complete plan of one step."""
    return {"plan": {"id": "p", "goal": "g", "steps": [{**STEP, **(step or {})}], **fields}}


@pytest.mark.parametrize(
    "body",
    [
        plan_body(cites=[{"id": "x", "version": 10**30}]),
        plan_body(cites=[{"id": "x", "version": 2**31}]),
        plan_body(cites=[{"id": "x" * 100_000, "version": 1}]),
        plan_body(inputs={"n": 10**400}),
        plan_body(inputs={"n": 2**63}, step={"when": "inputs.n > 0"}),
        plan_body(budget={"calls": 101}),
        plan_body(step={"role": "executor"}),
        plan_body(step={"args": {"job": {"handle": "h_" + "0" * 24, "start": 0, "count": 1, "digest": "0" * 64}}}),
        plan_body(step={"args": {"job": {"ref": "steps.later.job"}}}),
        plan_body(step={"batch": {"of": {"ref": "inputs.n"}, "into": "job", "size": 10**40}}, inputs={"n": 1}),
        plan_body(step={"expect": "[1,2,3].all(x, [1].all(y, true))"}),
        plan_body(step={"expect": "result.x" + " && true" * 200}),
        plan_body(step={"gate": "x' or 1=1"}),
        plan_body(step={"compensate": {"tool": "jobs.pause", "args": {"job": "j"}}}),
        plan_body(step={"on_failure": "ignore"}),
        plan_body(source="runbook", tenant="t"),
        plan_body(kind="investigation", step={"tool": "jobs.look", "effect": "read"}),
    ],
)
async def test_plans_that_cheat_are_refused_before_anything_is_written(a: httpx2.AsyncClient, body: Any) -> None:
    answer = await a.post("/api/runs", json=body)
    assert (answer.status_code, answer.json().get("code")) == (422, "plan_invalid")
    assert (await a.get("/api/runs")).json()["items"] == []


@pytest.mark.parametrize("depth", [150, 400, 900, 3000, 400_000])
async def test_deeply_nested_bodies_are_refused(a: httpx2.AsyncClient, depth: int) -> None:
    body = b'{"plan": {"x": ' + b"[" * depth + b"]" * depth + b"}}"
    answer = await a.post("/api/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    args = b'{"args": {"job": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}}"
    answer = await a.post(
        "/api/tools/jobs.pause/call", content=args[:900_000], headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)


async def test_a_plan_full_of_mistakes_is_answered_briefly(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/runs", json=plan_body(step={"args": {"job": [1] * 240_000}}))
    assert (answer.status_code, len(answer.content) < 20_000) == (422, True)


async def test_one_persons_key_does_not_replay_anothers_answer(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "same"}
    alice_run = (await a.post("/api/runs", json={"message": "x"}, headers=key)).json()
    bob_run = (await b.post("/api/runs", json={"message": "x"}, headers=key)).json()
    assert alice_run["run"] != bob_run["run"]


async def test_nobody_speaks_steers_or_answers_on_anothers_thread(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    bob_run = (await b.post("/api/runs", json={"message": "x"})).json()
    chat = await a.post("/api/chat", json={"message": "yes", "thread": bob_run["thread"]})
    superseding = await a.post("/api/chat", json={"message": "yes", "thread": bob_run["thread"], "supersedes": True})
    start = await a.post("/api/runs", json={"message": "yes", "thread": bob_run["thread"]})
    steering = [await a.post(f"/api/runs/{bob_run['run']}/{verb}", json={}) for verb in ("cancel", "resume")]
    assert [answer.status_code for answer in (chat, superseding, start, *steering)] == [403] * 5


@pytest.fixture
async def stranger(anonymous: httpx2.AsyncClient, owner: Connection, database: Database) -> httpx2.AsyncClient:
    """Return a client of an administrator of another tenant."""
    tenant = f"t-{uuid4().hex[:12]}"
    async with owner.transaction():
        await owner.execute("insert into tenants (id) values (%s)", [tenant])
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [tenant])
        await owner.execute("select put_principal('eve', %s, 9, 9)", [["admin", "finance"]])
    key = await principals.issue(database, Access.of(Principal(tenant, "eve")), "eve")
    anonymous.headers["Authorization"] = f"Bearer {key.secret}"
    return anonymous


@pytest.mark.parametrize(
    "path",
    ["runs/{run}", "runs/{run}/events", "runs/{run}/journal", "journal/export?run={run}", "approvals/ask-{run}"],
)
async def test_another_tenant_finds_nothing_by_id(
    stranger: httpx2.AsyncClient, a: httpx2.AsyncClient, ask: Callable[..., Awaitable[Lease]], path: str
) -> None:
    """R92"""
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    await ask(run)
    answer = await stranger.get("/api/" + path.format(run=run))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_another_tenant_can_neither_list_nor_steer_nor_decide(
    stranger: httpx2.AsyncClient, a: httpx2.AsyncClient, ask: Callable[..., Awaitable[Lease]]
) -> None:
    """R92"""
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    await ask(run)
    lists = [await stranger.get(f"/api/{name}") for name in ("runs", "approvals", "effects", "kills", "memory")]
    assert [answer.json()["items"] for answer in lists] == [[]] * 5
    assert run not in (await stranger.get("/api/journal/export")).text
    vote = await stranger.post(f"/api/approvals/ask-{run}/decisions", json=decision(f"ask-{run}"))
    steering = [await stranger.post(f"/api/runs/{run}/{verb}", json={}) for verb in ("cancel", "resume")]
    kill = await stranger.post("/api/kills", json={"kind": "run", "name": run, "reason": "mine"})
    assert [answer.status_code for answer in (vote, *steering, kill)] == [404] * 4
    assert (await a.get("/api/kills")).json()["items"] == []


async def test_an_edit_is_held_to_the_tools_arguments(
    b: httpx2.AsyncClient, a: httpx2.AsyncClient, ask: Callable[..., Awaitable[Lease]]
) -> None:
    """R45"""
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    await ask(run)
    for arguments in ({}, {"job": "x", "role": "admin"}, {"job": {"ref": "inputs.x"}}, {"job": 7}, None):
        body = decision(f"ask-{run}", "edit", reason="r", edited=arguments)
        answer = await b.post(f"/api/approvals/ask-{run}/decisions", json=body)
        assert (answer.status_code, answer.json()["code"]) in ((422, "invalid_arguments"), (404, "unknown_tool"))
    assert (await b.get(f"/api/approvals/ask-{run}")).json()["status"] == "open"


async def test_a_given_plan_runs_within_the_installations_bounds(a: httpx2.AsyncClient) -> None:
    """R81: whoever asks may lower the limit for a run, and a plan that says nothing does not raise it."""
    limits: list[list[int]] = []
    for body in (plan_body(), plan_body(budget={"calls": 5})):
        run = (await a.post("/api/runs", json=body)).json()["run"]
        cost = (await a.get(f"/api/runs/{run}")).json()["cost"]
        limits.append([cost[name]["limit"] for name in ("tokens", "micros", "calls")])
    assert limits == [[1000, 1000, 100], [1000, 1000, 5]]
