"""Deaths of Postgres: `python -m tests.bench.restarts --kills 60` against `countersign up` as people start it.

Half of the kills strike while everything starts, at a random moment after the server took connections, on fresh data
and on old; the others while runs are asked for. `up` may never end, may advise nothing that would harm, and every
accepted run comes to its end.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from tests.bench.crashes import RESTING, free, passable
from tests.scenarios.waiting import until

CUSTOMERS = 300
KILLS_PER_START = 5
_COMMAND = (sys.executable, "-c", "from app.cli import main; main()", "up", "--json")
_START_SECONDS, _REST_SECONDS, _END_SECONDS = 120.0, 90.0, 30.0
_AFTER_READY = (0.0, 0.024, 0.1, 0.3, 0.8)
"""Seconds between the server's first connection and its end."""
_HARMFUL = ("restore", "remove", "migrate", "move the data folder")
_BUSINESS_IS_DOWN = "'/billing/jobs' answered 500"
_STEP = {
    "id": "look", "tool": "billing.jobs", "effect": "read", "args": {"kind": "charge_retry"},
    "expect": "size(result) >= 0", "backout": "none",
}  # fmt: skip


@dataclass
class Record:
    """Counts of one measurement."""

    kills: dict[str, int] = field(default_factory=lambda: {"start": 0, "load": 0})
    starts: int = 0
    ends: list[str] = field(default_factory=list[str])
    """What `up` said when it ended by itself."""
    advice: list[str] = field(default_factory=list[str])
    runs: dict[str, str] = field(default_factory=dict[str, str])
    slowest_return: float = 0.0
    """Seconds from a kill under load to the next answer that needs the database."""
    slowest_end: float = 0.0
    """Seconds from SIGTERM to the end of `up`."""


