"""Where each run's graph stands: a LangGraph saver on the tables of its own Postgres saver, fenced by the run's lease.

The worker saves through it; the API and notebooks read history through it. One statement and one round trip per
checkpoint; who leads the run is checked in that statement, so a worker that lost its lease cannot save anything.
"""

import base64
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import INTERRUPT
from psycopg.types.json import Jsonb

from memory.errors import LeaseLost
from memory.postgres.database import Database
from memory.runs.records import Lease
from memory.scope import Access

_LEASE, _ACCESS, _FRESH = "__lease", "__access", "__fresh"
_LONGEST_INLINE = 40

Rows = list[list[Any]]


def leading(lease: Lease, *, fresh: bool = False, checkpoint: str | None = None) -> RunnableConfig:
    """Return the configuration under which the holder of a lease runs its graph.

    `fresh` starts without a look at the thread, for a run that was never led before. `checkpoint` starts from an
    older checkpoint of the thread, also one of another run: a fork.
    """
    return _config(lease.thread, {_LEASE: lease, _ACCESS: lease.access, _FRESH: fresh}, checkpoint)


def reading(access: Access, thread: str, checkpoint: str | None = None) -> RunnableConfig:
    """Return the configuration under which a person reads the history of a thread; saving with it is refused."""
    return _config(thread, {_ACCESS: access}, checkpoint)


class Checkpoints(BaseCheckpointSaver[str]):
    """The saver of all runs of a process; access and lease come with each call's configuration."""

    def __init__(self, database: Database) -> None:
        # Plain data and LangGraph's own types only: a type planted in a row is never constructed.
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._database = database
        self._kept: dict[tuple[str, str, str], dict[tuple[str, int], list[Any]]] = {}

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a version that sorts after `current`; the random part keeps forks of a thread apart."""
        number = int(current.split(".")[0]) + 1 if current else 1
        return f"{number:05}.{secrets.token_urlsafe(4)}"

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the named checkpoint, else the latest: of the lease's own run, or of the whole thread for readers."""
        keys = _keys(config)
        if keys.get(_FRESH) and not keys.get("checkpoint_id"):
            return None
        query = {**_place(keys), "id": keys.get("checkpoint_id"), "filter": _of_own_run(keys), "limit": 1}
        row = await self._database.call(_access(keys), "read_checkpoints", query)
        return self._tuple(config, row) if row else None

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
        keys = _keys(config)
        query = {
            **_place(keys),
            "id": keys.get("checkpoint_id"),
            "before": _keys(before or {}).get("checkpoint_id"),
            "filter": filter or {},
            "limit": limit,
        }
        async with self._database.transaction(_access(keys)) as connection:
            found = await connection.execute("select * from read_checkpoints(%s)", [Jsonb(query)])
            rows = await found.fetchall()
        for row in rows:
            yield self._tuple(config, row)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint; raises LeaseLost if another worker leads the run.

        Ordinary writes towards it were kept in memory only: it holds what they came to.
        """
        keys = _keys(config)
        lease = _lease(keys)
        inline, blobs = self._split(checkpoint["channel_values"], new_versions)
        body = {
            **_place(keys),
            "id": checkpoint["id"],
            "parent": keys.get("checkpoint_id"),
            "checkpoint": {**checkpoint, "channel_values": inline, "versions_seen": _seen(checkpoint)},
            "metadata": {**get_serializable_checkpoint_metadata(config, metadata), "run": lease.run},
            "blobs": blobs,
            "writes": [],
        }
        self._kept.pop(_key(keys), None)
        await self._save(lease, body)
        return _config(lease.thread, {"checkpoint_ns": body["ns"]}, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what a task wrote: at once if it interrupts, fails or resumes, else only with such a one.

        A crash in between runs the node again, which the effects' natural keys make harmless.
        """
        keys = _keys(config)
        rows = self._kept.setdefault(_key(keys), {})
        for position, (channel, value) in enumerate(writes):
            type_, data = self.serde.dumps_typed(value)
            index = WRITES_IDX_MAP.get(channel, position)
            rows[task_id, index] = [keys["checkpoint_id"], task_id, task_path, index, channel, type_, _text(data)]
        if any(channel in WRITES_IDX_MAP for channel, _ in writes):
            del self._kept[_key(keys)]
            await self._save(_lease(keys), {**_place(keys), "writes": list(rows.values())})

    def forget(self, run: str) -> None:
        """Drop what is kept in memory for a run that this process does not lead any more."""
        for key in [key for key in self._kept if key[0] == run]:
            del self._kept[key]

    async def _save(self, lease: Lease, body: Mapping[str, Any]) -> None:
        row = await self._database.call(lease.access, "save_checkpoint", lease.run, lease.fence, body)
        if row["code"] != "ok":
            raise LeaseLost(lease.run)

    def _split(self, values: Mapping[str, Any], versions: ChannelVersions) -> tuple[dict[str, Any], Rows]:
        """Return small values, which stand in the checkpoint itself, and those that get rows of their own."""
        inline: dict[str, Any] = {}
        blobs: Rows = []
        for channel, value in values.items():
            if _is_small(value):
                inline[channel] = value
            elif channel in versions:
                type_, data = self.serde.dumps_typed(value)
                blobs.append([channel, versions[channel], type_, _text(data)])
        return inline, blobs

    def _tuple(self, config: RunnableConfig, row: Mapping[str, Any]) -> CheckpointTuple:
        keys = {**_keys(config), "checkpoint_ns": row["ns"]}
        thread = keys.pop("thread_id")
        values = dict(row["checkpoint"].get("channel_values") or {})
        for channel, type_, blob in row["blobs"] or ():
            values[channel] = self._load(type_, blob)
        writes = [(task, channel, self._load(type_, blob)) for task, channel, type_, blob in row["writes"] or ()]
        return CheckpointTuple(
            _config(thread, keys, row["id"]),
            cast(Checkpoint, {**row["checkpoint"], "channel_values": values}),
            row["metadata"],
            _config(thread, keys, row["parent"]) if row["parent"] else None,
            writes,
        )

    def _load(self, type_: str, blob: str) -> Any:
        return self.serde.loads_typed((type_, base64.b64decode(blob)))


def _config(thread: str, keys: Mapping[str, Any], checkpoint: str | None) -> RunnableConfig:
    place = {"checkpoint_ns": "", **keys, "thread_id": thread}
    return {"configurable": {**place, "checkpoint_id": checkpoint} if checkpoint else place}


def _keys(config: RunnableConfig) -> dict[str, Any]:
    return dict(config.get("configurable", {}))


def _place(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {"thread": keys["thread_id"], "ns": keys.get("checkpoint_ns", "")}


def _of_own_run(keys: Mapping[str, Any]) -> dict[str, Any]:
    lease: Lease | None = keys.get(_LEASE)
    return {"run": lease.run} if lease and not keys.get("checkpoint_id") else {}


def _key(keys: Mapping[str, Any]) -> tuple[str, str, str]:
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


def _is_small(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_INLINE and "\0" not in value
    return value is None or isinstance(value, bool | int | float)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def lease_of(config: RunnableConfig) -> Lease | None:
    """Return the lease under which a configuration runs; None for one that only reads, or that is not ours."""
    lease = config.get("configurable", {}).get(_LEASE)
    return lease if isinstance(lease, Lease) else None
