"""LangGraph checkpoint saver on the tables of `langgraph-checkpoint-postgres`, fenced by the run's lease.

The worker saves through it; the API and notebooks read history through it. One statement and one round trip per
checkpoint; who leads the run is checked in that statement, so a worker that lost its lease cannot save anything.
"""

import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, cast

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.types import INTERRUPT
from psycopg.types.json import Jsonb

from memory.errors import LeaseLost, Permanent
from memory.postgres.database import Database
from memory.runs.checkpoint_threads import Threads
from memory.runs.checkpoint_values import Cargo, ExactSerializer, Packed, is_small, pack
from memory.runs.leases import Lease, flush
from memory.scope import Access

_LEASE, _ACCESS, _FRESH, _COPIES, _ORIGIN = "__lease", "__access", "__fresh", "__copies", "__origin"
_OURS = (_LEASE, _ACCESS, _COPIES)
_SNAPSHOT = "_DeltaSnapshot"
"""LangGraph's type of a DeltaChannel's whole value; its readers look for `true` in the checkpoint where one stands."""
_BRANCH = "branch:"
"""What LangGraph's channels for the next node begin with."""
_OR_COPIED = "or metadata ? 'copied_from'"

Step = tuple[str, str, str]
"""Run, namespace and checkpoint that tasks write towards."""
Write = tuple[str, str, int, str, Packed]
"""Task, its path, position, channel and value."""


def leading(
    lease: Lease,
    *,
    fresh: bool = False,
    checkpoint: str | None = None,
    copies: bool = True,
    origin: CheckpointTuple | None = None,
) -> RunnableConfig:
    """Return the configuration under which the holder of a lease runs its graph.

    `fresh` starts without a look at the thread, for a run that was never led before. `checkpoint` starts from an
    older checkpoint of the thread, also one of another run: a fork. Without `copies`, a run does not go on from what
    was copied into its thread. `origin` is the run's latest checkpoint where somebody has just read it.
    """
    keys = {_LEASE: lease, _ACCESS: lease.access, _FRESH: fresh, _COPIES: copies}
    return _config(lease.thread, {**keys, _ORIGIN: [origin]} if origin else keys, checkpoint)


def reading(access: Access, thread: str, checkpoint: str | None = None) -> RunnableConfig:
    """Return the configuration under which a person reads the history of a thread; saving with it is refused."""
    return _config(thread, {_ACCESS: access}, checkpoint)