@dataclass
class House:
    """One life of `up`."""

    folder: Path
    process: Process
    api: str
    keys: dict[str, str] = field(default_factory=dict[str, str])
    dead: set[int] = field(default_factory=set[int])

    def kill_postgres(self) -> bool:
        """Kill the server if it takes connections."""
        with suppress(FileNotFoundError, ProcessLookupError, IndexError, ValueError):
            lines = (self.folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n")
            # A dead server's file stays, and so may its process, until somebody looks after them.
            if lines[7].strip() == "ready" and (pid := int(lines[0])) not in self.dead:
                os.kill(pid, signal.SIGKILL)
                self.dead.add(pid)
                return True
        return False

    async def ask(self) -> str | None:
        """Ask for a run; None where nobody takes it."""
        headers = {"Authorization": f"Bearer {self.keys['alice']}", "Idempotency-Key": uuid4().hex}
        body = {"plan": {"id": "restarts", "goal": "look", "steps": [_STEP]}}
        async with httpx2.AsyncClient(base_url=self.api, headers=headers, timeout=20, trust_env=False) as client:
            with suppress(httpx2.TransportError):
                answer = await client.post("/api/runs", json=body)
                return answer.json()["run"] if answer.is_success else None
        return None

    async def status(self, run: str) -> str:
        """Return a run's status, or nothing where nobody answers; a business that is down ends it as well."""
        headers = {"Authorization": f"Bearer {self.keys['alice']}"}
        async with httpx2.AsyncClient(base_url=self.api, headers=headers, timeout=20, trust_env=False) as client:
            with suppress(httpx2.TransportError):
                answer = await client.get(f"/api/runs/{run}")
                view: dict[str, Any] = answer.json() if answer.is_success else {"status": ""}
                # The business lost its database too, and says so: the run ends as it must.
                return "done" if _BUSINESS_IS_DOWN in view.get("message", "") else view["status"]
        return ""


@asynccontextmanager
async def living(folder: Path, record: Record) -> AsyncGenerator[House]:
    """Start `up`, and end it as an operator does."""
    port, world = free(), free()
    command = (*_COMMAND, f"--data-dir={folder}", f"--port={port}", f"--world-port={world}", f"--customers={CUSTOMERS}")
    with (folder.parent / "up.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=log)
    record.starts += 1
    try:
        yield House(folder, process, f"http://127.0.0.1:{port}")
    finally:
        began = time.monotonic()
        if process.returncode is None:
            process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        record.slowest_end = max(record.slowest_end, time.monotonic() - began)


async def strike_starts(folder: Path, record: Record, rng: random.Random, kills: int) -> None:
    """Kill the server while everything starts, then wait until it has; on fresh data and on what that left."""
    for number in range(0, kills, KILLS_PER_START):
        data = folder / f"data{number // (2 * KILLS_PER_START)}"
        async with living(data, record) as house:
            ready = asyncio.create_task(_announcement(house))
            for _ in range(min(KILLS_PER_START, kills - number)):
                await _kill_soon(house, record, "start", rng.choice(_AFTER_READY), ready)
            await _wait(ready, record, house)


async def strike_load(folder: Path, record: Record, rng: random.Random, kills: int) -> None:
    """Kill the server while runs are asked for; every one that was accepted ends."""
    async with living(folder / "data0", record) as house:
        if not await _wait(asyncio.create_task(_announcement(house)), record, house):
            return
        for _ in range(kills):
            await _ask_for(house, record, rng.uniform(0.2, 1.5))
            record.kills["load"] += house.kill_postgres()
            record.slowest_return = max(record.slowest_return, await _return(house, record))
        await _rest(house, record)
        if house.process.returncode is not None:
            record.ends.append("under load")


async def measure(kills: int, seed: int) -> dict[str, Any]:
    """Return the figures of so many kills."""
    began, record, rng = time.monotonic(), Record(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="cs-deaths-") as name:
        folder = passable(name)
        await strike_starts(folder, record, rng, kills // 2)
        await strike_load(folder, record, rng, kills - kills // 2)
        text = (folder / "up.log").read_text(errors="replace")
    record.advice = [line for line in text.split("\n") if any(word in line for word in _HARMFUL)]
    open_runs = {run: status for run, status in record.runs.items() if status != "done"}
    return {
        "kills": record.kills,
        "starts": record.starts,
        "runs": len(record.runs),
        "slowest return": round(record.slowest_return, 1),
        "slowest end": round(record.slowest_end, 1),
        "seconds": round(time.monotonic() - began),
        "ended by itself": record.ends,
        "harmful advice": record.advice,
        "not done": open_runs,
    }


async def _announcement(house: House) -> bool:
    """Return whether `up` announced itself; not, if it ended instead."""
    assert house.process.stdout
    line = await house.process.stdout.readline()
    if line:
        house.keys = json.loads(line)["keys"]
    return bool(line)


async def _kill_soon(house: House, record: Record, phase: str, pause: float, ready: asyncio.Task[bool]) -> None:
    """Kill the server as soon as there is one, after a pause."""
    end = time.monotonic() + _REST_SECONDS
    while time.monotonic() < end and not ready.done():
        await asyncio.sleep(pause)
        if house.kill_postgres():
            record.kills[phase] += 1
            return
        await asyncio.sleep(0.005)


async def _wait(ready: asyncio.Task[bool], record: Record, house: House) -> bool:
    done, _ = await asyncio.wait([ready], timeout=_START_SECONDS)
    if done and ready.result():
        return True
    ready.cancel()
    words = (house.folder.parent / "up.log").read_text(errors="replace").strip().split("\n")[-1]
    record.ends.append(words if house.process.returncode is not None or done else f"not ready: {words}")
    return False


async def _ask_for(house: House, record: Record, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if run := await house.ask():
            record.runs[run] = ""
        await asyncio.sleep(0.1)


async def _return(house: House, record: Record) -> float:
    """Return after how many seconds a run is taken again."""
    began = time.monotonic()

    async def takes_a_run() -> bool:
        if run := await house.ask():
            record.runs[run] = ""
        return run is not None

    await until(takes_a_run, "a run that is taken", _REST_SECONDS)
    return time.monotonic() - began


async def _rest(house: House, record: Record) -> None:
    end = time.monotonic() + _REST_SECONDS
    while time.monotonic() < end:
        for run in [run for run, status in record.runs.items() if status not in RESTING]:
            record.runs[run] = await house.status(run)
        if all(status in RESTING for status in record.runs.values()):
            return
        await asyncio.sleep(0.5)


def main() -> None:
    """Measure and print one object; exit 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restarts", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    figures = asyncio.run(measure(options.kills, options.seed))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    sys.exit(1 if any(figures[name] for name in ("ended by itself", "harmful advice", "not done")) else 0)


if __name__ == "__main__":
    main()
