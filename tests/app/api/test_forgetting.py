"""Forgetting one memory over HTTP: by its id or that of any archived version, and nobody else's."""

from typing import Any

import httpx2
import pytest

from tests.app.conftest import Client

pytestmark = pytest.mark.anyio


async def add_and_prune(api: httpx2.AsyncClient, *bodies: str) -> list[Any]:
    """Say values of one subject one after the other and prune; returns them."""
    memories = [(await api.post("/api/memory", json={"body": body, "key": "diagnosis"})).json() for body in bodies]
    preview = (await api.post("/api/memory/prune", json={})).json()
    await api.post("/api/memory/prune", json={"expect": preview["digest"]})
    return memories


async def archive_ids(api: httpx2.AsyncClient) -> list[str]:
    return [row["id"] for row in (await api.get("/api/memory/archive")).json()["items"]]


@pytest.mark.parametrize("index", [0, 1])
async def test_all_versions_of_a_subject_go_by_the_id_of_any(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, index: int
) -> None:
    """R92, R102: the archived one is named like the current one."""
    memories = await add_and_prune(a, "diagnosis is diabetes", "diagnosis is healthy")
    assert await archive_ids(a) == [memories[0]["id"]]
    route = f"/api/memory/{memories[index]['id']}"
    assert (await b.delete(route)).status_code == 404
    assert (await a.delete(route)).json() == {"forgotten": 2}
    assert (await archive_ids(a), (await a.get("/api/memory")).json()["items"]) == ([], [])
    assert (await a.post(f"/api/memory/archive/{memories[0]['id']}/restore", json={})).status_code == 404
    assert (await a.delete(route)).status_code == 404


async def test_what_is_under_legal_hold_is_named_and_nothing_goes(a: httpx2.AsyncClient, client: Client) -> None:
    """R94, R102"""
    old, new = await add_and_prune(a, "diagnosis is diabetes", "diagnosis is healthy")
    root = await client("root")
    assert (await root.post(f"/api/memory/archive/{old['id']}/hold", json={})).is_success
    answer = await a.delete(f"/api/memory/{new['id']}")
    assert (answer.status_code, old["id"] in answer.json()["detail"]) == (409, True)
    assert await archive_ids(a) == [old["id"]]