class Checkpoints(Threads):
    """The saver of all runs of a process; access and lease come with each call's configuration.

    What a task wrote is in the database when `aput_writes` returns. A flow whose every step is one task says
    `single_task`: ordinary writes then travel with the next checkpoint, without a statement of their own, and a crash
    in between runs that one task again. Own classes in the state, such as enums, dataclasses and pydantic models, come
    back if `types` names them; others are refused when saved. `access` says for whom threads are deleted, copied and
    pruned that this process does not lead.
    """

    def __init__(
        self,
        database: Database,
        *,
        single_task: bool = False,
        types: Collection[type] = (),
        access: Access | None = None,
    ) -> None:
        super().__init__(database, ExactSerializer(types), access)
        self._single_task = single_task
        self._riding: dict[Step, dict[tuple[str, int], Write]] = {}

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a version that sorts after `current`; the random part keeps forks of a thread apart."""
        number = int(str(current).split(".")[0]) + 1 if current else 1
        return f"{number:05}.{secrets.token_urlsafe(4)}"

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the named checkpoint, else the latest: of the lease's own run, or of the whole thread for readers."""
        keys = self._keys(config)
        if keys.get(_FRESH) and not keys.get("checkpoint_id"):
            return None
        if keys.get(_ORIGIN) and not keys.get("checkpoint_ns"):
            return keys[_ORIGIN].pop()
        await self._settle(keys)
        lease: Lease | None = None if keys.get("checkpoint_id") else keys.get(_LEASE)
        wanted = _config(keys["thread_id"], {"checkpoint_ns": keys.get("checkpoint_ns", "")}, keys.get("checkpoint_id"))
        where, values = self._search_where(wanted, None)
        if lease:
            where += f" and (metadata @> %s {_OR_COPIED if keys.get(_COPIES, True) else ''})"
            values.append(Jsonb({"run": lease.run}))
        rows = await self._rows(keys, where, *values, 1)
        if rows and (leader := keys.get(_LEASE)):
            await self._note_origin(leader, rows[0].metadata.get("run"))
        return rows[0] if rows else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: Mapping[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield the checkpoints of one thread, newest first; raises ValueError without a thread."""
        if config is None:
            raise ValueError("history is read thread by thread; name one in the configuration")
        where, values = self._search_where(config, dict(filter or {}), before)
        keys = self._keys(config)
        await self._settle(keys)
        for row in await self._rows(keys, where, *values, limit):
            yield row

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, with the writes that were to ride with it; raises LeaseLost if another leads the run.

        Raises Permanent contract_violation or too_large, naming the channel, before anything is sent.
        """
        keys = self._keys(config)
        lease, cargo = _lease(keys), Cargo()
        inline, blobs = self._split(cargo, checkpoint["channel_values"], new_versions)
        riding = self._riding.pop(_step(keys), {}).values()
        # Where the step led is told by this checkpoint itself, and a path puts in order only what several tasks wrote.
        writes: list[Write] = [
            (task, "", index, channel, value)
            for task, _, index, channel, value in riding
            if not channel.startswith(_BRANCH)
        ]
        body = {
            "id": checkpoint["id"],
            "checkpoint": {**checkpoint, "channel_values": inline, "versions_seen": _seen(checkpoint)},
            "metadata": {**get_serializable_checkpoint_metadata(config, metadata), "run": lease.run},
            "blobs": blobs,
        }
        await self._save(lease, keys, body, cargo, writes)
        kept = {name: keys[name] for name in (*_OURS, "checkpoint_ns") if name in keys}
        return _config(lease.thread, kept, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what a task wrote; for a single task only what interrupts, fails or resumes goes before its checkpoint.

        Raises LeaseLost if another leads the run, Permanent contract_violation or too_large, naming the channel.
        """
        keys = self._keys(config)
        lease, rows = _lease(keys), dict[tuple[str, int], Write]()
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            rows[task_id, index] = (task_id, task_path, index, channel, pack(self.serde, channel, value))
        if self._single_task:
            riding = self._riding.setdefault(_step(keys), {})
            riding.update(rows)
            if not any(channel in WRITES_IDX_MAP for channel, _ in writes):
                return
            rows = self._riding.pop(_step(keys))
        await self._save(lease, keys, {}, Cargo(), rows.values())

    def forget(self, run: str) -> None:
        """Drop what is kept in memory for a run that this process does not lead any more."""
        super().forget(run)
        for step in [step for step in self._riding if step[0] == run]:
            del self._riding[step]

    async def _save(
        self, lease: Lease, keys: Mapping[str, Any], body: Mapping[str, Any], cargo: Cargo, writes: Collection[Write]
    ) -> None:
        whole = {
            **body,
            "thread": keys["thread_id"],
            "ns": keys.get("checkpoint_ns", ""),
            "towards": keys.get("checkpoint_id"),
            "writes": [[task, path, index, *cargo.add(channel, value)] for task, path, index, channel, value in writes],
        }
        if lease.luggage is not None:
            lease.luggage.add_save(whole, cargo.content())
            if lease.luggage.is_due:
                await flush(self._database, lease)
                lease.luggage.is_urgent = False
            return
        try:
            values = (lease.run, lease.fence, whole, cargo.content())
            row = await self._database.call(lease.access, "save_checkpoint", *values)
        except psycopg.DataError as error:
            message = f"the checkpoint of run {lease.run!r} holds names or metadata that are no JSON text: {error}"
            raise Permanent("contract_violation", message) from error
        if row["code"] == "deleted":
            raise Permanent("conflict", f"the checkpoints of run {lease.run!r} were deleted; start another run")
        if row["code"] != "ok":
            raise LeaseLost(lease.run)

    def _split(
        self, cargo: Cargo, values: Mapping[str, Any], versions: ChannelVersions
    ) -> tuple[dict[str, Any], list[list[object]]]:
        """Return small values, which stand in the checkpoint itself, and the places of those that get rows."""
        inline: dict[str, Any] = {}
        blobs: list[list[object]] = []
        for channel, value in values.items():
            if is_small(value):
                inline[channel] = value
                continue
            if type(value).__name__ == _SNAPSHOT:
                inline[channel] = True
            if channel in versions:
                blobs.append([versions[channel], *cargo.add(channel, pack(self.serde, channel, value))])
        return inline, blobs

    async def _rows(self, keys: Mapping[str, Any], where: str, *values: object) -> list[CheckpointTuple]:
        query = f"{self.SELECT_SQL} {where} order by checkpoint_id desc limit %s"
        rows = await self._database.rows(_access(keys), query, *values, binary=True)
        return [self._tuple(keys, row) for row in rows]

    def _tuple(self, keys: Mapping[str, Any], row: Mapping[str, Any]) -> CheckpointTuple:
        names = {**{name: keys[name] for name in _OURS if keys.get(name)}, "checkpoint_ns": row["checkpoint_ns"]}
        thread, checkpoint, parent = row["thread_id"], row["checkpoint"], row["parent_checkpoint_id"]
        values: dict[str, Any] = dict(checkpoint.get("channel_values") or {})
        values |= self._load_blobs(row["channel_values"])
        return CheckpointTuple(
            _config(thread, names, row["checkpoint_id"]),
            cast("Checkpoint", {**checkpoint, "channel_values": values}),
            row["metadata"],
            _config(thread, names, parent) if parent else None,
            self._load_writes(row["pending_writes"]),
        )

    async def _settle(self, keys: Mapping[str, Any]) -> None:
        """Save what a lease has to save, so that whoever reads under it finds everything."""
        if leader := keys.get(_LEASE):
            await flush(self._database, leader)

    def _keys(self, config: RunnableConfig) -> dict[str, Any]:
        """Return what a configuration names; a lease among it is remembered for changes of whole threads."""
        keys = dict(config.get("configurable", {}))
        if lease := keys.get(_LEASE):
            self._remember(lease)
        return keys


def _config(thread: str, keys: Mapping[str, Any], checkpoint: str | None) -> RunnableConfig:
    names = {"checkpoint_ns": "", **keys, "thread_id": thread}
    return {"configurable": {**names, "checkpoint_id": checkpoint} if checkpoint else names}


def _step(keys: Mapping[str, Any]) -> Step:
    return _lease(keys).run, keys.get("checkpoint_ns", ""), keys.get("checkpoint_id", "")


def _lease(keys: Mapping[str, Any]) -> Lease:
    if lease := keys.get(_LEASE):
        return lease
    raise ValueError("nothing is saved without a lease; use checkpoints.leading(lease)")


def _access(keys: Mapping[str, Any]) -> Access:
    if access := keys.get(_ACCESS):
        return access
    raise ValueError("history belongs to somebody; use checkpoints.reading(access, thread)")


def _seen(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what each node has seen; the entry of interrupts is left out, since each resume writes it anew."""
    return {node: seen for node, seen in checkpoint["versions_seen"].items() if node != INTERRUPT}


def lease_of(config: RunnableConfig) -> Lease | None:
    """Return the lease under which a configuration runs; None for one that only reads, or that is not ours."""
    lease = config.get("configurable", {}).get(_LEASE)
    return lease if isinstance(lease, Lease) else None
