"""Commands about authors: an edit that the requester takes over, and a version that another person approves."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

from memory.runs.leases import Lease
from tests.app.commands.test_knowledge import ABOUT, TEXT
from tests.app.conftest import Run


async def test_a_refused_edit_is_shown_and_taken_over(
    run: Run, a: httpx2.AsyncClient, ask: Callable[..., Awaitable[Lease]]
) -> None:
    name = (await a.post("/api/runs", json={"message": "pause the retry job"})).json()["run"]
    await ask(name, need=2)
    approval = f"ask-{name}"
    edit = ("approvals", "edit", approval, "--args", '{"job": "other"}', "--reason", "the other one", "--yes")
    refusal = await run("bob", *edit)
    assert (refusal.code, "approvals take-over" in refusal.err) == (1, True)
    shown = (await run("alice", "approvals", "show", approval)).out
    for line in ("left      bob, carol may still approve", "proposal  by bob: the other one", "job: retry -> other"):
        assert line in shown
    unread = await run("alice", "approvals", "take-over", approval)
    assert (unread.code, "give its --nonce" in unread.err) == (2, True)
    taken = await run("alice", "approvals", "take-over", approval, "--yes")
    assert (taken.code, taken.out) == (0, "taken over from bob: edited\n")


async def test_another_person_approves_a_version(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text(TEXT, encoding="utf-8")
    published = await run("bob", "knowledge", "publish", "note.md", "--id", "fact.retry", *ABOUT)
    assert "countersign knowledge approve fact.retry 1" in published.err
    own = await run("bob", "knowledge", "approve", "fact.retry", "1")
    assert (own.code, "ask another person" in own.err) == (1, True)
    approved = await run("carol", "knowledge", "approve", "fact.retry", "1", "--reason", "read")
    assert (approved.code, "bob may decide what it asks" in approved.out) == (0, True)
    again = await run("carol", "knowledge", "approve", "fact.retry", "1")
    assert (again.code, "was approved by you before" in again.out) == (0, True)
