"""Countersign inside a notebook or a script: the compiled LangGraph flow, its checkpoints, and people who decide.

`async with local() as cs:` starts the embedded Postgres and the demo business on fresh data, which end with the block;
`local(folder)` opens a data folder that stays, such as that of the demo, and several processes may open one at the same
time. For exploring and for tests: nothing here asks who is calling.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import uuid4

from langchain_core.runnables import RunnableConfig

from app.addresses import Addresses, addresses_of, service_keys
from app.bootstrap import people, set_up
from app.drawing import Drawing, draw
from app.settings import Settings, load
from app.wiring import System, open_system
from app.worker import Driver
from app.world.service import open_world, server
from app.world.store import load as load_story
from graphs.adapter import Graph
from memory.errors import Permanent
from memory.governance import approvals, journal
from memory.governance.approvals import ApprovalView
from memory.postgres.schema_version import holds
from memory.runs import records
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.queue import Seat
from memory.runs.records import DEFAULT_FLOW
from memory.runs.run_store import RunStore
from memory.scope import Access

_INSTANCE = "world"


@dataclass(frozen=True, slots=True)
class NotebookRun:
    """One run as a notebook shows it."""

    id: str
    thread: str
    status: str
    reason: str | None
    message: str
    interrupt: Mapping[str, Any] | None
    """What `interrupt()` says while the run waits for a person; None otherwise."""

    @property
    def is_waiting(self) -> bool:
        """Return whether the run waits for a person."""
        return self.status == "waiting"


@dataclass(frozen=True, slots=True)
class Local:
    """An installation within this process, with every person of the demo at hand."""

    system: System
    graph: Graph
    """The governed flow, compiled with our checkpointer and our store."""
    folder: Path
    """Where the data are, for another process that is to join."""
    driver: Driver
    """What leads runs in this process, as a worker does."""
    worker: int
    """Number of this process among the workers, so that no other takes over what is led here."""

    async def ask(self, request: str, *, by: str = "alice", thread: str | None = None) -> NotebookRun:
        """Start a run with a request in somebody's name and lead it until it ends or asks people."""
        run = str(uuid4())
        await self._start(run, thread or run, {"request": request, "inputs": {}, "given": None}, by)
        return await self.resume(run)

    async def decide(
        self, run: str, decision: Literal["approve", "reject"] = "approve", *, by: str, reason: str = "in a notebook"
    ) -> str:
        """Answer the open question of a run in somebody's name; returns where the question stands then.

        Raises Permanent("not_found") if nothing is asked, Permanent("conflict") if this answer does not count.
        """
        access = self.access(by)
        rounds = await approvals.ls(self.system.database, access, run=run, status="open", limit=1)
        if not rounds:
            raise Permanent("not_found", f"run {run!r} asks nothing now; look at its status")
        async with self.system.database.transaction(access) as connection:
            vote = await approvals.decide(
                connection,
                approval=rounds[0].id,
                nonce=rounds[0].nonce,
                decision=decision,
                reason=reason,
                channel="notebook",
            )
        if vote.code != "ok":
            raise Permanent("conflict", f"the answer of {by!r} does not count: {vote.code}; let somebody else decide")
        return str(vote.status)

    async def resume(self, run: str) -> NotebookRun:
        """Lead a run on, if it is queued, until it ends or asks; a decision that completes the quorum queues it."""
        await self.driver.drive(run)
        return await self.run(run)

    async def run(self, run: str) -> NotebookRun:
        """Return a run as it stands, whoever leads it; raises Permanent("not_found")."""
        row = await records.get(self.system.database, self.access("alice"), run)
        view = NotebookRun(run, row.thread, row.status, row.reason, row.message or "", None)
        if not view.is_waiting:
            return view
        state = await self.state(run)
        return replace(view, interrupt=state.interrupts[0].value if state.interrupts else None)

    async def latest(self) -> NotebookRun | None:
        """Return the newest run that asked people, or None if there was none."""
        rounds = await approvals.ls(self.system.database, self.access("alice"), limit=1)
        return await self.run(rounds[0].run) if rounds else None

    async def config(self, run: str, checkpoint: str | None = None) -> RunnableConfig:
        """Return the configuration with which LangGraph's own methods read the run's thread."""
        row = await records.get(self.system.database, self.access("alice"), run)
        return reading(self.access(row.requester), row.thread, checkpoint)

    async def history(self, run: str) -> list[Any]:
        """Return LangGraph's `StateSnapshot` of every checkpoint of a run, oldest first."""
        snapshots = self.graph.aget_state_history(await self.config(run), filter={"run": run})
        return [snapshot async for snapshot in snapshots][::-1]

    async def state(self, run: str, checkpoint: str | None = None) -> Any:
        """Return the snapshot of a run at one of its checkpoints, by default the latest."""
        return await self.graph.aget_state(await self.config(run, checkpoint or (await self._last(run))))

    def draw(self) -> Drawing:
        """Return a picture of the flow."""
        return draw(self.graph)

    async def journal(self, run: str) -> list[journal.JournalEntry]:
        """Return the first thousand entries of a run's journal, in order."""
        return list(await journal.read(self.system.database, self.access("alice"), run, limit=1000))

    async def fork(self, run: str, checkpoint: str, status: Literal["rejected", "expired"] = "rejected") -> NotebookRun:
        """Lead a run of its own from a checkpoint at which people were asked, as if they had said no.

        Gateway and journal are the real ones; since nobody says yes, nothing that needs a yes is done.
        """
        row = await records.get(self.system.database, self.access("alice"), run)
        fork = str(uuid4())
        await self._start(fork, row.thread, row.input, row.requester)
        lease = await records.lease(self.system.database, fork, self.worker)
        if lease is None:
            raise Permanent("conflict", f"thread {row.thread!r} is led by somebody else; wait until it rests")

        async def answered(*_: object) -> ApprovalView:
            return ApprovalView(status, "tried in a notebook", None)

        deps = replace(self.system.deps, standing=answered)
        flow = self.system.flows.get(DEFAULT_FLOW).compile(deps, Checkpoints(self.system.database))
        config = leading(lease, checkpoint=checkpoint)
        state = await flow.ainvoke(None, config, context=lease, durability="sync")
        async with self.system.database.transaction(lease.access) as connection:
            await records.finish(connection, lease, **state["end"])
        return await self.run(fork)

    async def _start(self, run: str, thread: str, request: Mapping[str, Any], person: str) -> None:
        async with self.system.database.transaction(self.access(person)) as connection:
            budget = self.system.settings.budget.model_dump()
            await records.start(connection, id=run, thread=thread, input=request, correlation=run, budget=budget)

    async def _last(self, run: str) -> str | None:
        async for snapshot in self.graph.aget_state_history(await self.config(run), filter={"run": run}, limit=1):
            return str(snapshot.config["configurable"]["checkpoint_id"])
        return None

    def access(self, person: str) -> Access:
        """Return what a person of the demo may read and write outside any run."""
        principals = {principal.id: principal for principal in people(self.system.settings.tenant)}
        if person not in principals:
            raise Permanent("not_found", f"there is no person {person!r}; use one of {', '.join(principals)}")
        return Access.of(principals[person])


