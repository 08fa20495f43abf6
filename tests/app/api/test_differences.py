"""Views and commands where journal and tables disagree: the journal's word, the names of the fields, and what to do."""

import asyncio
from typing import Any

import httpx2
import pytest

from memory.governance.feed import Feed
from memory.postgres.database import Database
from memory.runs import records
from memory.scope import Principal
from tests.app.conftest import RecordingQueue, Run, lead
from tests.conftest import Connect, VirtualClock
from tests.tampering import forge
from tests.tools.stories import Refund, refund
from tests.tools.support import open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def story(database: Database, people: dict[str, Principal], clock: VirtualClock) -> Refund:
    return await refund(await open_desk(database, people, clock))


def addresses(story: Refund) -> dict[str, str]:
    return {
        "effect": f"/api/effects/{story.effect}",
        "explanation": f"/api/effects/{story.effect}/explain",
        "approval": f"/api/approvals/{story.approval}",
        "run": f"/api/runs/{story.lease.run}",
    }


_FORGERIES = [
    ("effect", "effects", "amount", "id = '{effect}'", ["amount"]),
    ("effect", "effects", "key", "id = '{effect}'", ["key", "send_key"]),
    ("explanation", "effects", "key", "id = '{effect}'", ["effect.key", "effect.send_key"]),
    ("explanation", "votes", "reason", "approver = 'bob'", ["approval.votes.bob.reason"]),
    ("approval", "approvals", "need", "id = '{approval}'", ["need"]),
    ("run", "runs", "message", "id = '{run}'", ["message"]),
    ("run", "runs", "flow", "id = '{run}'", ["flow"]),
]
"""View, table, column, condition, and the names of what differs."""


@pytest.mark.parametrize(("view", "table", "column", "where", "names"), _FORGERIES)
async def test_a_view_shows_the_journals_word_and_says_what_to_do(  # a forgery has this many parts
    a: httpx2.AsyncClient,
    story: Refund,
    superuser: Connect,
    *,
    view: str,
    table: str,
    column: str,
    where: str,
    names: list[str],
) -> None:
    """The same fields as before, and three more that are empty while all is well."""
    address = addresses(story)[view]
    before: dict[str, Any] = (await a.get(address)).json()
    assert (before["differs"], before["warning"], before["unprotected"]) == ([], "", [])
    where = where.format(effect=story.effect, approval=story.approval, run=story.lease.run)
    await forge(superuser, table, column, where)
    after: dict[str, Any] = (await a.get(address)).json()
    assert after["differs"] == names
    assert "`countersign journal verify`" in after["warning"]
    assert {**after, "differs": [], "warning": ""} == before


@pytest.mark.parametrize("words", [["explain", "{effect}"], ["effects", "show", "{effect}"],
                                   ["approvals", "show", "{approval}"], ["runs", "show", "{run}"]])  # fmt: skip
async def test_a_command_warns_in_a_line_of_its_own(
    run: Run, story: Refund, superuser: Connect, words: list[str]
) -> None:
    command = [word.format(effect=story.effect, approval=story.approval, run=story.lease.run) for word in words]
    assert "WARNING" not in (await run("alice", *command)).out
    await forge(superuser, "effects", "amount", f"id = '{story.effect}'")
    await forge(superuser, "approvals", "need", f"id = '{story.approval}'")
    await forge(superuser, "runs", "message", f"id = '{story.lease.run}'")
    output = (await run("alice", *command)).out
    assert "WARNING   journal and tables disagree about '" in output


async def test_a_name_that_somebody_chose_makes_no_line_of_its_own(run: Run, story: Refund, superuser: Connect) -> None:
    await forge(superuser, "votes", "approver", "approver = 'bob'", value=r"E'eve\nWARNING   all is well'")
    output = (await run("alice", "approvals", "show", story.approval)).out
    assert [line for line in output.splitlines() if line.startswith("WARNING")] == [
        line for line in output.splitlines() if line.startswith("WARNING   journal and tables disagree about")
    ]


async def test_the_chat_answers_with_what_the_journal_says_of_the_end(
    a: httpx2.AsyncClient, database: Database, feed: Feed, queue: RecordingQueue, *, superuser: Connect
) -> None:
    """Also a message that is sent again, and the stream of its run."""
    message: dict[str, Any] = {"json": {"message": "x"}, "headers": {"Idempotency-Key": "k"}}
    answer = asyncio.create_task(a.post("/api/chat", **message))
    await queue.wait_for(1)
    lease = await lead(database, queue[0])
    async with database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status="stopped", reason="in_doubt", message="all good", body={})
    assert ((await answer).json()["message"], (await answer).json()["differs"]) == ("all good", [])
    await forge(superuser, "runs", "message", f"id = '{lease.run}'")
    view = (await a.post("/api/chat", **message)).json()
    assert (view["message"], view["differs"]) == ("all good", ["message"])
    events = (await a.get(f"/api/runs/{lease.run}/events")).text
    assert ("all good" in events, "forged" in events) == (True, False)
