"""Whole product over a small business of its own: real database, real sockets, decisions of people."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from app import bootstrap
from app.addresses import Addresses
from app.settings import Settings
from app.wiring import System, open_system
from app.worker import work
from app.world.generator import Situation
from app.world.service import open_world, server
from app.world.store import actual_counts, connect, load, true_counts
from memory.clock import SystemClock, new_id
from memory.governance import approvals, journal
from memory.governance.approvals import Approval
from memory.governance.journal import JournalEntry
from memory.knowledge import versions
from memory.knowledge.models import KnowledgeItem
from memory.postgres.roles import Urls
from memory.runs import records
from memory.runs.models import Run
from memory.scope import Access, Principal
from tests.scenarios.waiting import until
from tests.serving import serving
from tools.model import Model

KEYS = {"world_key_read": "reads", "world_key_write": "writes"}
REQUEST = "customers say they were billed twice on Friday night, fix it"
SMALL = {"default: 500": "default: 20", "default: 10}": "default: 3}"}
"""Changes to the runbook that make many batches of few charges."""
TERMINAL = frozenset({"done", "failed", "denied", "stopped", "cancelled"})


@dataclass(frozen=True, slots=True)
class Town:
    """One tenant with one business."""

    settings: Settings
    addresses: Addresses
    instance: str
    system: System

    @property
    def access(self) -> Access:
        """Return the access of alice outside runs."""
        return self.access_of("alice")

    def access_of(self, person: str) -> Access:
        """Return the access of a person outside runs."""
        return Access.of(Principal(self.settings.tenant, person))

    async def ask(self, message: str = REQUEST, person: str = "alice") -> str:
        """Start a run with a message; returns its id."""
        return await self.start({"request": message, "inputs": {}, "runbook": None, "given": None}, person)

    async def begin(self, runbook: str = "billing.double-charge", person: str = "alice", **inputs: Any) -> str:
        """Start a runbook by name."""
        return await self.start({"request": REQUEST, "inputs": inputs, "runbook": runbook, "given": None}, person)

    async def publish(self, changes: Mapping[str, str], runbook: str = "billing.double-charge") -> None:
        """Publish the next version of a runbook as dave, who decides nothing here, and wake what that voids."""
        item = await versions.current(self.system.database, self.access, runbook)
        body = item.body.replace(f"version: {item.version}", f"version: {item.version + 1}")
        for old, new in changes.items():
            assert old in body
            body = body.replace(old, new)
        item = KnowledgeItem(runbook, "runbook", item.title, body, item.owner, item.review_by, item.version + 1)
        publication = await versions.publish(self.system.database, self.access_of("dave"), item)
        async with self.system.database.transaction(self.access) as connection:
            for run in publication.runs:
                await self.system.queue.defer(connection, run)

    async def start(self, request: Mapping[str, Any], person: str = "alice") -> str:
        """Start a run and wake a worker, as the API does; returns its id."""
        run = str(new_id(SystemClock()))
        async with self.system.database.transaction(self.access_of(person)) as connection:
            budget = self.settings.budget.model_dump()
            await records.start(connection, id=run, thread=run, input=request, correlation=run, budget=budget)
            await self.system.queue.defer(connection, run)
        return run

    async def row(self, run: str) -> Run:
        """Return a run's row."""
        return await records.get(self.system.database, self.access, run)

    async def entries(self, run: str) -> list[JournalEntry]:
        """Return a run's journal."""
        return await journal.read(self.system.database, self.access, run, limit=5000)

    async def questions(self, run: str) -> list[Approval]:
        """Return the open approvals of a run."""
        return await approvals.ls(self.system.database, self.access, run=run, status="open")

    async def decide(self, run: str, decision: Any = "approve", reason: str = "agreed") -> None:
        """Let bob, and carol if it takes two, answer what a run asks."""
        for question in await self.questions(run):
            for person in ("bob", "carol")[: question.need]:
                await self.vote(person, question, decision, reason)

    async def vote(self, person: str, question: Approval, decision: Any = "approve", reason: str = "agreed") -> str:
        """Let one person answer one question; returns the code."""
        async with self.system.database.transaction(self.access_of(person)) as connection:
            result = await approvals.decide(
                connection,
                approval=question.id,
                nonce=question.nonce,
                decision=decision,
                reason=reason,
                channel="test",
            )
            if result.wakes_run and result.run:
                await self.system.queue.defer(connection, result.run)
            return result.code

    async def until_end(self, run: str, *, approving: bool = True, seconds: float = 60) -> Run:
        """Wait for a run's end, agreeing to whatever it asks meanwhile; returns its row."""

        async def over() -> bool:
            if approving:
                await self.decide(run)
            return (await self.row(run)).status in TERMINAL

        await until(over, f"the end of run {run}", seconds)
        return await self.row(run)

    async def bodies(self, run: str, kind: str) -> list[Mapping[str, Any]]:
        """Return the bodies of a run's entries of one kind."""
        return [entry.body for entry in await self.entries(run) if entry.kind == kind]

    async def until_rest(self, run: str, *, approving: bool = False, seconds: float = 60) -> Run:
        """Wait until a run ended or asks its requester; returns its row."""

        async def still() -> bool:
            if approving:
                await self.decide(run)
            row = await self.row(run)
            return row.status in TERMINAL or row.waits_for == "clarify"

        await until(still, f"a rest of run {run}", seconds)
        return await self.row(run)

    async def until_effect(self, run: str, step: str, *, seconds: float = 60) -> None:
        """Agree to whatever a run asks until an effect of a step is settled."""

        async def has_effect() -> bool:
            await self.decide(run)
            return any(body["step"] == step for body in await self.bodies(run, "outcome"))

        await until(has_effect, f"step {step} of run {run}", seconds)

    async def until_question(self, run: str, step: str) -> None:
        """Wait until people are asked about a step."""

        async def has_question() -> bool:
            return any(question.step == step for question in await self.questions(run))

        await until(has_question, f"the question about {step}")

    async def resume(self, run: str, person: str = "alice") -> None:
        """Queue a stopped run again, as the API does."""
        async with self.system.database.transaction(self.access_of(person)) as connection:
            await records.resume(connection, run)
            await self.system.queue.defer(connection, run)

    async def effects(self) -> int:
        """Return how many effects this tenant's runs have had or tried."""
        async with self.system.database.transaction(self.access) as connection:
            cursor = await connection.execute("select count(*) as n from effects")
            return (await cursor.fetchone() or {})["n"]

    async def charges(self, label: str) -> list[str]:
        """Return the charges with one of the generator's labels."""
        async with await connect(self.addresses.business_url) as connection:
            cursor = await connection.execute(
                f"select charge from {self.instance}_billing.labels where label = %s order by charge".encode(), [label]
            )
            return [row["charge"] for row in await cursor.fetchall()]

    async def true_counts(self) -> dict[str, int]:
        """Return the figures of a right repair."""
        return await true_counts(self.addresses.business_url, self.instance)

    async def actual_counts(self) -> dict[str, int]:
        """Return the figures of the business."""
        return await actual_counts(self.addresses.business_url, self.instance)

    @asynccontextmanager
    async def worker(self, model: Model | None = None) -> AsyncGenerator[None]:
        """Let a worker of this process take runs for the length of the block, drafting with a model if one is given."""
        system = replace(self.system, model=model) if model else self.system
        task = asyncio.create_task(work(system.database, system.queue, system.deps, system.clock, lanes=2))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


Towns = Callable[..., AbstractAsyncContextManager[Town]]


@asynccontextmanager
async def open_town(
    urls: Urls,
    folder: Path,
    *,
    situation: Situation = "double_charge",
    faults: str = "none",
    customers: int = 120,
    seed: int = 1,
    **settings: Any,
) -> AsyncGenerator[Town]:
    """Found a tenant, load and serve a business for it, and open the product over both."""
    name = uuid4().hex[:10]
    addresses = Addresses(urls.app, urls.owner, urls.world, is_embedded=True, worker=urls.worker)
    await load(urls.world, f"w{name}", seed, customers, situation)
    keys = {"researcher": KEYS["world_key_read"], "executor": KEYS["world_key_write"]}
    async with open_world(urls.world, f"w{name}", keys, faults=faults) as world:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            own_settings = Settings.model_validate(
                {"data_dir": folder, "tenant": f"t-{name}", "world_url": url, **KEYS, **settings}
            )
            async with serving(server(world, "127.0.0.1", 0), listener):
                await bootstrap.set_up(own_settings, addresses)
                async with open_system(own_settings, addresses) as system:
                    town = Town(own_settings, addresses, f"w{name}", system)
                    await town.publish(SMALL)
                    yield town
