"""LangGraph store of whichever run is being led; a flow is compiled with it once, and its nodes use it as any store.

Called by the flows. The access comes from the lease in the running configuration, never from an argument, so that one
compiled flow serves every person at once.
"""

import asyncio
from collections.abc import Iterable, Set
from typing import Self

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.store.base import BaseStore, Op, PutOp, Result

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs.checkpoints import lease_of
from memory.scope import Access
from memory.store.langgraph_store import MemoryStore


class RunStore(BaseStore):
    """What the run that is being led may read; only nodes that the flow names may write, and only its working memory.

    Made inside the running loop. Outside a node that runs under a lease every call raises Permanent("forbidden").
    """

    supports_ttl = True

    def __init__(self, database: Database, *, embedder: Embedder = LEXICAL, writers: Set[str] = frozenset()) -> None:
        self._database = database
        self._embedder = embedder
        self._writers = writers
        self._loop = asyncio.get_running_loop()

    def with_writers(self, *nodes: str) -> Self:
        """Return the same store, written by the nodes of these names alone."""
        return type(self)(self._database, embedder=self._embedder, writers=frozenset(nodes))

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do what `abatch` does, from a thread that runs no loop: LangGraph calls synchronous nodes from such."""
        access, batch = self._authorize(ops)
        return MemoryStore(self._database, access, embedder=self._embedder, loop=self._loop).batch(batch)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer the operations as the run that is being led.

        Raises Permanent("forbidden") without a lease, or if a node writes that the flow does not name as a writer.
        """
        access, batch = self._authorize(ops)
        return await MemoryStore(self._database, access, embedder=self._embedder, loop=self._loop).abatch(batch)

    def _authorize(self, ops: Iterable[Op]) -> tuple[Access, list[Op]]:
        try:
            config = get_config()
        except RuntimeError:
            config = RunnableConfig()
        lease = lease_of(config)
        if lease is None:
            raise Permanent("forbidden", "no run is being led here; invoke the flow with checkpoints.leading(lease)")
        node, batch = str(config.get("metadata", {}).get("langgraph_node", "")), list(ops)
        if node not in self._writers and any(isinstance(op, PutOp) for op in batch):
            names = ", ".join(map(repr, sorted(self._writers))) or "none"
            raise Permanent("forbidden", f"node {node!r} may only read memory; nodes that may write: {names}")
        return lease.access, batch
