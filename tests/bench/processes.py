"""Latency between processes: from a decision to its effect, and from a worker's death to its successor."""

import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from memory.governance import approvals, journal
from memory.governance.approvals import ApprovalRecord
from memory.postgres import locks
from memory.runs import records
from memory.runs.queue import Queue
from memory.scope import Access
from tests.bench.governed import activate, shopping
from tests.bench.ground import BOB, BUDGET, Ground
from tests.bench.hands import start_hand
from tests.scenarios.waiting import until

DECISIONS, KILLS = 20, 5
_LONG = 50


async def waking(ground: Ground) -> dict[str, float]:
    """Return milliseconds from a decision's commit in this process to the claim's entry by a worker in another."""
    await activate(ground.database, ground.access, shopping(ground.database).policy)
    millis: list[float] = []
    urls = ground.server.urls
    queue = Queue()
    async with start_hand(urls, 1):
        for _ in range(DECISIONS):
            run = await _start(ground, queue, _plan("shop.refund", 1))
            approval = await _question(ground, run)
            moment = await _decide(ground, queue, approval)
            millis.append((await _entry_after(ground, run, moment, "permitted") - moment).total_seconds() * 1000)
    return {"p50": statistics.median(millis), "max": max(millis)}


async def recovery(ground: Ground) -> dict[str, float]:
    """Return seconds from SIGKILL of a worker to the first entry that its successor writes."""
    await activate(ground.database, ground.access, shopping(ground.database).policy)
    seconds: list[float] = []
    urls = ground.server.urls
    queue = Queue()
    for _ in range(KILLS):
        async with start_hand(urls, 1) as first:
            run = await _start(ground, queue, _plan("shop.charge", _LONG))
            await _entry_after(ground, run, datetime.min.replace(tzinfo=UTC), "outcome")
            async with start_hand(urls, 2):
                # The second is seated before it has loaded its flows.
                await until(partial(_guard_each_other, ground), "neighbours")
                first.kill()
                moment = datetime.now(UTC)
                seconds.append((await _entry_after(ground, run, moment) - moment).total_seconds())
                await _until_end(ground, run)
    return {"p50": statistics.median(seconds), "max": max(seconds)}


async def _guard_each_other(ground: Ground) -> bool:
    query = "select count(*) as n from pg_locks where locktype = 'advisory' and classid = %s and not granted"
    return (await ground.database.rows(ground.access, query, locks.WORKER))[0]["n"] == 2


def _plan(tool: str, steps: int) -> dict[str, Any]:
    plan_steps = [
        {"id": f"step_{number}", "tool": tool, "effect": "write", "args": {"id": uuid4().hex},
         "expect": "size(result.paid) > 0", "backout": "take it back"}
        for number in range(steps)
    ]  # fmt: skip
    return {"id": "bench", "source": "given", "goal": "bench", "steps": plan_steps}


async def _start(ground: Ground, queue: Queue, plan: Mapping[str, Any]) -> str:
    run = uuid4().hex
    request: dict[str, Any] = {"request": "go", "inputs": {}, "runbook": None, "given": plan}
    async with ground.database.transaction(ground.access) as connection:
        await records.start(connection, id=run, thread=run, input=request, correlation=run, budget=BUDGET)
        await queue.defer(connection, run)
    return run


async def _question(ground: Ground, run: str) -> ApprovalRecord:
    async def waits() -> bool:
        return (await records.get(ground.database, ground.access, run)).status == "waiting"

    await until(waits, "the question")
    questions = await approvals.ls(ground.database, ground.access, run=run)
    return await approvals.show(ground.database, ground.access, questions[0].id)


async def _decide(ground: Ground, queue: Queue, record: ApprovalRecord) -> datetime:
    question = record.approval
    async with ground.database.transaction(Access.of(BOB)) as connection:
        result = await approvals.decide(
            connection,
            approval=record.approval.id,
            nonce=record.approval.nonce,
            decision="approve",
            reason="",
            channel="bench",
        )
        assert result.code == "ok", result
        await queue.defer(connection, question.run)
    return datetime.now(UTC)


async def _entry_after(ground: Ground, run: str, moment: datetime, kind: str | None = None) -> datetime:
    """Wait for an entry that was written after a moment; return when it was."""
    moments: list[datetime] = []

    async def has_entry() -> bool:
        for entry in await journal.read(ground.database, ground.access, run):
            at = datetime.fromisoformat(entry.body["at"])
            if kind in (None, entry.kind) and at > moment:
                moments.append(at)
                return True
        return False

    await until(has_entry, "the entry")
    return moments[0]


async def _until_end(ground: Ground, run: str) -> None:
    async def over() -> bool:
        row = await records.get(ground.database, ground.access, run)
        return row.status == "done"

    await until(over, "the end")
