"""Memory over HTTP: a person's own scope, whatever the request says, with previews before anything leaves."""

import itertools
import json
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope
from memory.store import write
from memory.store.models import Provenance
from tests.app.conftest import Client

pytestmark = pytest.mark.anyio

PROBES = 2000
CANARY = "heliotrope"


async def fill(api: httpx2.AsyncClient, *texts: str) -> list[Any]:
    return [(await api.post("/api/memory", json={"body": text})).json() for text in texts]


async def test_a_search_explains_its_scores_and_counts_what_it_left_out(a: httpx2.AsyncClient) -> None:
    """R93"""
    for value in ("the office is in Kiel", "the office is in Bonn"):
        await a.post("/api/memory", json={"body": value, "key": "office"})
    result = (await a.get("/api/memory/search", params={"q": "where is the office"})).json()
    assert [hit["body"] for hit in result["items"]] == ["the office is in Bonn"]
    assert result["items"][0]["explain"]
    assert result["hidden"]["superseded"] == 1


async def test_nothing_leaves_before_exactly_that_was_looked_at(a: httpx2.AsyncClient) -> None:
    """R94"""
    await fill(a, "the blue door squeaks", "invoice 4711 was paid in March", "lunch is at noon on Fridays")
    preview = (await a.post("/api/memory/prune", json={"episodes": 1})).json()
    assert (preview["done"], preview["held"], len(preview["leaving"])) == (False, 3, 2)
    assert len((await a.get("/api/memory")).json()["items"]) == 3
    late = await a.post("/api/memory/prune", json={"episodes": 2, "expect": preview["digest"]})
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    report = (await a.post("/api/memory/prune", json={"episodes": 1, "expect": preview["digest"]})).json()
    assert (report["done"], report["gone"], report["archived"]) == (True, 2, 2)
    assert len((await a.get("/api/memory")).json()["items"]) == 1


async def test_what_was_pruned_can_be_taken_back_by_its_owner_alone(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient
) -> None:
    await fill(a, "the blue door squeaks")
    preview = (await a.post("/api/memory/prune", json={"episodes": 0})).json()
    await a.post("/api/memory/prune", json={"episodes": 0, "expect": preview["digest"]})
    (row,) = (await a.get("/api/memory/archive")).json()["items"]
    assert (await b.get("/api/memory/archive")).json()["items"] == []
    assert (await b.post(f"/api/memory/archive/{row['id']}/restore", json={})).status_code == 404
    assert (await a.post(f"/api/memory/archive/{row['id']}/restore", json={})).json()["body"] == row["body"]


async def test_an_export_goes_in_again_and_is_known_the_second_time(a: httpx2.AsyncClient) -> None:
    """R101"""
    (memory,) = await fill(a, "Grüße aus Kiel")
    lines = (await a.get("/api/memory/export")).text.splitlines()
    assert len(lines) == 2
    assert (await a.post("/api/memory/import", json={"lines": lines})).json() == {"imported": 0, "known": 1}
    preview = (await a.post("/api/memory/prune", json={"episodes": 0})).json()
    await a.post("/api/memory/prune", json={"episodes": 0, "expect": preview["digest"]})
    assert (await a.post("/api/memory/import", json={"lines": lines})).json() == {"imported": 1, "known": 0}
    assert (await a.get("/api/memory")).json()["items"][0]["id"] == memory["id"]


async def test_lines_that_are_no_export_are_refused_with_their_number(a: httpx2.AsyncClient) -> None:
    answer = await a.post("/api/memory/import", json={"lines": ['{"format": "countersign-memory/1"}', "nonsense"]})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "2" in answer.json()["detail"]


async def test_a_person_is_forgotten_by_themselves_or_an_administrator(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, client: Client
) -> None:
    """R102"""
    root, params = await client("root"), {"person": "alice"}
    for api in (a, root):
        await fill(a, f"keeps {CANARY} on the balcony")
        answer = await b.delete("/api/memory", params=params)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        receipt = (await api.delete("/api/memory", params=params)).json()
        assert receipt["counts"]["memories"] == 1
        assert (await a.get("/api/memory")).json()["items"] == []
    assert CANARY not in (await root.get("/api/journal/export")).text
    assert (await root.delete("/api/memory", params={"person": "nobody"})).status_code == 404
    assert (await a.delete("/api/memory")).status_code == 422


async def test_forged_scopes_in_requests_reach_nobody_elses_memory(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, database: Database, alice: Principal
) -> None:
    """R92: in addresses, queries, headers and bodies, whatever a client may think of."""
    session = Scope("session", str(uuid4()))
    for scope in (Scope("user", "alice"), session):
        access = Access(alice, (scope,), scope)
        await write.remember(database, access, f"{CANARY} in {scope}", trust="human", provenance=Provenance())
    (memory,) = (await a.get("/api/memory")).json()["items"]
    probes = itertools.islice(itertools.cycle(forgeries(memory["id"], alice.tenant, str(session))), PROBES)
    leaks = [answer.text for probe in probes if CANARY in (answer := await b.request(**probe)).text]
    assert leaks == []
    assert (await a.get("/api/memory")).json()["items"][0]["id"] == memory["id"]


def forgeries(memory: str, tenant: str, session: str) -> list[dict[str, Any]]:
    """Return requests that claim to be about another person's scope."""
    names = ("user:alice", session, "user:*", "user:%", "agent:shared' or true --", "user:bob,user:alice")
    claims = [
        {"scope": name, "scopes": name, "tenant": tenant, "principal": "alice", "user": "alice"} for name in names
    ]
    line = json.dumps({"format": "countersign-memory/1", "scope": "user:alice"})
    probes: list[dict[str, Any]] = [
        {"method": "DELETE", "url": f"/api/memory/{memory}"},
        {"method": "DELETE", "url": "/api/memory", "params": {"person": "alice"}},
        {"method": "POST", "url": f"/api/memory/archive/{memory}/restore", "json": {}},
        {"method": "GET", "url": "/api/memory", "params": {"cursor": memory}},
    ]
    for claim in claims:
        headers = {f"X-{name}": value for name, value in claim.items()}
        probes += [
            {"method": "GET", "url": "/api/memory", "params": {**claim, "limit": 200}, "headers": headers},
            {"method": "GET", "url": "/api/memory/search", "params": {**claim, "q": CANARY}, "headers": headers},
            {"method": "GET", "url": "/api/memory/export", "params": claim, "headers": headers},
            {"method": "GET", "url": "/api/memory/archive", "params": claim, "headers": headers},
            {"method": "GET", "url": f"/api/memory/{claim['scope']}", "headers": headers},
            {"method": "POST", "url": "/api/memory/prune", "json": {**claim, "episodes": 0}},
            {
                "method": "POST",
                "url": "/api/memory/prune",
                "json": {"episodes": 0},
                "params": claim,
                "headers": headers,
            },
            {"method": "POST", "url": "/api/memory/import", "json": {"lines": [line]}, "params": claim},
            {"method": "POST", "url": "/api/memory", "json": {**claim, "body": "planted"}},
        ]
    return probes
