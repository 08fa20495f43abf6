"""Authors over HTTP: what an edit leaves, who takes it over, by which key a vote came, who stands behind a version."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx2
import pytest
from fastapi import FastAPI

from app.api.dependencies import Services
from memory.runs.leases import Lease
from tests.app.api.test_knowledge import fact
from tests.app.conftest import Client, RecordingQueue, decision
from tools.policy import PolicySet

FOUR = """
@id("act") @layer("capability")
permit (principal == Agent::"executor", action in Action::"write", resource);
@id("four") @layer("approval") @approvals("4") @ttl("600")
forbid (principal, action in Action::"write", resource) unless { context.approvals >= 4 };
"""
Ask = Callable[..., Awaitable[Lease]]


@pytest.fixture
async def pair(a: httpx2.AsyncClient, ask: Ask) -> str:
    """Return an approval that two must give, and only two can."""
    run = (await a.post("/api/runs", json={"message": "pause the retry job"})).json()["run"]
    await ask(run, need=2)
    return f"ask-{run}"


async def test_an_edit_that_leaves_too_few_is_refused_and_names_who_could_be_asked(
    b: httpx2.AsyncClient, pair: str
) -> None:
    edit = decision(pair, "edit", reason="the other one", edited={"job": "other"})
    answer = await b.post(f"/api/approvals/{pair}/decisions", json=edit)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["approval_status"]) == (409, "no_approver_left", "open")
    for part in (
        "2 of group 'finance' must agree and 1 can ('carol')",
        "'bob' wrote it",
        "add somebody to group 'finance'",
        "let 'alice' take it over",
    ):
        assert part in problem["detail"]


async def test_the_requester_takes_a_refused_edit_over(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, pair: str, queue: RecordingQueue
) -> None:
    edit = decision(pair, "edit", reason="the other one", edited={"job": "other"})
    await b.post(f"/api/approvals/{pair}/decisions", json=edit)
    proposal = (await a.get(f"/api/approvals/{pair}")).json()["proposal"]
    assert (proposal["by"], proposal["reason"]) == ("bob", "the other one")
    assert proposal["changed"] == {"job": {"was": "retry", "is": "other"}}
    queue.clear()
    refusal = await b.post(f"/api/approvals/{pair}/take-over", json={"nonce": proposal["nonce"]})
    assert (refusal.status_code, refusal.json()["code"]) == (403, "forbidden")
    once = {"Idempotency-Key": "k1"}
    answer = await a.post(f"/api/approvals/{pair}/take-over", json={"nonce": proposal["nonce"]}, headers=once)
    assert (answer.status_code, answer.json()["status"], answer.json()["editors"]) == (200, "edited", ["bob"])
    assert queue == [answer.json()["run"]]
    again = await a.post(f"/api/approvals/{pair}/take-over", json={"nonce": proposal["nonce"]}, headers=once)
    assert (again.json(), again.headers["idempotency-replayed"]) == (answer.json(), "true")
    late = await a.post(f"/api/approvals/{pair}/take-over", json={"nonce": proposal["nonce"]})
    assert (late.status_code, late.json()["code"]) == (409, "approval_decided")


async def test_the_next_round_shows_old_beside_new_with_the_reason(
    a: httpx2.AsyncClient, b: httpx2.AsyncClient, approval: str, ask: Ask
) -> None:
    """Of the round before, and of every edit that led here; authors are named, and who is left."""
    edit = decision(approval, "edit", reason="the other one", edited={"job": "other"})
    run = (await b.post(f"/api/approvals/{approval}/decisions", json=edit)).json()["run"]
    shown = {"tool": "jobs.pause", "args": {"job": "other"}, "reversible": True}
    await ask(run, id="round-2", digest="d2", shown=shown, items=[_item("d2")])
    view = (await a.get("/api/approvals/round-2")).json()
    assert view["changed"] == {"shown.args.job": {"was": "retry", "is": "other"}}
    assert (view["replaces"]["by"], view["replaces"]["reason"]) == ("bob", "the other one")
    (earlier,) = view["edits"]
    assert (earlier["by"], earlier["taken_over_by"], earlier["reason"]) == ("bob", None, "the other one")
    assert earlier["changed"] == {"job": {"was": "retry", "is": "other"}}
    assert (view["authors"], view["voters"]) == (["bob"], ["carol"])
    taken = await a.post("/api/approvals/round-2/take-over", json={"nonce": view["nonce"]})
    view = (await a.get("/api/approvals/round-2")).json()
    assert (taken.json()["status"], view["authors"], view["voters"]) == ("open", [], ["bob", "carol"])
    assert view["replaces"]["taken_over_by"] == "alice"


def _item(digest: str) -> dict[str, object]:
    return {"digest": digest, "step": "pause", "tool": "jobs.pause", "amount": 100}


async def test_every_vote_names_its_key_and_never_the_secret(client: Client, pair: str) -> None:
    """In the approval and in the journal, that of a refused vote too."""
    bob = await client("bob")
    secret = bob.headers["Authorization"].partition(" ")[2]
    key = (await bob.get("/api/me")).json()["keys"][0]["id"]
    for _ in range(2):
        await bob.post(f"/api/approvals/{pair}/decisions", json=decision(pair))
    view = await bob.get(f"/api/approvals/{pair}")
    story = await bob.get(f"/api/runs/{view.json()['run']}/journal")
    kinds = {entry["body"]["kind"]: entry["body"] for entry in story.json()["items"]}
    assert view.json()["votes"][0]["key"] == key
    assert (kinds["vote"]["credential"], kinds["vote_refused"]["credential"]) == (key, key)
    assert secret not in view.text + story.text


async def test_a_version_says_who_stands_behind_it_and_who_may(client: Client, b: httpx2.AsyncClient) -> None:
    published = (await b.post("/api/knowledge", json=fact())).json()
    assert (published["published_by"], published["countersigned"]) == ("bob", False)
    assert published["may_approve"] == ["carol", "dave", "root"]
    path = f"/api/knowledge/{published['id']}/versions/1/approve"
    own = await b.post(path, json={})
    assert (own.status_code, own.json()["code"]) == (403, "author_excluded")
    support = await (await client("alice")).post(path, json={})
    assert (support.status_code, support.json()["code"]) == (403, "forbidden")
    carol = await client("carol")
    first, second = [(await carol.post(path, json={"reason": "read"})).json() for _ in range(2)]
    assert (first["fresh"], second["fresh"], second["approved_by"]) == (True, False, ["carol"])
    shown = (await b.get(f"/api/knowledge/{published['id']}")).json()
    assert (shown["countersigned"], shown["may_approve"]) == (True, [])
    assert (await carol.post(path.replace("/1/", "/9/"), json={})).status_code == 404


async def test_an_edit_is_judged_by_the_policies_that_the_api_has(
    app: FastAPI, services: Services, b: httpx2.AsyncClient, approval: str
) -> None:
    """One is asked now; policy would ask four, and besides asker and editor there are three."""
    app.state.services = replace(services, rules=PolicySet({"four.cedar": FOUR}, services.catalog.cards))
    edit = decision(approval, "edit", reason="the other one", edited={"job": "other"})
    answer = await b.post(f"/api/approvals/{approval}/decisions", json=edit)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_approver_left")
    assert "4 of all people must agree and 3 can" in answer.json()["detail"]
