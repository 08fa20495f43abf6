"""Cost of memory in a scope of ten thousand among very many, beside a plain table of pgvector on the same server.

`python -m tests.bench --rows N` includes it; `python -m tests.bench.memories --rows 1000000` measures it alone.
Vectors are made beforehand for both sides, since they cost both the same.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import parameters
from memory.store import pruning, search, write
from tests.bench.ground import Ground, open_ground, percentile
from tests.bench.memory import CachedEmbedder
from tests.bench.scopes import BIG, Above, Texts, above, fill, notes, owner

ROWS, LEAST = 100_000, 2 * BIG
QUERIES = 100
FRESH = 1000
_NEAREST = "select id from plain.memories where scope = %s order by embedding <=> %s::vector limit 10"
_INSERT = "insert into plain.memories values (gen_random_uuid(), %s, %s, %s::vector)"
_CROWDED_SCOPES = "select * from crowded_scopes(%s, %s, 20)"


class _Rollback(Exception):
    """Ends a transaction whose work is not to stay."""


async def measure(ground: Ground, rows: int = ROWS) -> dict[str, float]:
    """Return times of search, writing and pruning, ours and the plain table's, with so many rows in all."""
    texts, embedder = Texts(1), CachedEmbedder(LEXICAL)
    bodies = [texts.sentence() for _ in range(BIG)]
    began = time.perf_counter()
    await fill(ground, bodies, rows)
    figures = {"rows": float(rows), "fill_seconds": time.perf_counter() - began}
    questions = [texts.question(body) for body in bodies[:QUERIES]]
    fresh = [texts.sentence() for _ in range(FRESH)]
    await embedder.learn([*questions, *fresh])
    async with await above(ground) as plain:
        figures |= await _searches(ground, plain, embedder, questions, "big")
        figures |= await _searches(ground, plain, embedder, questions, "small0")
        figures |= await _writes(ground, plain, embedder, fresh)
        figures |= await _removals(ground, plain)
    return figures


async def _searches(
    ground: Ground, plain: Above, embedder: CachedEmbedder, questions: Sequence[str], name: str
) -> dict[str, float]:
    """Return milliseconds of searches in turns: ours, and the nearest ten by vector alone."""
    access, vectors = owner(name), parameters(await embedder.embed(questions))
    own_millis, plain_millis = list[float](), list[float]()
    for question, vector in zip(questions, vectors, strict=True):
        own_millis.append(
            await _millis(lambda q=question: search.recall(ground.database, access, q, limit=10, embedder=embedder))
        )
        plain_millis.append(await _millis(lambda v=vector: plain.execute(_NEAREST, [f"user:{name}", v])))
    kind = "big" if name == "big" else "small"
    return {
        f"{kind}_p50": statistics.median(own_millis),
        f"{kind}_p95": percentile(own_millis, 0.95),
        f"{kind}_plain_p50": statistics.median(plain_millis),
        f"{kind}_plain_p95": percentile(plain_millis, 0.95),
        f"{kind}_ratio": statistics.median(own_millis) / statistics.median(plain_millis),
    }


async def _writes(ground: Ground, plain: Above, embedder: CachedEmbedder, fresh: Sequence[str]) -> dict[str, float]:
    """Return rows written per second into the big scope, many in one transaction, in turns; nothing of it stays."""
    big = owner("big")
    rows = [
        ("user:big", text, vector) for text, vector in zip(fresh, parameters(await embedder.embed(fresh)), strict=True)
    ]

    async def write_notes() -> None:
        async with _rollback(), ground.database.transaction(big) as connection:
            await write.add_notes(connection, big, notes(fresh), embedder=embedder)
            raise _Rollback

    async def write_rows() -> None:
        async with _rollback(), plain.transaction(), plain.cursor() as cursor:
            await cursor.executemany(_INSERT, rows)
            raise _Rollback

    pairs = [(await _millis(write_notes), await _millis(write_rows)) for _ in range(3)]
    own_rate, plain_rate = (len(fresh) / statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    return {"insert": own_rate, "plain_insert": plain_rate, "insert_ratio": plain_rate / own_rate}


async def _removals(ground: Ground, plain: Above) -> dict[str, float]:
    """Return milliseconds of pruning the big scope to its room, and of deleting as many plain rows by their ids."""
    big = owner("big")
    previews = [await _millis(lambda: pruning.preview(ground.database, big)) for _ in range(3)]
    preview = await pruning.preview(ground.database, big)
    ids = [leaving.id for leaving in preview.removals]
    async with ground.database.worker() as connection:
        rooms = [pruning.STANDARD.facts, pruning.STANDARD.episodes]
        crowd_millis = await _millis(lambda: connection.execute(_CROWDED_SCOPES, rooms))
    prune_millis = await _millis(lambda: pruning.prune(ground.database, big))
    delete_millis = await _millis(lambda: plain.execute("delete from plain.memories where id = any(%s::uuid[])", [ids]))
    return {
        "preview": statistics.median(previews),
        "crowded": crowd_millis,
        "pruned_rows": len(ids),
        "prune": prune_millis,
        "plain_delete": delete_millis,
        "prune_ratio": prune_millis / delete_millis,
    }


@asynccontextmanager
async def _rollback() -> AsyncGenerator[None]:
    with suppress(_Rollback):
        yield


async def _millis(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def _alone(rows: int) -> dict[str, float]:
    async with open_ground() as ground:
        return await measure(ground, rows)


def main() -> None:
    """Measure memory alone and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memories", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="memories in all")
    figures = asyncio.run(_alone(max(parser.parse_args().rows, LEAST)))
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
