"""Benchmark of recall with a foreign program: `python -m tests.bench.memory --program FOLDER --data DATA`.

The program and its data are not part of this repository. The folder must hold the modules `dataset`, `metrics` and
`run` of the benchmark; each conversation becomes one person's scope, each turn one memory, and a search gets the
question's text alone.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from memory.embeddings.embedder import Embedder, Embedding
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.providers import embedder_of
from memory.scope import Access, Principal
from memory.store import search, write
from memory.store.models import Note, Provenance, SearchResult, Utterance
from tests.bench.ground import TENANT, open_ground


class BenchTurn(Protocol):
    """A turn of the benchmark."""

    id: str
    position: int
    session: int
    at: datetime
    speaker: str
    content: str


class BenchQuestion(Protocol):
    """A question of the benchmark."""

    text: str


class Conversation(Protocol):
    """A conversation of the benchmark, which becomes one scope."""

    id: str
    turns: Sequence[BenchTurn]
    questions: Sequence[BenchQuestion]


class CachedEmbedder:
    """An embedder that knows its texts beforehand, since embedding is not what the benchmark times."""

    def __init__(self, inner: Embedder) -> None:
        self.inner, self.id, self.lexical = inner, inner.id, inner.lexical
        self.vectors: dict[str, Embedding] = {}

    async def learn(self, texts: Sequence[str]) -> None:
        """Embed texts at once."""
        self.vectors |= zip(texts, await self.inner.embed(texts), strict=True)

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """Return the vectors of texts, learnt before if they could be."""
        if missing := [text for text in texts if text not in self.vectors]:
            await self.learn(missing)
        return [self.vectors[text] for text in texts]


class OwnStore:
    """The store as it is shipped, as the benchmark drives it: one call after the other, from outside any loop."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = CachedEmbedder(embedder)
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        ground = self._runner.run(self._stack.enter_async_context(open_ground()))
        self._database = ground.database
        self._turns: dict[str, str] = {}

    def load(self, conversation: Conversation) -> None:
        """Remember every turn in one person's scope."""
        self._runner.run(self._load(conversation))

    def search(self, scope: str, query: str, k: int) -> list[str]:
        """Return the ids of the turns that answer best."""
        result = self._runner.run(self._recall(scope, query, k))
        return [self._turns[hit.memory.id] for hit in result.hits]

    def close(self) -> None:
        """Stop Postgres and remove it."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _load(self, conversation: Conversation) -> None:
        access = Access.of(Principal(TENANT, conversation.id))
        notes = [(turn.id, _note(turn)) for turn in conversation.turns]
        await self._embedder.learn([note.text for _, note in notes])
        await self._embedder.learn([question.text for question in conversation.questions])
        async with self._database.transaction(access) as connection:
            for turn, note in notes:
                memory = await write.add(connection, access, note, embedder=self._embedder)
                self._turns[memory.id] = turn

    async def _recall(self, scope: str, query: str, k: int) -> SearchResult:
        access = Access.of(Principal(TENANT, scope))
        return await search.recall(self._database, access, query, limit=k, embedder=self._embedder)


def _note(turn: BenchTurn) -> Note:
    utterance = Utterance(turn.speaker, turn.at.replace(tzinfo=UTC), str(turn.session), turn.position)
    return Note(turn.content, "human", Provenance(source=turn.id), turn=utterance)


def main() -> None:
    """Load the conversations, ask the questions, print one row of the benchmark's table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="folder of the benchmark program")
    parser.add_argument("--data", type=Path, required=True, help="its conversations")
    parser.add_argument("--embedder", default=LEXICAL.id, help="as in the settings; the default knows words alone")
    options = parser.parse_args()
    sys.path.insert(0, str(options.program))
    program: Any = import_module("run")
    backends: Any = import_module("backends")
    embedder = embedder_of(options.embedder)
    backends.create = lambda *_: OwnStore(embedder)  # pyright: ignore[reportUnknownLambdaType]
    conversations = import_module("dataset").load(options.data)
    report, loading = program.measure("ours", conversations, options.program)
    sys.stdout.write(program.line(f"ours, {embedder.id}", report, loading) + "\n")


if __name__ == "__main__":
    main()
