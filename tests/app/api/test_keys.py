"""Keys over HTTP: a code that waits for its person, and what each is told of it."""

import json

import httpx2

from tests.app.conftest import Client


async def test_a_key_for_somebody_else_is_a_code_that_they_claim_without_any_key(
    client: Client, anonymous: httpx2.AsyncClient
) -> None:
    root = await client("root")
    made = await root.post("/api/keys", json={"person": "carol", "label": "laptop"})
    code = made.json()["code"]
    assert (made.status_code, made.json()["secret"], made.json()["person"]) == (201, code, "carol")
    unclaimed = await anonymous.get("/api/me", headers={"X-Api-Key": code})
    assert (unclaimed.status_code, "keys claim" in unclaimed.json()["detail"]) == (401, True)
    key = (await anonymous.post("/api/keys/claim", json={"code": code})).json()
    me = (await anonymous.get("/api/me", headers={"X-Api-Key": key["secret"]})).json()
    assert (me["person"], me["keys"][0]["id"], me["keys"][0]["made_by"]) == ("carol", key["id"], "root")


async def test_a_second_claim_is_refused_and_both_learn_of_it(client: Client, anonymous: httpx2.AsyncClient) -> None:
    """P2: an administrator who claims in somebody's name is found out when that person comes."""
    root = await client("root")
    code = (await root.post("/api/keys", json={"person": "carol"})).json()["code"]
    key = (await anonymous.post("/api/keys/claim", json={"code": code})).json()
    second = await anonymous.post("/api/keys/claim", json={"code": code})
    assert (second.status_code, second.json()["code"]) == (409, "key_claimed")
    assert "somebody else acts in your name" in second.json()["detail"]
    me = (await anonymous.get("/api/me", headers={"X-Api-Key": key["secret"]})).json()
    assert me["keys"][0]["refused_claims"] == 1
    lines = map(json.loads, (await root.get("/api/journal/export")).text.splitlines())
    entries = [line for line in lines if line["line"] == "entry" and line["run"] == f"authority-{me['tenant']}"]
    kinds = [json.loads(entry["body"])["kind"] for entry in entries]
    assert kinds[-2:] == ["key_claimed", "key_claim_refused"]


async def test_a_key_for_oneself_works_at_once(client: Client, anonymous: httpx2.AsyncClient) -> None:
    key = (await (await client("root")).post("/api/keys", json={"label": "phone"})).json()
    assert ("code" in key, key["person"]) == (False, "root")
    me = await anonymous.get("/api/me", headers={"X-Api-Key": key["secret"]})
    assert me.json()["person"] == "root"


async def test_what_is_no_code_is_no_reason_to_tell_more(anonymous: httpx2.AsyncClient) -> None:
    answer = await anonymous.post("/api/keys/claim", json={"code": "claim_none"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (await anonymous.post("/api/keys/claim", json={"code": ""})).status_code == 422


async def test_an_administrator_with_codes_of_others_decides_nothing(client: Client, approval: str) -> None:
    root = await client("root")
    code = (await root.post("/api/keys", json={"person": "bob"})).json()["secret"]
    body = {"decision": "approve", "nonce": f"nonce-{approval}"}
    answer = await root.post(
        f"/api/approvals/{approval}/decisions", json=body, headers={"Authorization": f"Bearer {code}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
