from typing import Any

import httpx2
import pytest

from app.api.dependencies import Services
from memory.evidence.verifier import ExportCheck
from tests.app.conftest import Client, RecordingQueue, decision
from tests.conftest import Connect


async def test_tools_show_their_cards(a: httpx2.AsyncClient) -> None:
    assert [item["name"] for item in (await a.get("/api/tools")).json()["items"]] == ["jobs.look", "jobs.pause"]
    card = (await a.get("/api/tools/jobs.pause")).json()
    assert (card["effect"], card["playbook"]) == ("write", "jobs.paused")
    missing = await a.get("/api/tools/jobs.none")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_tool")


async def test_a_call_is_a_run_of_one_given_step(a: httpx2.AsyncClient, queue: RecordingQueue) -> None:
    """R1."""
    answer = await a.post("/api/tools/jobs.pause/call", json={"args": {"job": "retry"}})
    assert answer.status_code == 202, answer.text
    run = (await a.get(f"/api/runs/{answer.json()['run']}")).json()
    (step,) = run["input"]["given"]["steps"]
    assert (step["tool"], step["args"], run["input"]["given"]["source"]) == ("jobs.pause", {"job": "retry"}, "given")


@pytest.mark.parametrize("args", [{}, {"job": 1.5}, {"job": "x", "more": 1}, {"job": {"ref": "steps.x.y"}}])
async def test_a_call_that_does_not_fit_starts_nothing(
    a: httpx2.AsyncClient, queue: RecordingQueue, args: dict[str, Any]
) -> None:
    answer = await a.post("/api/tools/jobs.pause/call", json={"args": args})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_arguments")
    assert queue == []


async def test_anybody_stops_and_operators_release(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    """R125."""
    stop = {"kind": "tool", "name": "jobs.pause", "reason": "odd"}
    assert (await a.post("/api/kills", json=stop)).status_code == 201
    assert (await a.get("/api/kills")).json()["items"][0]["by"] == "alice"
    assert (await a.delete("/api/kills/tool/jobs.pause")).json()["code"] == "forbidden"
    assert (await b.delete("/api/kills/tool/jobs.pause")).status_code == 200
    again = await b.delete("/api/kills/tool/jobs.pause")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("kind", "name"), [("run", "none"), ("tool", "jobs.paus"), ("agent", "planer"), ("user", "alic")]
)
async def test_a_stop_that_would_stop_nothing_is_refused(a: httpx2.AsyncClient, kind: str, name: str) -> None:
    """R125."""
    answer = await a.post("/api/kills", json={"kind": kind, "name": name, "reason": "odd"})
    assert (answer.status_code, (await a.get("/api/kills")).json()["items"]) == (404, [])


async def test_a_stop_of_all_has_no_name_and_is_released_as_all(b: httpx2.AsyncClient) -> None:
    assert (await b.post("/api/kills", json={"kind": "all", "name": "x", "reason": "r"})).status_code == 400
    assert (await b.post("/api/kills", json={"kind": "all", "reason": "r"})).status_code == 201
    assert (await b.delete("/api/kills/all")).status_code == 200


async def test_people_see_and_search_only_their_own_memory(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    """R92."""
    memory = (await a.post("/api/memory", json={"body": "alice likes e-mail digests", "key": "contact"})).json()
    assert memory["scope"] == "user:alice"
    assert (await a.get("/api/memory/search", params={"q": "e-mail digests"})).json()["items"][0]["id"] == memory["id"]
    assert (await b.get("/api/memory")).json()["items"] == []
    assert (await b.get("/api/memory/search", params={"q": "e-mail digests"})).json()["items"] == []
    assert (await b.delete(f"/api/memory/{memory['id']}")).status_code == 404
    assert (await a.delete(f"/api/memory/{memory['id']}")).json() == {"forgotten": 1}


async def test_an_export_can_be_verified_without_us(b: httpx2.AsyncClient, approval: str) -> None:
    """R113 R114."""
    await b.post(f"/api/approvals/{approval}/decisions", json=decision(approval))
    answer = await b.get("/api/journal/export", params={"run": approval.removeprefix("ask-")})
    examination = ExportCheck()
    for line in answer.text.splitlines():
        examination.feed(line)
    assert (examination.finish(), examination.counts["entries"] > 3, examination.counts["rows"] > 3) == ([], True, True)


async def test_verify_names_the_entry_that_was_changed(a: httpx2.AsyncClient, superuser: Connect) -> None:
    """R113."""
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    assert (await a.get("/api/journal/verify")).json()["broken"] == []
    async with superuser() as connection, connection.transaction():
        await connection.execute("alter table journal disable trigger all")
        await connection.execute("update journal set body = body || ' ' where run = %s", [run])
        await connection.execute("alter table journal enable always trigger journal_no_change")
        await connection.execute("alter table journal enable trigger journal_announce")
        await connection.execute("alter table journal enable always trigger journal_no_truncate")
    verification = (await a.get("/api/journal/verify")).json()
    assert (verification["ok"], verification["broken"][0]["run"], verification["broken"][0]["seq"]) == (False, run, 1)


async def test_keys_are_made_and_revoked_by_administrators_only(
    a: httpx2.AsyncClient, client: Client, anonymous: httpx2.AsyncClient
) -> None:
    assert (await a.post("/api/keys", json={"person": "bob"})).json()["code"] == "forbidden"
    root = await client("root")
    key = (await root.post("/api/keys", json={"label": "laptop"})).json()
    header = {"X-Api-Key": key["secret"]}
    assert (await anonymous.get("/api/me", headers=header)).json()["person"] == "root"
    assert all("secret" not in key for key in (await root.get("/api/keys")).json()["items"])
    await root.post(f"/api/keys/{key['id']}/revoke")
    assert (await anonymous.get("/api/me", headers=header)).status_code == 401


async def test_an_unknown_effect_is_not_found(a: httpx2.AsyncClient, b: httpx2.AsyncClient) -> None:
    assert (await a.get("/api/effects")).json()["items"] == []
    for path in ("/api/effects/none", "/api/effects/none/explain", "/api/effects/billing.refund:ch_1/explain"):
        assert (await a.get(path)).json()["code"] == "not_found"
    answer = await b.post("/api/effects/none/resolve", json={"state": "done", "note": "seen"})
    assert answer.json()["code"] == "not_found"


async def test_probes_need_no_key(anonymous: httpx2.AsyncClient, services: Services) -> None:
    assert (await anonymous.get("/livez")).status_code == 200
    ready = await anonymous.get("/readyz")
    assert (ready.status_code, ready.json()["database"]) == (200, "ok")
