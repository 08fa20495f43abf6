"""Grace of long-running processes: asked to end they end, whatever of theirs does not."""

import signal
import subprocess
import sys

import pytest

from app.processes import GRACE_SECONDS
from app.supervisor import STOP_SECONDS

STUBBORN = """
import asyncio, sys, threading
from app.processes import run
async def work():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    print("ready", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
run(work, grace=0.3)
"""
ORDERLY = """
import asyncio
from app.processes import run
async def work():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("closed", flush=True)
run(work, grace=30)
"""


def ended(program: str) -> tuple[int, str]:
    """Ask a program to end once it is ready; returns its exit code and what it said after that."""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=20)
        return process.returncode, text


@pytest.mark.parametrize(("program", "end"), [(ORDERLY, (0, "closed\n")), (STUBBORN, (1, ""))])
def test_what_is_asked_to_end_ends(program: str, end: tuple[int, str]) -> None:
    """Neither a work that does not heed its cancellation nor a thread of it keeps the process alive."""
    assert ended(program) == end


def test_a_child_ends_by_itself_before_its_supervisor_kills_it() -> None:
    assert GRACE_SECONDS < STOP_SECONDS
