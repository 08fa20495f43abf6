"""Heads and receipts over HTTP and on the command line: fresh, signed, and byte by byte what the page says."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import FastAPI

from app.api.dependencies import Services
from memory.evidence import verifier
from memory.evidence.signing_key import SigningKey, draw
from memory.postgres.database import Database
from memory.scope import Principal
from tests.app.conftest import Run
from tests.conftest import Connection, VirtualClock
from tests.tools.support import act, open_desk

pytestmark = pytest.mark.anyio
KEY = SigningKey.of(draw())


@pytest.fixture
async def effect(
    database: Database, people: Mapping[str, Principal], app: FastAPI, services: Services, clock: VirtualClock
) -> str:
    """Return an effect of a tenant whose API signs."""
    app.state.services = replace(services, signing_key=KEY)
    desk = await open_desk(database, people, clock)
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    assert outcome.effect
    return outcome.effect


async def test_heads_are_lines_to_keep_elsewhere(a: httpx2.AsyncClient, effect: str) -> None:
    answer = await a.get("/api/journal/heads")
    (head,) = [json.loads(line) for line in answer.text.splitlines()]
    assert (set(head), head["number"]) == ({"line", "number", "text", "signature"}, 1)
    public = Ed25519PublicKey.from_public_bytes(KEY.public)
    public.verify(bytes.fromhex(head["signature"]), head["text"].encode())
    assert json.loads(head["text"])["key"] == KEY.id
    assert (await a.get("/api/journal/heads", params={"after": 1})).text == ""
    assert (await a.get("/api/journal/heads", params={"after": -1})).status_code == 422


async def test_a_receipt_is_one_line_of_json_about_the_effect(a: httpx2.AsyncClient, effect: str) -> None:
    answer = await a.get(f"/api/effects/{effect}/receipt")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.json()["effect"], answer.content.count(b"\n")) == (effect, 1)
    by_key = await a.get("/api/effects/shop:a/receipt")
    assert by_key.json()["entries"] == answer.json()["entries"]


async def test_what_is_unknown_has_no_receipt(a: httpx2.AsyncClient, effect: str) -> None:
    answer = await a.get("/api/effects/none/receipt")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_log_that_cannot_be_written_keeps_nobody_from_reading(
    b: httpx2.AsyncClient, effect: str, owner: Connection, tenant: str
) -> None:
    """Heads and entries are shown as they are; a receipt says that the log has not taken the run in."""
    constraint = f"alter table log_leaves add constraint full_disk check (tenant <> '{tenant}')"
    await owner.execute(constraint.encode())
    try:
        paths = ("/api/journal/heads", "/api/journal/export", "/api/journal/verify", f"/api/effects/{effect}/receipt")
        answers = [(await b.get(path)).status_code for path in paths]
    finally:
        await owner.execute("alter table log_leaves drop constraint full_disk")
    assert answers == [200, 200, 200, 503]


async def test_the_command_line_prints_what_the_api_says(run: Run, effect: str, tmp_path: Path) -> None:
    heads = await run("alice", "journal", "heads")
    assert (heads.code, json.loads(heads.out.splitlines()[-1])["number"]) == (0, len(heads.out.splitlines()))
    receipt = await run("alice", "receipt", effect)
    written = await run("alice", "receipt", effect, "--out", str(tmp_path / "receipt.json"))
    assert (receipt.code, json.loads(receipt.out)["effect"], written.out) == (0, effect, "")
    assert (tmp_path / "receipt.json").read_bytes().endswith(b"}\n")
    assert (await run("alice", "receipt", "none")).code == 1


async def test_heads_that_were_kept_are_compared_by_the_verifier(
    b: httpx2.AsyncClient, run: Run, effect: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """R114: what the command prints is what the verifier reads."""
    kept, export = tmp_path / "heads.jsonl", tmp_path / "export.jsonl"
    kept.write_text((await run("alice", "journal", "heads")).out)
    export.write_bytes((await b.get("/api/journal/export")).content)
    assert verifier.main([str(export), "--heads", str(kept)]) == 0
    head = json.loads(kept.read_text().splitlines()[0])
    forged = {**head, "text": head["text"].replace('"root": "', '"root": "0')}
    kept.write_text(json.dumps(forged))
    assert verifier.main([str(export), "--heads", str(kept)]) == 6
    assert "the log was rewritten" in capfd.readouterr().out
