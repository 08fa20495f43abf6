"""Memory of a signer: the tree over all leaves that its last head covered, kept outside the database.

SQL makes the text of a head from tables that their owner can write. Whoever signs computes the root anew, from what was
signed before and the leaves that came since, so that no key signs a log that was written anew.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memory.errors import Permanent
from memory.evidence.trees import Frontier, leaf_hash
from memory.postgres.database import Connection

_LEAVES = "select text from log_leaves where position >= %s and position < %s order by position"


class LogMemory:
    """What one process knows of the logs that it signs; with a folder, its successors know it, too."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._trees: dict[str, Frontier] = {}

    async def grow(self, connection: Connection, tenant: str, head: Mapping[str, Any]) -> Frontier:
        """Return the tree that a head of the entered tenant claims, computed from the remembered one.

        Raises Permanent("journal_broken") if the leaves are not those that were signed before with new ones behind.
        """
        tree = self._remembered(tenant)
        start = tree.size
        async for row in await connection.execute(_LEAVES, [start, head["size"]]):
            tree.add(leaf_hash(row["text"].encode()))
        if (tree.size, tree.root().hex()) != (head["size"], head["root"]):
            raise Permanent("journal_broken", self._reproach(tenant, start, head["size"]))
        return tree

    def keep(self, tenant: str, tree: Frontier) -> None:
        """Remember a tree that was signed, once its head is committed."""
        self._trees[tenant] = tree
        if self._folder is None:
            return
        file = self._folder / f"{tenant}.json"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"size": tree.size, "parts": [part.hex() for part in tree.subtrees]}))
        draft.replace(file)

    def _remembered(self, tenant: str) -> Frontier:
        tree = self._trees.get(tenant)
        if tree is None:
            tree = self._read(tenant)
        return Frontier.of(tree.size, tree.subtrees)

    def _read(self, tenant: str) -> Frontier:
        file = None if self._folder is None else self._folder / f"{tenant}.json"
        if file is None or not file.exists():
            return Frontier()
        try:
            state = json.loads(file.read_text())
            return Frontier.of(int(state["size"]), [bytes.fromhex(part) for part in state["parts"]])
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise Permanent("configuration", f"{str(file)!r} cannot be read: {error}; restore it") from error

    def _reproach(self, tenant: str, start: int, size: int) -> str:
        sentence = f"the log of tenant {tenant!r} was written anew: {size} leaves do not go on from the {start} signed"
        if self._folder is None:
            return f"{sentence} by this process"
        file = str(self._folder / f"{tenant}.json")
        return f"{sentence} before; if you restored a backup on purpose, remove {file!r}"
