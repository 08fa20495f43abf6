"""What crosses processes: a decision here, its effect there; a worker killed, its run led by another."""

import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from memory.governance import approvals, journal
from memory.runs import records
from memory.runs.queue import Queue
from memory.scope import Access
from tests.bench.governed import in_force, shopping
from tests.bench.ground import BOB, BUDGET, Ground
from tests.bench.hands import hand
from tests.scenarios.waiting import until

DECISIONS, KILLS = 20, 5
_LONG = 50


async def waking(ground: Ground) -> dict[str, float]:
    """Return milliseconds from a decision's commit in this process to the claim's entry by a worker in another."""
    await in_force(ground.database, ground.access, shopping(ground.database).policy)
    took: list[float] = []
    urls = ground.server.urls
    async with Queue.open(urls.app) as queue, hand(urls.app, urls.owner, 1):
        for _ in range(DECISIONS):
            run = await _start(ground, queue, _plan("shop.refund", 1))
            approval = await _question(ground, run)
            decided = await _decide(ground, queue, approval)
            took.append((await _entry_after(ground, run, decided, "permitted") - decided).total_seconds() * 1000)
    return {"p50": statistics.median(took), "max": max(took)}


async def recovery(ground: Ground) -> dict[str, float]:
    """Return seconds from SIGKILL of a worker to the first entry that its successor writes."""
    await in_force(ground.database, ground.access, shopping(ground.database).policy)
    took: list[float] = []
    urls = ground.server.urls
    async with Queue.open(urls.app) as queue:
        for _ in range(KILLS):
            async with hand(urls.app, urls.owner, 1) as first:
                run = await _start(ground, queue, _plan("shop.charge", _LONG))
                await _entry_after(ground, run, datetime.min.replace(tzinfo=UTC), "outcome")
                async with hand(urls.app, urls.owner, 2):
                    first.kill()
                    killed = datetime.now(UTC)
                    took.append((await _entry_after(ground, run, killed) - killed).total_seconds())
                    await _ended(ground, run)
    return {"p50": statistics.median(took), "max": max(took)}


def _plan(tool: str, steps: int) -> dict[str, Any]:
    every = [
        {"id": f"step_{number}", "tool": tool, "effect": "write", "args": {"id": uuid4().hex},
         "expect": "size(result.paid) > 0", "backout": "take it back"}
        for number in range(steps)
    ]  # fmt: skip
    return {"id": "bench", "source": "given", "goal": "bench", "steps": every}


async def _start(ground: Ground, queue: Queue, plan: Mapping[str, Any]) -> str:
    run = uuid4().hex
    asked: dict[str, Any] = {"request": "go", "inputs": {}, "runbook": None, "given": plan}
    async with ground.database.transaction(ground.access) as connection:
        await records.start(connection, id=run, thread=run, input=asked, correlation=run, budget=BUDGET)
        await queue.defer(connection, run)
    return run


async def _question(ground: Ground, run: str) -> dict[str, Any]:
    async def waits() -> bool:
        return (await records.get(ground.database, ground.access, run))["status"] == "waiting"

    await until(waits, "the question")
    found = await approvals.ls(ground.database, ground.access, run=run)
    return await approvals.show(ground.database, ground.access, found[0]["id"])


async def _decide(ground: Ground, queue: Queue, asked: Mapping[str, Any]) -> datetime:
    async with ground.database.transaction(Access.of(BOB)) as connection:
        decided = await approvals.decide(
            connection, approval=asked["id"], nonce=asked["nonce"], decision="approve", reason="", channel="bench"
        )
        assert decided.code == "ok", decided
        await queue.defer(connection, asked["run"])
    return datetime.now(UTC)


async def _entry_after(ground: Ground, run: str, moment: datetime, kind: str | None = None) -> datetime:
    """Wait for an entry that was written after a moment; return when it was."""
    found: list[datetime] = []

    async def there() -> bool:
        for entry in await journal.read(ground.database, ground.access, run):
            at = datetime.fromisoformat(entry.body["at"])
            if kind in (None, entry.kind) and at > moment:
                found.append(at)
                return True
        return False

    await until(there, "the entry")
    return found[0]


async def _ended(ground: Ground, run: str) -> None:
    async def over() -> bool:
        row = await records.get(ground.database, ground.access, run)
        return row["status"] == "done"

    await until(over, "the end")
