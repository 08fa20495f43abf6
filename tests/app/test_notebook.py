"""Countersign in a notebook: ask, decide in another process, look back, fork, in a folder that several share."""

import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import pytest
from anyio import run_process

from app.notebook import Local, local
from memory.errors import Permanent

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
DECISION = """
import asyncio, sys
from app.notebook import local
async def decide():
    async with local(sys.argv[1]) as cs:
        print(await cs.decide(sys.argv[2], by="dave"))
asyncio.run(decide())
"""


@pytest.fixture(scope="module")
def folder(run_folder: Path) -> Path:
    return run_folder / f"notebook-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
async def cs(folder: Path, anyio_backend: str) -> AsyncGenerator[Local]:
    async with local(folder) as notebook:
        yield notebook


async def test_a_decision_in_another_process_lets_the_run_go_on_here(cs: Local, folder: Path) -> None:
    """R124: the history names every step with its time, and the fork that is told no has no effect."""
    run = await cs.ask("the database disk is almost full")
    assert run.is_waiting
    assert run.interrupt is not None
    assert run.interrupt["kind"] == "approval"
    with pytest.raises(Permanent, match="does not count"):
        await cs.decide(run.id, by="alice")
    other = await run_process([sys.executable, "-c", DECISION, str(folder), run.id])
    assert other.stdout == b"approved\n"
    run = await cs.resume(run.id)
    assert run.status == "done"
    with pytest.raises(Permanent, match="asks nothing now"):
        await cs.decide(run.id, by="dave")
    history = await cs.history(run.id)
    nodes = [snapshot.next[0] for snapshot in history if snapshot.next]
    assert nodes[:2] == ["__start__", "planner"]
    assert nodes.count("gate") == 1
    gate = next(snapshot for snapshot in history if snapshot.next == ("gate",))
    checkpoint = gate.config["configurable"]["checkpoint_id"]
    assert (await cs.state(run.id, checkpoint)).values == gate.values
    fork = await cs.fork(run.id, checkpoint)
    assert (fork.status, fork.reason, fork.thread) == ("denied", "approval_rejected", run.thread)
    assert [entry.kind for entry in await cs.journal(fork.id)].count("permitted") == 0


async def test_strangers_and_unknown_runs_are_named(cs: Local) -> None:
    with pytest.raises(Permanent, match="no person 'mallory'"):
        await cs.ask("anything", by="mallory")
    with pytest.raises(Permanent, match="no run"):
        await cs.run(str(uuid4()))
