"""Texts from outside on screens and in `--json`: they begin no line, steer no terminal, and fail in no encoding."""

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from app.commands import signs, terminal
from memory.runs.leases import Lease
from tests.app.commands.test_live import RICH_CODES
from tests.app.commands.test_live import terminal as tty
from tests.app.conftest import Run

BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\t")
STEERING = "\x1b[2J\x1b]0;t\x07\x9b31m\u202e\u2066\u200b\ufeff\x7f[bold]"
MAIN = (sys.executable, "-c", "from app.cli import main; main()")
FAKE = "FAKE need 0"
HOSTILE = STEERING + "".join(f"x{sign}{FAKE}" for sign in BREAKS)


def assert_harmless(text: str) -> None:
    lines = text.splitlines()
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith(FAKE)]


@pytest.fixture
async def hostile(a: httpx2.AsyncClient, ask: Callable[..., Awaitable[Lease]]) -> dict[str, str]:
    """Return a run and an approval in which every text that a requester or a voter may choose is hostile."""
    run = (await a.post("/api/runs", json={"message": HOSTILE})).json()["run"]
    shown = {"goal": HOSTILE, "backout": HOSTILE, "args": {"job": HOSTILE, FAKE: [HOSTILE, {"text": HOSTILE}]}}
    item = {"digest": "d1", "step": "pause", "tool": "jobs.pause", "amount": 100, "args": {"job": HOSTILE}}
    await ask(run, shown=shown, items=[item], sample=[{FAKE: HOSTILE}])
    approval = f"ask-{run}"
    body = {"decision": "ask", "nonce": f"nonce-{approval}", "reason": HOSTILE}
    assert (await a.post(f"/api/approvals/{approval}/decisions", json=body)).status_code == 200
    return {"run": run, "approval": approval}


COMMANDS = [
    ("approvals", "show", "{approval}"),
    ("approvals", "ls"),
    ("runs", "show", "{run}"),
    ("runs", "ls"),
    ("journal", "show", "{run}"),
    ("journal", "export", "--run", "{run}"),
    ("journal", "verify", "--run", "{run}"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_no_command_prints_a_line_that_somebody_outside_wrote(
    run: Run, hostile: dict[str, str], command: tuple[str, ...]
) -> None:
    ran = await run("alice", *(word.format(**hostile) for word in command))
    assert ran.code == 0, ran.err
    assert FAKE in ran.out or command[0] == "approvals" or "verify" in command
    assert_harmless(ran.out + ran.err)


@pytest.mark.parametrize("command", [words for words in COMMANDS if "export" not in words], ids=" ".join)
async def test_json_is_one_line_without_signs_that_steer(
    run: Run, hostile: dict[str, str], command: tuple[str, ...]
) -> None:
    ran = await run("alice", *(word.format(**hostile) for word in command), "--json")
    assert_harmless(ran.out)
    assert ran.out.count("\n") == 1
    assert isinstance(ran.json, dict)


@pytest.mark.parametrize(
    "argv", [("memory", "ls"), ("memory", "search", "x"), ("kill", "--list"), ("memory", "export")]
)
async def test_what_people_said_is_as_harmless(run: Run, a: httpx2.AsyncClient, argv: tuple[str, ...]) -> None:
    await a.post("/api/memory", json={"body": HOSTILE})
    await a.post("/api/kills", json={"kind": "tool", "name": "jobs.look", "reason": HOSTILE})
    assert_harmless((await run("alice", *argv)).out)


async def test_a_live_view_shows_the_breaks_of_a_question(run: Run, hostile: dict[str, str]) -> None:
    ran = await run("alice", "runs", "show", hostile["run"], "--follow")
    assert_harmless(ran.out + ran.err)


def test_text_longer_than_the_screen_begins_no_line_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with tty(monkeypatch) as output:
        terminal.say("goal  " + " " * 74 + FAKE)
        terminal.say("  goal  " + "é" * 72 + FAKE * 30)
        terminal.quote(f"one\n{FAKE}\n" + "x" * 78 + FAKE)
        terminal.table([{"a": "x" * 76 + FAKE * 30, "b": "x"}], ("a", "b"), "")
    text = RICH_CODES.sub("", "".join(output)).replace("\r\n", "\n")
    assert text.count(FAKE) > 3
    assert not [line for line in text.split("\n") if line.startswith(FAKE)]
    assert max(len(line) for line in text.split("\n")) <= 80


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_keeps_its_value_in_every_encoding(encoding: str) -> None:
    value = {"text": HOSTILE + "ä€😀\U000e0001\ud800"}
    text = signs.json_line(json.dumps(value, ensure_ascii=False), encoding)
    assert json.loads(text) == value
    assert_harmless(text)
    assert ("😀" in text) == (encoding == "utf-8")
    assert text.isascii() or encoding == "utf-8"


@pytest.mark.parametrize("sign", [*BREAKS, *STEERING[:1], "\x9b", "\u202e", "\u200b", "\ud800", "\U000e0001"])
def test_signs_become_visible(sign: str) -> None:
    assert signs.visible(f"a{sign}b") == f"a{sign.encode('unicode_escape').decode()}b"


def test_honest_text_stays_as_it_is() -> None:
    assert signs.visible("10\u202f000\u00a0€ für Zoë, 東京 \\n") == "10 000 € für Zoë, 東京 \\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv", [["chat", b"\xff"], ["runs", "show", b"a\xfe", "--json"], ["chat", "x", b"--fl\xff=y"]]
)
def test_bytes_that_are_no_text_are_a_usage_error(argv: list[Any]) -> None:
    ended = subprocess.run([*MAIN, *argv], capture_output=True, check=False)
    assert ended.returncode == terminal.USAGE
    assert b"is no UTF-8 text" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_and_errors_are_printed_in_any_encoding(encoding: str) -> None:
    environment = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "COUNTERSIGN_KEY": "x",
        "COUNTERSIGN_URL": "http://[::1]:1",
    }
    for argv, code in ((["--help"], 0), (["chat", "東京 \u2028"], terminal.UNAVAILABLE), (["tools", "shöw €"], 2)):
        ended = subprocess.run([*MAIN, *argv], capture_output=True, check=False, env=environment)
        assert (ended.returncode, b"UnicodeEncodeError" in ended.stderr) == (code, False)
