"""LangGraph's own conformance suite: every capability of a saver, the optional ones too, under leases.

The suite knows no leases, so each thread gets a run and a lease of its own. It writes through one saver and reads
through another with connections of its own: what is answered from memory alone is not found.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.conformance import checkpointer_test, validate

from memory.postgres.database import Database
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.memory.runs.conftest import Leases

pytestmark = pytest.mark.anyio
CAPABILITIES = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}
"""Each capability, and how many tests the suite has of it."""


class Leasing(BaseCheckpointSaver[str]):
    """A saver that leads a run on each thread before it saves there."""

    def __init__(self, database: Database, reader: Checkpoints, access: Access, leases: Leases) -> None:
        super().__init__()
        self._writer, self._reader = Checkpoints(database, access=access), reader
        self._access, self._lead = access, leases
        self._leases: dict[str, Lease] = {}

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._writer.aput(await self._led(config), checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._writer.aput_writes(await self._led(config), writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._reader.aget_tuple(self._read(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: Mapping[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        assert config is not None
        async for row in self._reader.alist(self._read(config), filter=filter, before=before, limit=limit):
            yield row

    async def adelete_thread(self, thread_id: str) -> None:
        await self._writer.adelete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._writer.adelete_for_runs(run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._writer.acopy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self._writer.aprune(thread_ids, strategy=strategy)

    async def _led(self, config: RunnableConfig) -> RunnableConfig:
        thread = _position(config)["thread_id"]
        if thread not in self._leases:
            self._leases[thread] = await self._lead(thread)
        return _with(leading(self._leases[thread]), config)

    def _read(self, config: RunnableConfig) -> RunnableConfig:
        return _with(reading(self._access, _position(config)["thread_id"]), config)


def _position(config: RunnableConfig) -> dict[str, Any]:
    keys: dict[str, Any] = config.get("configurable", {})
    return {name: keys[name] for name in ("thread_id", "checkpoint_ns", "checkpoint_id") if name in keys}


def _with(own_saver: RunnableConfig, suite_config: RunnableConfig) -> RunnableConfig:
    return {"configurable": {**own_saver.get("configurable", {}), **_position(suite_config)}}


async def test_every_capability_passes(
    database: Database, other: Checkpoints, alice: Principal, leases: Leases
) -> None:
    @checkpointer_test(name=f"countersign {uuid4().hex}")
    async def own_saver() -> AsyncGenerator[BaseCheckpointSaver[str]]:
        yield Leasing(database, other, Access.of(alice), leases)

    report = await validate(own_saver)
    assert [failure for result in report.results.values() for failure in result.failures] == []
    assert {name: result.tests_passed for name, result in report.results.items() if result.passed} == CAPABILITIES
