"""Deletion, copies and pruning of LangGraph threads, for whoever leads their run, else once all their runs have ended.

The base of the checkpoint saver: scripts and LangGraph's own tools call these methods with a thread and nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.postgres.base import PRUNE_STRATEGIES, BasePostgresSaver

from memory.errors import LeaseLost, Permanent
from memory.postgres.database import Database
from memory.runs.checkpoint_values import ExactSerializer
from memory.runs.leases import Lease, flush
from memory.scope import Access


class Threads(BasePostgresSaver):
    """What a saver does with whole threads; a thread's leader is known by the leases that passed through the saver."""

    def __init__(self, database: Database, serde: ExactSerializer, access: Access | None) -> None:
        super().__init__(serde=serde)
        self._database = database
        self._own = access
        self._leases: dict[str, Lease] = {}

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread; its runs of today never bring one back.

        Raises Permanent busy if another leads its run, forbidden if it is another person's.
        """
        await self._change("delete_checkpoints", {"threads": [thread_id]})

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that some runs left, by our id or the client's; raises Permanent busy or forbidden."""
        if run_ids:
            await self._change("delete_checkpoints", {"runs": [*run_ids]}, runs=run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints of a thread into an empty one, from where that one's next run goes on.

        Raises Permanent busy or forbidden for either thread, conflict if the target has checkpoints.
        """
        await self._change("copy_checkpoints", {"threads": [source_thread_id, target_thread_id]})

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep the latest checkpoint of each namespace of some threads, or none with `delete`.

        Raises Permanent busy or forbidden, and conflict for threads with a DeltaChannel, which needs its history.
        """
        if isinstance(thread_ids, str):
            raise TypeError("threads are a list; put the one into brackets")
        if strategy not in PRUNE_STRATEGIES:
            raise ValueError(f"the strategy is one of {', '.join(PRUNE_STRATEGIES)}, not {strategy!r}")
        function = "delete_checkpoints" if strategy == "delete" else "prune_checkpoints"
        if thread_ids:
            await self._change(function, {"threads": [*thread_ids]})

    async def _note_origin(self, lease: Lease, run: object) -> None:
        """Remember whose request a run carries out that goes on from another run's checkpoint: it is no licence to act.

        Raises LeaseLost if another leads the run, Permanent("conflict") if it has acted for another request.
        """
        if isinstance(run, str) and run != lease.run:
            row = await self._database.call(lease.access, "note_origin", lease.run, lease.fence, run)
            if row["code"] == "conflict":
                message = f"run {lease.run!r} has acted and cannot go on from run {run!r}; start another run for that"
                raise Permanent("conflict", message)
            if row["code"] != "ok":
                raise LeaseLost(lease.run)

    def forget(self, run: str) -> None:
        """Drop the lease of a run that this process does not lead any more."""
        self._leases.pop(run, None)

    def _remember(self, lease: Lease) -> None:
        self._leases[lease.run] = lease

    async def _change(self, function: str, body: Mapping[str, Any], runs: Sequence[str] = ()) -> None:
        threads = body.get("threads", ())
        for lease in [*self._leases.values()]:
            if lease.thread in threads or lease.run in runs:
                await flush(self._database, lease)
        access = self._access_to(threads, runs)
        tenant = access.principal.tenant
        leases = {lease.run: lease.fence for lease in self._leases.values() if lease.access.principal.tenant == tenant}
        row = await self._database.call(access, function, {**body, "leases": leases})
        if row["code"] != "ok":
            raise _refused(row["code"], row["thread"], row["run"])

    def _access_to(self, threads: Sequence[str], runs: Sequence[str]) -> Access:
        """Return for whom a change is made: the leader of the thread, else whoever the saver works for."""
        leases = list(self._leases.values())
        leaders = [lease.access for lease in leases if lease.thread in threads or lease.run in runs]
        choices = {access.principal: access for access in leaders}
        if not choices and self._own:
            return self._own
        choices = choices or {lease.access.principal: lease.access for lease in leases}
        if len(choices) != 1:
            raise ValueError("threads belong to somebody; say for whom this is: Checkpoints(database, access=...)")
        return next(iter(choices.values()))


def _refused(code: str, thread: str, run: str | None) -> Permanent:
    match code:
        case "busy":
            message = f"thread {thread!r} has the open run {run!r}, led by another; wait until it ends or cancel it"
            return Permanent("busy", message)
        case "foreign":
            part = f"run {run!r} of thread {thread!r}" if run else f"thread {thread!r}"
            return Permanent("forbidden", f"{part} is another person's; ask them")
        case "taken":
            return Permanent("conflict", f"thread {thread!r} has checkpoints; copy into an empty one")
        case _:
            message = f"thread {thread!r} has a DeltaChannel, which needs its history; delete it whole or leave it"
            return Permanent("conflict", message)