@asynccontextmanager
async def local(folder: Path | str | None = None, *, customers: int = 60, seed: int = 1) -> AsyncGenerator[Local]:
    """Open an installation in a data folder, or in a fresh one that ends with the block.

    `customers` and `seed` say how large the demo business is and which story it tells, when it is new.
    """
    async with AsyncExitStack() as stack:
        folder = Path(folder or stack.enter_context(TemporaryDirectory(prefix="countersign-")))
        if folder.is_dir() and not any(folder.iterdir()):
            # Root starts the server as somebody else, who has to pass through.
            folder.chmod(0o711)
        settings = load({"data_dir": folder})
        addresses = stack.enter_context(addresses_of(settings))
        await set_up(settings, addresses)
        url = settings.world_url
        if url is None:
            url = await stack.enter_async_context(_business(settings, addresses, customers=customers, seed=seed))
        system = await stack.enter_async_context(open_system(settings.model_copy(update={"world_url": url}), addresses))
        seat = await stack.enter_async_context(Seat.take(system.database.worker_url))
        driver = Driver(system.database, system.deps, system.clock, seat.number, system.flows)
        flow, store = system.flows.get(DEFAULT_FLOW), RunStore(system.database)
        graph = flow.compile(system.deps, Checkpoints(system.database), store)
        yield Local(system, graph, folder, driver, seat.number)


@asynccontextmanager
async def _business(settings: Settings, addresses: Addresses, *, customers: int, seed: int) -> AsyncGenerator[str]:
    """Serve the demo business on a free loopback port; yields its address."""
    if not await holds(addresses.business_url, f"{_INSTANCE}_billing"):
        await load_story(addresses.business_url, _INSTANCE, seed=seed, customers=customers)
    async with open_world(addresses.business_url, _INSTANCE, service_keys(settings)) as world:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            business = server(world, "127.0.0.1", 0)
            task = asyncio.create_task(business.serve([listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                business.should_exit = True
                await task
