"""The live view of a run, on a terminal and elsewhere; what runs say is hostile text."""

import os
import pty
import re
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from app.client import StreamEvent
from app.commands.live import watch
from memory.errors import Temporary

HOSTILE = "evil\x1b]0;title\x07\x1b[2J\r\n\x9b1A[bold]text[/bold]"
RICH_CODES = re.compile(r"\x1b\[(?:[0-9;]*m|2K|1?A|\?25[lh])")
"""Everything that the progress bar itself may send: colours, a line anew, the cursor off and on."""


async def stream(*events: tuple[str, Mapping[str, Any]]) -> AsyncIterator[StreamEvent]:
    for name, data in events:
        yield StreamEvent(name, "", data)


def progress(batch: int, text: str) -> tuple[str, Mapping[str, Any]]:
    return "progress", {"run": "r1", "step": "refund", "batch": batch, "of": 100, "text": text}


END = ("end", {"run": "r1", "status": "done", "reason": None})


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Generator[list[str]]:
    """Let the block print to a terminal of 80 columns; afterwards the list holds all that was written to it."""
    output: list[str] = []
    keyboard, tty = pty.openpty()
    with monkeypatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERM", "xterm")
        with open(tty, "w", encoding="utf-8") as screen:
            patch.setattr("sys.stdout", screen)
            yield output
    # Linux reports the end of a terminal as an error.
    text = b""
    with suppress(OSError):
        while chunk := os.read(keyboard, 4096):
            text += chunk
    output.append(text.decode())
    os.close(keyboard)


async def test_progress_moves_in_one_line_and_its_last_state_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as output:
        await watch(stream(progress(1, "batch 1/100"), progress(37, "batch 37/100, 12 s left"), END), wait=True)
    lines = RICH_CODES.sub("", "".join(output)).replace("\r\n", "\n").split("\n")
    states = [line.split("\r")[-1].rstrip("━╸╺ ") for line in lines if line]
    assert states == ["  batch 37/100, 12 s left", "ended: done"]


async def test_a_watch_that_breaks_off_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken_stream() -> AsyncIterator[StreamEvent]:
        async for event in stream(progress(1, "batch 1/100")):
            yield event
        raise Temporary("unavailable", "the API is away")

    with terminal(monkeypatch) as output, pytest.raises(Temporary):
        await watch(broken_stream(), wait=True)
    assert re.findall(r"\x1b\[\?25[lh]", "".join(output)) == ["\x1b[?25l", "\x1b[?25h"]


async def test_hostile_text_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    message = ("message", {"run": "r1", "text": HOSTILE})
    with terminal(monkeypatch) as output:
        await watch(stream(progress(1, HOSTILE), message, END), wait=True)
    text = RICH_CODES.sub("", "".join(output)).replace("\r", "").replace("\n", "")
    assert text.isprintable()
    assert text.count("[bold]text[/bold]") >= 2


async def test_without_a_terminal_progress_is_thinned_out_and_nothing_moves(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [progress(batch, f"batch {batch}/100 {HOSTILE}") for batch in range(1, 50)]
    await watch(stream(*steps, END), wait=True)
    text = capsys.readouterr().out
    assert (text.count("  batch "), "batch 1/100" in text, "ended: done" in text) == (1, True, True)
    assert text.replace("\n", "").isprintable()
