"""The command line against a real API on loopback; runs are led by the tests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest

from app import cli
from app.api.dependencies import Services
from memory.runs import records
from memory.runs.leases import Lease
from tests.app.conftest import RecordingQueue, Run, lead
from tests.conftest import Connect

Ask = Callable[..., Awaitable[Lease]]


async def finish(
    services: Services,
    queue: RecordingQueue,
    status: Literal["done", "denied", "stopped", "failed"],
    reason: str | None,
) -> None:
    await queue.wait_for(1)
    lease = await lead(services.database, queue[-1])
    async with services.database.transaction(lease.access) as connection:
        await records.finish(connection, lease, status=status, reason=reason, message="that is all", body={})


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("done", None, 0),
        ("failed", "step_failed", 1),
        ("denied", "policy_denied", 4),
        ("denied", "approval_rejected", 4),
        ("stopped", "budget_exceeded", 5),
    ],
)
async def test_chat_ends_with_the_code_of_the_ending(
    run: Run, services: Services, queue: RecordingQueue, *, status: Any, reason: str | None, code: int
) -> None:
    ran, _ = await asyncio.gather(run("alice", "chat", "fix it"), finish(services, queue, status, reason))
    assert (ran.code, "that is all" in ran.out) == (code, True)


async def test_chat_that_waits_for_people_says_how_to_decide_and_ends_with_3(
    run: Run, queue: RecordingQueue, ask: Ask
) -> None:
    async def hold() -> None:
        await queue.wait_for(1)
        await ask(queue[0])

    ran, _ = await asyncio.gather(run("alice", "chat", "pause it"), hold())
    assert ran.code == 3
    assert f"countersign approvals show ask-{queue[0]}" in ran.out


async def test_chat_as_json_is_one_object(run: Run, queue: RecordingQueue, ask: Ask) -> None:
    async def hold() -> None:
        await queue.wait_for(1)
        await ask(queue[0])

    ran, _ = await asyncio.gather(run("alice", "chat", "pause it", "--json"), hold())
    assert (ran.code, ran.json["gate"]["approval"]) == (3, f"ask-{queue[0]}")


async def test_an_approval_is_read_and_countersigned(run: Run, approval: str) -> None:
    view = await run("bob", "approvals", "show", approval)
    assert all(text in view.out for text in ("jobs.pause", "0 of 1 approvals", f"nonce-{approval}", "not alice"))
    vote = await run("bob", "approvals", "approve", approval, "--reason", "seen", "--nonce", f"nonce-{approval}")
    assert (vote.code, "approved, 1 of 1" in vote.out) == (0, True)
    late = await run("carol", "approvals", "reject", approval, "--reason", "no", "--yes", "--json")
    assert (late.code, late.json["error"]["code"], "approval_decided" in late.err) == (1, "approval_decided", True)


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_nobody_agrees_to_what_could_not_be_shown(run: Run, approval: str, options: tuple[str, ...]) -> None:
    """A script says which round was read, or that it decides unread."""
    ran = await run("bob", "approvals", "approve", approval, *options)
    assert (ran.code, "--nonce" in ran.err, "--yes" in ran.err) == (2, True, True)
    assert "0 of 1 approvals" in (await run("bob", "approvals", "show", approval)).out


async def test_a_decision_for_another_round_is_refused(run: Run, approval: str) -> None:
    ran = await run("bob", "approvals", "approve", approval, "--nonce", "old")
    assert (ran.code, "wrong_nonce" in ran.err) == (1, True)


async def test_a_question_and_an_edit_reach_the_api(run: Run, approval: str) -> None:
    assert (await run("bob", "approvals", "ask", approval, "which job?", "--json")).json["status"] == "open"
    edit = await run("bob", "approvals", "edit", approval, "--args", '{"job": "x"}', "-r", "r", "--yes", "--json")
    assert edit.json["status"] == "edited"
    assert (await run("bob", "approvals", "edit", approval, "--args", "{", "--reason", "r")).code == 2


@pytest.mark.parametrize(
    "argv",
    [
        ("runs", "ls"),
        ("approvals", "ls"),
        ("effects", "ls"),
        ("memory", "ls"),
        ("memory", "search", "anything"),
        ("memory", "add", "a fact"),
        ("knowledge", "ls"),
        ("tools", "ls"),
        ("tools", "show", "jobs.pause"),
        ("journal", "verify"),
        ("kill", "--list"),
        ("kill", "tool", "jobs.pause"),
        ("config", "show"),
    ],
)
async def test_every_command_prints_one_object_or_readable_text(run: Run, argv: tuple[str, ...]) -> None:
    ran = await run("alice", *argv, "--json")
    assert (ran.code, ran.err, isinstance(ran.json, dict)) == (0, "", True)
    readable = await run("alice", *argv)
    assert readable.code == 0
    assert readable.out.strip()


async def test_runs_are_shown_cancelled_and_their_journal_read(run: Run, approval: str) -> None:
    id = approval.removeprefix("ask-")
    ran = await run("alice", "runs", "show", id)
    assert f"countersign approvals show {approval}" in ran.out
    assert (await run("alice", "runs", "show", id, "--follow")).code == 3
    assert "cancelled" in (await run("alice", "runs", "cancel", id)).out
    assert "requested" in (await run("alice", "journal", "show", id)).out
    assert len((await run("alice", "journal", "export", "--run", id)).out.splitlines()) > 3


async def test_a_broken_journal_is_code_6_and_names_the_place(run: Run, approval: str, superuser: Connect) -> None:
    """R113."""
    async with superuser() as connection, connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("alter table journal disable trigger journal_no_change")
        await connection.execute(
            "update journal set words = replace(words, 'pause', 'start') where run = %s and seq = 1",
            [approval.removeprefix("ask-")],
        )
        await connection.execute("alter table journal enable always trigger journal_no_change")
    ran = await run("alice", "journal", "verify")
    assert ran.code == 6
    assert f"run {approval.removeprefix('ask-')}, entry 1" in ran.out


async def test_text_from_outside_cannot_move_the_cursor(run: Run) -> None:
    await run("alice", "memory", "add", "red \x1b[31m text [bold]x[/bold]")
    ran = await run("alice", "memory", "ls")
    assert "\x1b" not in ran.out
    assert "red \\x1b[31m text [bold]x[/bold]" in ran.out


async def test_a_refusal_names_code_and_next_step_without_traceback(run: Run) -> None:
    ran = await run("alice", "runs", "show", "none")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("not_found: there is no run 'none'")
    assert "Traceback" not in ran.err


async def test_a_refusal_is_an_object_where_one_was_asked_for(run: Run) -> None:
    ran = await run("alice", "runs", "show", "nosuch", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "not_found")
    assert ran.json["error"]["detail"] in ran.err.replace("\n", " ")


@pytest.mark.parametrize("id", ["../kills/all", "..", ".", "", "a/../../kills/all"])
async def test_an_id_never_leads_to_another_route(run: Run, id: str) -> None:
    for argv in (("memory", "forget"), ("runs", "cancel"), ("knowledge", "show"), ("approvals", "show")):
        ran = await run("alice", *argv, id, "--json")
        assert (ran.code, ran.json["error"]["code"] in ("bad_request", "not_found")) == (1, True)


async def test_nobody_at_the_address_is_69(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_URL", "http://127.0.0.1:9")
    ran = await run("alice", "runs", "ls")
    assert (ran.code, "countersign up" in ran.err) == (69, True)
    assert (await run("alice", "runs", "ls", "--debug")).code == 69


async def test_a_page_instead_of_our_api_is_told_without_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html")
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        monkeypatch.setenv("COUNTERSIGN_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ran = await run("alice", "runs", "ls")
    assert (ran.code, "is this our API" in ran.err, "Traceback" in ran.err) == (1, True, False)


async def test_a_wrong_setting_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_PROT", "1")
    ran = await run("alice", "config", "show")
    assert (ran.code, "'COUNTERSIGN_PORT'" in ran.err) == (1, True)


async def test_secrets_are_not_shown(run: Run) -> None:
    values = (await run("alice", "config", "show", "--json")).json
    assert values["key"] == "(set)"


async def test_without_a_key_it_is_said_how_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERSIGN_KEY", raising=False)
    code = await asyncio.to_thread(cli.run, ["runs", "ls"])
    assert code == 1


@pytest.mark.parametrize("argv", [["nothing"], ["replay"], ["figures"], ["policy"], ["runs", "show"]])
def test_what_is_not_built_does_not_exist(argv: list[str]) -> None:
    assert cli.run(argv) == 2
