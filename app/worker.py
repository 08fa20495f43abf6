"""Worker: leads queued runs to their end or to a wait; started by `countersign worker` and by `serve`.

For each run it leases the row, drives the graph, then parks or finishes. Correctness rests on the fence of the lease
alone: everything that a worker writes names it. The seat only makes the death of a worker known fast.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from app import housekeeping
from graphs.adapter import Graph
from graphs.catalog import STEPS_LIMIT, Flow, FlowCatalog
from graphs.deps import Deps
from graphs.nodes.adoption import initial_state
from graphs.nodes.gate import ResumeRefused
from graphs.state import State
from memory.clock import Clock
from memory.errors import ControlError, Halt, LeaseLost, Temporary
from memory.evidence.signing_key import SigningKey
from memory.postgres.database import Database
from memory.postgres.refusals import DriverError, refusal_of
from memory.runs import endings, queue, records
from memory.runs.checkpoints import Checkpoints, leading
from memory.runs.endings import RunEnding
from memory.runs.leases import Lease, Luggage, LuggageRefused
from memory.runs.models import EndStatus
from memory.runs.queue import Queue, Seat
from memory.runs.run_store import RunStore

_LOG = logging.getLogger(__name__)
_PATIENCE = 3
_STOPPING = frozenset({"no_progress", "record_refused"})
"""Codes of errors after which a person may resume the run, once the reason is gone."""
_PUTTING_BACK = frozenset({"lock_timeout", "record_refused"})
"""Codes of errors that concern this run alone, so that the worker goes on with others."""


@dataclass(frozen=True, slots=True)
class _LoadedFlow:
    """One flow, compiled once, with the saver that it was compiled with."""

    graph: Graph
    saver: Checkpoints
    single_task: bool


class Driver:
    """Drives runs for the worker with a number; `drive` may run many times at once.

    Without a catalogue it leads the shipped flows.
    """

    def __init__(
        self, database: Database, deps: Deps, clock: Clock, number: int, flows: FlowCatalog | None = None
    ) -> None:
        self._database = database
        self._deps = deps
        self._clock = clock
        self._number = number
        self._store = RunStore(database, embedder=deps.embedder)
        self._flows = {flow.name: self._load(flow) for flow in flows or FlowCatalog.discover()}

    @property
    def flow_names(self) -> tuple[str, ...]:
        """Return the flows that this worker leads."""
        return tuple(self._flows)

    def _load(self, flow: Flow) -> _LoadedFlow:
        saver = Checkpoints(self._database, single_task=flow.single_task)
        return _LoadedFlow(flow.compile(self._deps, saver, self._store), saver, flow.single_task)

    async def drive(self, run: str) -> None:
        """Lead a queued run until it ends or waits for a person; does nothing if another worker has it."""
        if lease := await self._take(run):
            await self.lead(lease)

    async def lead(self, lease: Lease) -> None:
        """Lead a run until it ends or waits for a person.

        A run that cannot go on, nor be ended on record, is put back for a later try. Raises Temporary if the database
        stays away: only then the run is left as it is, for its next leader.
        """
        current: Lease | None = lease
        again = False
        while current:
            if self._flows[lease.flow].single_task:
                # What is saved waits for the statements that follow.
                current = replace(current, luggage=Luggage())
            try:
                if await self._lead(current, again=again) != "queued":
                    return
            except LeaseLost:
                _LOG.warning("run %s is led by another worker now", lease.run)
                return
            except ControlError as error:
                if error.code not in _PUTTING_BACK:
                    raise
                _LOG.warning("run %s can neither go on nor be ended, and is tried again later: %s", lease.run, error)
                await self._put_back(current)
                return
            finally:
                self._flows[lease.flow].saver.forget(lease.run)
            current, again = await self._take(lease.run), True

    async def _take(self, run: str) -> Lease | None:
        return await records.lease(self._database, run, self._number, self.flow_names)

    async def _lead(self, lease: Lease, *, again: bool) -> str:
        """Drive a run as far as it goes and return its status; `again` says that a wait was just refused."""
        try:
            if again:
                await self._heed_cancellation(lease)
            state = await self._advance(lease)
            if interrupts := state.get("__interrupt__"):
                return await self._park(lease, interrupts[0].value)
            ending = RunEnding(**state["end"])
        # Neither ends the run: it belongs to another worker, or waits for the database.
        except (LeaseLost, Temporary):
            raise
        except ResumeRefused as error:
            # Somebody left a resume value on record; the question is as open as before.
            return await self._park(lease, error.question)
        except ControlError as error:
            ending = ending_of(error)
        except Exception as error:  # noqa: BLE001  # the edge of one run: it must not take the worker and all other runs along
            _LOG.exception("run %s failed unexpectedly", lease.run)
            ending = _unexpected_ending(error)
        await self._end(lease, ending)
        return ending.status

    async def _put_back(self, lease: Lease) -> None:
        """Put the run back; raises Temporary if the database does not even take that."""
        try:
            await records.put_back(self._database, lease)
        except DriverError as error:
            message = f"the database refuses whatever concerns run {lease.run!r}: {refusal_of(error) or error}"
            raise Temporary("unavailable", message) from error

    async def _end(self, lease: Lease, ending: RunEnding) -> None:
        """End the run on record; raises an error of ours if the database does not take even that."""
        try:
            await endings.end(self._database, lease, ending, self._clock.now())
        except LuggageRefused as error:
            # A checkpoint that waited for this end cannot be saved: the run ends by that instead.
            await self._end(lease, ending_of(error))
        except DriverError as error:
            _LOG.exception("the end of run %s cannot be recorded", lease.run)
            raise refusal_of(error) or error from error

    async def _heed_cancellation(self, lease: Lease) -> None:
        """Raise Halt if the run was cancelled: a gate does not check, and would ask and be refused for ever."""
        row = await records.get(self._database, lease.access, lease.run)
        if row.cancel is not None:
            raise Halt("cancelled", f"cancelled before anybody answered: {row.cancel}")

    async def _advance(self, lease: Lease) -> dict[str, Any]:
        """Run the graph from its last checkpoint; waits for a database that is away for a moment."""
        fresh = lease.fence == 1
        for number in range(1, _PATIENCE + 1):
            try:
                return await self._invoke(lease, fresh=fresh)
            except Temporary as error:
                if number == _PATIENCE:
                    raise
                _LOG.warning("run %s waits for %s", lease.run, error)
                await self._clock.sleep(error.delay)
            fresh = False
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _invoke(self, lease: Lease, *, fresh: bool) -> dict[str, Any]:
        """Start the graph, or wake it: a wake-up carries nothing, the nodes look at the rows."""
        flow = self._flows[lease.flow]
        checkpoint = None if fresh else await flow.saver.aget_tuple(leading(lease, copies=False))
        # The worker before died between the end of the graph and the end of the run.
        if checkpoint and checkpoint.checkpoint["channel_values"].get("end"):
            return checkpoint.checkpoint["channel_values"]
        first_state: State | None = (
            None if checkpoint else await initial_state(lease, self._deps.adopt, self._deps.cards)
        )
        # What was copied into the thread is not this run's: its request starts the flow from the beginning.
        place = leading(lease, fresh=checkpoint is None, copies=False, origin=checkpoint)
        config = {**place, "recursion_limit": STEPS_LIMIT}
        return await flow.graph.ainvoke(first_state, config, context=lease, durability="sync")

    async def _park(self, lease: Lease, question: Mapping[str, Any]) -> str:
        waits_for = question.get("approval", "clarify")
        return await records.park(self._database, lease, waits_for, question.get("answers", 0))


def ending_of(error: ControlError) -> RunEnding:
    """Return how a run ends that one of our own errors stopped; a stopped run can be resumed by a person."""
    if error.code == "cancelled":
        return RunEnding("cancelled", "cancelled", str(error), {})
    status: EndStatus = "stopped" if isinstance(error, Halt) or error.code in _STOPPING else "failed"
    return RunEnding(status, error.code, str(error), {})


def _unexpected_ending(error: Exception) -> RunEnding:
    """Return how a run ends that something else stopped: what the database refuses can be mended, then resumed."""
    if refusal := refusal_of(error):
        return ending_of(refusal)
    return RunEnding("failed", "internal", "an internal error ended this run; the worker's log has it", {})


async def work(
    database: Database,
    waiting: Queue,
    deps: Deps,
    clock: Clock,
    *,
    lanes: int = 8,
    flows: FlowCatalog | None = None,
    key: SigningKey | None = None,
) -> None:
    """Take and lead runs until cancelled.

    Raises Temporary("unavailable") when the worker's own connection or the database is lost; the process should end
    with exit code 69 then and be started anew.
    """
    async with Seat.take(database.worker_url) as seat:
        driver = Driver(database, deps, clock, seat.number, flows)
        failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def lead(lease: Lease) -> None:
            try:
                await driver.lead(lease)
            except (ControlError, DriverError) as error:
                if not failure.done():
                    failure.set_exception(refusal_of(error) or error)

        async def take(most: int) -> Sequence[Lease]:
            return await queue.take(database, seat.number, driver.flow_names, most)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(seat.watch(waiting.ring), name="seat")
                group.create_task(seat.guard(partial(housekeeping.report_death, database)), name="neighbour")
                group.create_task(_until(failure), name="broken")
                group.create_task(housekeeping.sweep_on(database), name="sweep")
                group.create_task(housekeeping.tidy_on(database), name="tidy")
                group.create_task(housekeeping.look_on(database, deps.look_again), name="doubts")
                group.create_task(housekeeping.beat_on(database, seat.number), name="beat")
                group.create_task(housekeeping.embed_on(database, deps.embedder), name="vectors")
                group.create_task(housekeeping.extend_logs_on(database, key), name="log")
                group.create_task(housekeeping.check_journals_on(database), name="journal")
                group.create_task(waiting.work(take, lead, lanes=lanes), name="lanes")
        except* ControlError as errors:
            raise _first(errors) from None


async def _until(failure: asyncio.Future[None]) -> None:
    await failure


def _first(group: BaseExceptionGroup[ControlError]) -> ControlError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ControlError)
    return error
