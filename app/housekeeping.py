"""What every worker does beside its runs, for as long as it lives: looking after others' runs, tidying, new vectors.

Nobody's rows can end it: what goes wrong with one duty is logged with its cause and noted for `doctor`, and the next
duty is done all the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sized
from typing import TypeVar

from memory.embeddings.embedder import Embedder
from memory.errors import ControlError
from memory.maintenance import duties, reembedding
from memory.postgres.database import Database
from memory.runs import queue, records, transcripts
from memory.runs.queue import Queue
from memory.store import erasure, pruning

_LOG = logging.getLogger(__name__)
SWEEP_SECONDS = 0.5
BEAT_SECONDS = 5.0
TIDY_SECONDS = 60.0
FORGOTTEN_SECONDS = 10.0
_TROUBLED_SECONDS = 5.0
_VECTORS_SECONDS = 5.0
_VECTORS_AWAY_SECONDS = 60.0
_BITES = 100
"""How often one duty is repeated in a round at most, while it finds more to do."""

T = TypeVar("T")
Duty = Callable[[Database], Awaitable[object]]


async def sweep(database: Database, waiting: Queue, *, forgotten: float = FORGOTTEN_SECONDS) -> list[str]:
    """Queue what dead workers left, what nobody decided in time and what nobody took; returns the runs."""
    async with database.system() as connection, connection.transaction():
        found = {*await records.sweep(connection), *await records.expire(connection)}
        found |= set(await records.overdue(connection, forgotten))
        for run in sorted(found):
            await waiting.defer(connection, run)
    return sorted(found)


async def jobs(database: Database) -> None:
    """Delete jobs that are done."""
    async with database.system() as connection:
        await queue.tidy(connection)


async def expired(database: Database) -> None:
    """Delete what expired until nothing is left of it."""
    await _until_nothing(lambda: erasure.sweep(database))


async def full(database: Database) -> None:
    """Prune scopes that hold more than their room, until all have been looked at that anything can leave from."""
    await _until_nothing(lambda: pruning.prune_crowded(database))


async def rest(database: Database) -> None:
    """Archive the transcripts of threads that came to rest."""
    await _until_nothing(lambda: transcripts.sweep(database))


TIDYING: Mapping[str, Duty] = {
    "finished jobs": jobs,
    "expired memories": expired,
    "full scopes": full,
    "transcripts": rest,
}


async def tidy(database: Database, tidying: Mapping[str, Duty] = TIDYING) -> None:
    """Do each duty once and note what came of it; never raises for what goes wrong with one."""
    for name, duty in tidying.items():
        trouble = _named(await cared(name, duty(database)))
        await cared(f"noting {name}", duties.note(database, name, trouble))


async def sweep_on(database: Database, waiting: Queue) -> None:
    """Look after runs for ever."""
    while True:
        done = await cared("a sweep", sweep(database, waiting))
        unforeseen = isinstance(done, Exception) and not isinstance(done, ControlError)
        await asyncio.sleep(_TROUBLED_SECONDS if unforeseen else SWEEP_SECONDS)


async def tidy_on(database: Database) -> None:
    """Tidy for ever; apart from sweeping, so that no run waits for a large scope."""
    while True:
        await tidy(database)
        await asyncio.sleep(TIDY_SECONDS)


async def beat_on(database: Database, number: int) -> None:
    """Say for ever that the worker with this number lives."""
    while True:
        await cared("a heartbeat", _beat(database, number))
        await asyncio.sleep(BEAT_SECONDS)


async def embed_on(database: Database, embedder: Embedder) -> None:
    """Make vectors anew after the embedder was changed; rests as long as it worked, so that runs go first."""
    loop = asyncio.get_running_loop()
    while True:
        began, pause = loop.time(), _VECTORS_SECONDS
        done = await cared("vectors", reembedding.advance(database, embedder))
        if isinstance(done, Exception):
            pause = _VECTORS_AWAY_SECONDS
        elif done:
            _LOG.info("%s text(s) have vectors of %r now", done, embedder.id)
            pause = loop.time() - began
        await cared("noting vectors", duties.note(database, "vectors", _named(done)))
        await asyncio.sleep(pause)


async def cared(name: str, work: Awaitable[T]) -> T | Exception:
    """Return what a work returns, or the error that it failed with, which is logged then."""
    try:
        return await work
    except ControlError as error:
        _LOG.warning("%s failed and will be tried again: %s", name, error)
        return error
    except Exception as error:  # noqa: BLE001  # the edge of one duty: it takes nothing else along
        _LOG.exception("%s failed and will be tried again", name)
        return error


def _named(done: object) -> str:
    return type(done).__name__ if isinstance(done, Exception) else ""


async def _beat(database: Database, number: int) -> None:
    async with database.system() as connection:
        await records.beat(connection, number)


async def _until_nothing(bite: Callable[[], Awaitable[int | Sized]]) -> None:
    for _ in range(_BITES):
        done = await bite()
        if not (done if isinstance(done, int) else len(done)):
            return
