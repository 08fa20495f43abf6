import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from memory.runs.leases import Lease
from tests.app.conftest import Client, RecordingQueue, decision

Ask = Callable[..., Awaitable[Lease]]


async def test_an_approval_shows_what_is_asked_and_the_nonce_for_it(b: httpx2.AsyncClient, approval: str) -> None:
    """R39."""
    view = (await b.get(f"/api/approvals/{approval}")).json()
    assert (view["nonce"], view["need"], view["actions"], view["amount"]) == (f"nonce-{approval}", 1, 1, 100)
    assert view["digests"] == ["d1"]


async def test_approving_wakes_the_run(b: httpx2.AsyncClient, approval: str, queue: RecordingQueue) -> None:
    """R47."""
    queue.clear()
    answer = await b.post(f"/api/approvals/{approval}/decisions", json=decision(approval))
    assert (answer.status_code, answer.json()["status"]) == (200, "approved")
    assert queue == [answer.json()["run"]]


async def test_of_three_deciders_one_wins_and_the_others_learn_who(client: Client, approval: str) -> None:
    people = [await client(name) for name in ("bob", "carol", "dave")]
    address = f"/api/approvals/{approval}/decisions"
    answers = await asyncio.gather(
        *(person.post(address, json=decision(approval, "reject", reason="no")) for person in people)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    winner = next(answer.json()["decided_by"] for answer in answers if answer.status_code == 200)
    refusals = [answer.json() for answer in answers if answer.status_code == 409]
    assert {(refusal["code"], refusal["decided_by"]) for refusal in refusals} == {("approval_decided", winner)}


async def test_a_quorum_of_two_needs_two_people(a: httpx2.AsyncClient, client: Client, ask: Ask) -> None:
    """R41."""
    run = (await a.post("/api/runs", json={"message": "x"})).json()["run"]
    await ask(run, need=2)
    address, body = f"/api/approvals/ask-{run}/decisions", decision(f"ask-{run}")
    bob, carol = await client("bob"), await client("carol")
    assert (await bob.post(address, json=body)).json()["status"] == "open"
    twice = await bob.post(address, json=body)
    assert (twice.status_code, twice.json()["code"]) == (409, "duplicate_vote")
    assert (await carol.post(address, json=body)).json()["status"] == "approved"
    late = await (await client("dave")).post(address, json=body)
    assert (late.status_code, late.json()["code"]) == (409, "approval_decided")


@pytest.mark.parametrize(
    ("person", "change", "code", "status"),
    [
        ("alice", {}, "requester_excluded", 403),
        ("dave", {}, "over_limit", 403),
        ("bob", {"groups": ["admin"], "exposure": 0}, "needs_another_group", 403),
        ("bob", {"nonce": "another"}, "wrong_nonce", 412),
    ],
)
async def test_a_refused_vote_says_why_and_is_recorded(
    client: Client, ask: Ask, *, person: str, change: dict[str, object], code: str, status: int
) -> None:
    """R25 R38 R41."""
    alice, voter = await client("alice"), await client(person)
    run = (await alice.post("/api/runs", json={"message": "x"})).json()["run"]
    await ask(run, **change)
    answer = await voter.post(f"/api/approvals/ask-{run}/decisions", json=decision(f"ask-{run}"))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    journal = (await alice.get(f"/api/runs/{run}/journal")).json()["items"]
    assert journal[-1]["body"]["kind"] == "vote_refused"


async def test_the_same_decision_sent_again_with_its_key_is_replayed(b: httpx2.AsyncClient, approval: str) -> None:
    address, headers = f"/api/approvals/{approval}/decisions", {"Idempotency-Key": "k1"}
    first = await b.post(address, json=decision(approval), headers=headers)
    second = await b.post(address, json=decision(approval), headers=headers)
    assert (first.json(), first.headers.get("idempotency-replayed")) == (second.json(), None)
    assert second.headers["idempotency-replayed"] == "true"


async def test_edited_arguments_are_checked_against_the_tool(b: httpx2.AsyncClient, approval: str) -> None:
    """R45."""
    address = f"/api/approvals/{approval}/decisions"
    for arguments in ({"nonsense": 1}, {"job": 1}, {"job": None}, {"job": ["retry"]}, {}):
        bad = await b.post(address, json=decision(approval, "edit", reason="other job", edited=arguments))
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid_arguments")
    good = await b.post(address, json=decision(approval, "edit", reason="other job", edited={"job": "other"}))
    assert good.json()["status"] == "edited"


async def test_a_question_keeps_the_gate_open(b: httpx2.AsyncClient, approval: str) -> None:
    """R45."""
    address = f"/api/approvals/{approval}/decisions"
    answer = await b.post(address, json=decision(approval, "ask", reason="which customers?"))
    assert answer.json()["status"] == "open"
    assert (await b.post(address, json=decision(approval))).json()["status"] == "approved"


async def test_a_rejection_needs_a_reason(b: httpx2.AsyncClient, approval: str) -> None:
    answer = await b.post(f"/api/approvals/{approval}/decisions", json=decision(approval, "reject"))
    assert answer.status_code == 400


async def test_lists_narrow_by_status_and_run(b: httpx2.AsyncClient, approval: str) -> None:
    assert [gate["id"] for gate in (await b.get("/api/approvals?status=open")).json()["items"]] == [approval]
    assert (await b.get("/api/approvals?status=approved")).json()["items"] == []


async def test_deciding_what_does_not_exist_is_not_found(b: httpx2.AsyncClient) -> None:
    answer = await b.post("/api/approvals/none/decisions", json=decision("none"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
