"""What memory costs in a scope of ten thousand among very many, beside a plain table of pgvector on the same server.

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
from tests.bench.ground import Ground, ground, percentile
from tests.bench.memory import Prepared
from tests.bench.scopes import BIG, Above, Texts, above, fill, notes, owner

ROWS, LEAST = 100_000, 2 * BIG
QUERIES = 100
FRESH = 1000
_NEAREST = "select id from plain.memories where scope = %s order by embedding <=> %s::vector limit 10"
_INSERT = "insert into plain.memories values (gen_random_uuid(), %s, %s, %s::vector)"
_CROWDED = "select * from crowded_scopes(%s, %s, 20)"


class _Undone(Exception):
    """Ends a transaction whose work is not to stay."""


async def measure(ground: Ground, rows: int = ROWS) -> dict[str, float]:
    """Return times of search, writing and pruning, ours and the plain table's, with so many rows in all."""
    texts, embedder = Texts(1), Prepared(LEXICAL)
    bodies = [texts.sentence() for _ in range(BIG)]
    began = time.perf_counter()
    await fill(ground, bodies, rows)
    found = {"rows": float(rows), "fill_seconds": time.perf_counter() - began}
    questions = [texts.question(body) for body in bodies[:QUERIES]]
    fresh = [texts.sentence() for _ in range(FRESH)]
    await embedder.learn([*questions, *fresh])
    async with await above(ground) as plain:
        found |= await _searches(ground, plain, embedder, questions, "big")
        found |= await _searches(ground, plain, embedder, questions, "small0")
        found |= await _writes(ground, plain, embedder, fresh)
        found |= await _leaving(ground, plain)
    return found


async def _searches(
    ground: Ground, plain: Above, embedder: Prepared, questions: Sequence[str], name: str
) -> dict[str, float]:
    """Return milliseconds of searches in turns: ours, and the nearest ten by vector alone."""
    mine, vectors = owner(name), parameters(await embedder.embed(questions))
    ours, theirs = list[float](), list[float]()
    for question, vector in zip(questions, vectors, strict=True):
        ours.append(
            await _millis(lambda q=question: search.recall(ground.database, mine, q, limit=10, embedder=embedder))
        )
        theirs.append(await _millis(lambda v=vector: plain.execute(_NEAREST, [f"user:{name}", v])))
    kind = "big" if name == "big" else "small"
    return {
        f"{kind}_p50": statistics.median(ours),
        f"{kind}_p95": percentile(ours, 0.95),
        f"{kind}_plain_p50": statistics.median(theirs),
        f"{kind}_plain_p95": percentile(theirs, 0.95),
        f"{kind}_ratio": statistics.median(ours) / statistics.median(theirs),
    }


async def _writes(ground: Ground, plain: Above, embedder: Prepared, fresh: Sequence[str]) -> dict[str, float]:
    """Return rows written per second into the big scope, many in one transaction, in turns; nothing of it stays."""
    big = owner("big")
    rows = [
        ("user:big", text, vector) for text, vector in zip(fresh, parameters(await embedder.embed(fresh)), strict=True)
    ]

    async def ours() -> None:
        async with _undone(), ground.database.transaction(big) as connection:
            await write.add_notes(connection, big, notes(fresh), embedder=embedder)
            raise _Undone

    async def theirs() -> None:
        async with _undone(), plain.transaction(), plain.cursor() as cursor:
            await cursor.executemany(_INSERT, rows)
            raise _Undone

    took = [(await _millis(ours), await _millis(theirs)) for _ in range(3)]
    mine, plainly = (len(fresh) / statistics.median(times) * 1000 for times in zip(*took, strict=True))
    return {"insert": mine, "plain_insert": plainly, "insert_ratio": plainly / mine}


async def _leaving(ground: Ground, plain: Above) -> dict[str, float]:
    """Return milliseconds of pruning the big scope to its room, and of deleting as many plain rows by their ids."""
    big = owner("big")
    looking = [await _millis(lambda: pruning.preview(ground.database, big)) for _ in range(3)]
    seen = await pruning.preview(ground.database, big)
    ids = [leaving.id for leaving in seen.removals]
    async with ground.database.system() as connection:
        rooms = [pruning.STANDARD.facts, pruning.STANDARD.episodes]
        crowded = await _millis(lambda: connection.execute(_CROWDED, rooms))
    pruned = await _millis(lambda: pruning.prune(ground.database, big))
    deleted = await _millis(lambda: plain.execute("delete from plain.memories where id = any(%s::uuid[])", [ids]))
    return {
        "preview": statistics.median(looking),
        "crowded": crowded,
        "pruned_rows": len(ids),
        "prune": pruned,
        "plain_delete": deleted,
        "prune_ratio": pruned / deleted,
    }


@asynccontextmanager
async def _undone() -> AsyncGenerator[None]:
    with suppress(_Undone):
        yield


async def _millis(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def _alone(rows: int) -> dict[str, float]:
    async with ground() as place:
        return await measure(place, rows)


def main() -> None:
    """Measure memory alone and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memories", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="memories in all")
    figures = asyncio.run(_alone(max(parser.parse_args().rows, LEAST)))
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
