"""Forgetting one memory over HTTP: by its id or that of any archived version, and nobody else's."""

from typing import Any

import httpx2
import pytest

from tests.app.conftest import Client

pytestmark = pytest.mark.anyio


async def told(api: httpx2.AsyncClient, *bodies: str) -> list[Any]:
    """Say values of one subject one after the other and prune; returns them."""
    kept = [(await api.post("/api/memory", json={"body": body, "key": "diagnosis"})).json() for body in bodies]
    seen = (await api.post("/api/memory/prune", json={})).json()
    await api.post("/api/memory/prune", json={"expect": seen["digest"]})
    return kept


async def archived(api: httpx2.AsyncClient) -> list[str]:
    return [row["id"] for row in (await api.get("/api/memory/archive")).json()["items"]]


@pytest.mark.parametrize("by", [0, 1])
async def test_all_versions_of_a_subject_go_by_the_id_of_any(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, by: int
) -> None:
    """R92, R102: the archived one is named like the current one."""
    kept = await told(a, "diagnosis is diabetes", "diagnosis is healthy")
    assert await archived(a) == [kept[0]["id"]]
    route = f"/api/memory/{kept[by]['id']}"
    assert (await b.delete(route)).status_code == 404
    assert (await a.delete(route)).json() == {"forgotten": 2}
    assert (await archived(a), (await a.get("/api/memory")).json()["items"]) == ([], [])
    assert (await a.post(f"/api/memory/archive/{kept[0]['id']}/restore", json={})).status_code == 404
    assert (await a.delete(route)).status_code == 404


async def test_what_is_under_legal_hold_is_named_and_nothing_goes(a: httpx2.AsyncClient, client: Client) -> None:
    """R94, R102"""
    old, new = await told(a, "diagnosis is diabetes", "diagnosis is healthy")
    root = await client("root")
    assert (await root.post(f"/api/memory/archive/{old['id']}/hold", json={})).is_success
    refused = await a.delete(f"/api/memory/{new['id']}")
    assert (refused.status_code, old["id"] in refused.json()["detail"]) == (409, True)
    assert await archived(a) == [old["id"]]
