"""Memory beside LangGraph's own Postgres store on the same server: `python -m tests.bench.stores`.

The same texts and the same vectors, made beforehand, in scopes of several sizes; each pair of figures is taken in
turns, and what is printed is the median of ratios with its quartiles.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from langgraph.store.base import PutOp
from langgraph.store.postgres import AsyncPostgresStore
from psycopg import AsyncConnection

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.scope import Access
from memory.store import search, write
from tests.bench.ground import Ground, open_ground
from tests.bench.knowing import Topics
from tests.bench.memory import CachedEmbedder
from tests.bench.scopes import Texts, above, notes, owner

SIZES = (100, 1_000, 10_000)
QUERIES, ROUNDS, BATCH, SINGLES = 40, 7, 100, 20
_POOL: dict[str, Any] = {"min_size": 1, "max_size": 4}


class Sides:
    """A scope of ours and a namespace of LangGraph's store with the same texts."""

    def __init__(self, ground: Ground, store: AsyncPostgresStore, embedder: CachedEmbedder, size: int) -> None:
        self._database = ground.database
        self._store = store
        self._embedder = embedder
        self._access: Access = owner(f"of{size}")
        self._namespace = (f"of{size}",)
        self._numbers = count()

    async def write(self, texts: Sequence[str]) -> None:
        """Write texts on our side, in one transaction."""
        async with self._database.transaction(self._access) as connection:
            await write.add_notes(connection, self._access, notes(texts), embedder=self._embedder)

    async def put(self, texts: Sequence[str]) -> None:
        """Write texts on theirs, in one batch."""
        await self._store.abatch([PutOp(self._namespace, str(next(self._numbers)), {"text": text}) for text in texts])

    async def recall(self, query: str) -> object:
        """Search on our side."""
        return await search.recall(self._database, self._access, query, limit=10, embedder=self._embedder)

    async def look(self, query: str) -> object:
        """Search on theirs."""
        return await self._store.asearch(self._namespace, query=query, limit=10)


@asynccontextmanager
async def rival(ground: Ground, embedder: CachedEmbedder, dimensions: int) -> AsyncGenerator[AsyncPostgresStore]:
    """Open LangGraph's store in a database of its own, with the index of vectors that it makes by itself."""

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return [list(vector) for vector in await embedder.embed(texts)]

    url = await ground.empty("rival")
    async with await AsyncConnection.connect(ground.server.urls_of("rival").superuser, autocommit=True) as connection:
        await connection.execute("create extension if not exists vector")
    index: Any = {"dims": dimensions, "embed": embed, "fields": ["text"]}
    async with AsyncPostgresStore.from_conn_string(url, pool_config=_POOL, index=index) as store:  # pyright: ignore[reportArgumentType]
        await store.setup()
        yield store


async def ratios(work: Callable[[], Awaitable[object]], other: Callable[[], Awaitable[object]], rounds: int) -> str:
    """Return the median of our time divided by theirs, taken in turns, with its quartiles and both medians."""
    pairs = [(await _millis(work), await _millis(other)) for _ in range(rounds)]
    own, theirs = zip(*pairs, strict=True)
    low, middle, high = statistics.quantiles([mine / its for mine, its in pairs], n=4)
    times = f"{statistics.median(own):7.1f} : {statistics.median(theirs):7.1f} ms"
    return f"{middle:5.2f} ({low:.2f} to {high:.2f})  {times}"


async def _millis(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def measure(ground: Ground, sizes: Sequence[int], inner: Embedder, dimensions: int) -> None:
    """Print the ratios of searches, batches and single writes for each size of a scope."""
    texts, embedder = Texts(1), CachedEmbedder(inner)
    async with rival(ground, embedder, dimensions) as store:
        for size in sizes:
            sides, bodies = Sides(ground, store, embedder, size), [texts.sentence() for _ in range(size)]
            queries = [texts.question(body) for body in bodies[:QUERIES]]
            fresh = [[texts.sentence() for _ in range(BATCH)] for _ in range(2 * ROUNDS)]
            singles = [texts.sentence() for _ in range(2 * SINGLES)]
            await embedder.learn([*bodies, *queries, *singles, *(text for batch in fresh for text in batch)])
            for batch in (bodies[start : start + 500] for start in range(0, size, 500)):
                await sides.write(batch)
                await sides.put(batch)
            async with await above(ground) as connection:
                await connection.execute("vacuum analyze")
            await _compare(sides, size, queries, fresh, singles)


async def _compare(
    sides: Sides, size: int, queries: Sequence[str], fresh: Sequence[Sequence[str]], singles: Sequence[str]
) -> None:
    own_queries, their_queries = iter([*queries, *queries]), iter([*queries, *queries])
    own_batches, their_batches = iter(fresh), iter(fresh)
    own_singles, their_singles = iter(singles), iter(singles)
    works = {
        "search": (lambda: sides.recall(next(own_queries)), lambda: sides.look(next(their_queries)), len(queries)),
        f"batch of {BATCH}": (lambda: sides.write(next(own_batches)), lambda: sides.put(next(their_batches)), ROUNDS),
        "single write": (lambda: sides.write([next(own_singles)]), lambda: sides.put([next(their_singles)]), SINGLES),
    }
    for name, (work, other, rounds) in works.items():
        # Once before, for plans and connections.
        await ratios(work, other, 2)
        sys.stdout.write(f"{size:7,} {name:14} {await ratios(work, other, rounds - 2)}\n")
        sys.stdout.flush()


async def _measure_alone(sizes: Sequence[int], inner: Embedder, dimensions: int) -> None:
    async with open_ground() as ground:
        await measure(ground, sizes, inner, dimensions)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stores", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="memories of the scope")
    parser.add_argument("--dense", action="store_true", help="384 dimensions instead of words")
    options = parser.parse_args()
    inner, dimensions = (Topics(), Topics.dimensions) if options.dense else (LEXICAL, LEXICAL.dimensions)
    asyncio.run(_measure_alone(options.sizes, inner, dimensions))


if __name__ == "__main__":
    main()
