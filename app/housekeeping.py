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
GRACE_SECONDS = 10.0
_PAUSE_AFTER_ERROR = 5.0
_VECTORS_SECONDS = 5.0
_VECTORS_AWAY_SECONDS = 60.0
_BITES = 100
"""How often one duty is repeated in a round at most, while it finds more to do."""

T = TypeVar("T")
DutyFunction = Callable[[Database], Awaitable[object]]


async def sweep(database: Database, waiting: Queue, *, grace: float = GRACE_SECONDS) -> list[str]:
    """Queue what dead workers left, what nobody decided in time and what nobody took; returns the runs."""
    async with database.system() as connection, connection.transaction():
        runs = {*await records.sweep(connection), *await records.expire(connection)}
        runs |= set(await records.overdue(connection, grace))
        for run in sorted(runs):
            await waiting.defer(connection, run)
    return sorted(runs)


async def delete_finished_jobs(database: Database) -> None:
    """Delete jobs that are done."""
    async with database.system() as connection:
        await queue.tidy(connection)


async def delete_expired_memories(database: Database) -> None:
    """Delete what expired until nothing is left of it."""
    await _repeat(lambda: erasure.sweep(database))


async def prune_full_scopes(database: Database) -> None:
    """Prune scopes that hold more than their room, until all have been looked at that anything can leave from."""
    await _repeat(lambda: pruning.prune_overfull(database))


async def archive_transcripts(database: Database) -> None:
    """Archive the transcripts of threads that came to rest."""
    await _repeat(lambda: transcripts.sweep(database))


TIDYING: Mapping[str, DutyFunction] = {
    "finished jobs": delete_finished_jobs,
    "expired memories": delete_expired_memories,
    "full scopes": prune_full_scopes,
    "transcripts": archive_transcripts,
}


async def tidy(database: Database, tidying: Mapping[str, DutyFunction] = TIDYING) -> None:
    """Do each duty once and note what came of it; never raises for what goes wrong with one."""
    for name, duty in tidying.items():
        trouble = _error_name(await attempt(name, duty(database)))
        await attempt(f"noting {name}", duties.note(database, name, trouble))


async def sweep_on(database: Database, waiting: Queue) -> None:
    """Look after runs for ever."""
    while True:
        result = await attempt("a sweep", sweep(database, waiting))
        is_unexpected = isinstance(result, Exception) and not isinstance(result, ControlError)
        await asyncio.sleep(_PAUSE_AFTER_ERROR if is_unexpected else SWEEP_SECONDS)


async def tidy_on(database: Database) -> None:
    """Tidy for ever; apart from sweeping, so that no run waits for a large scope."""
    while True:
        await tidy(database)
        await asyncio.sleep(TIDY_SECONDS)


async def beat_on(database: Database, number: int) -> None:
    """Say for ever that the worker with this number lives."""
    while True:
        await attempt("a heartbeat", _beat(database, number))
        await asyncio.sleep(BEAT_SECONDS)


async def embed_on(database: Database, embedder: Embedder) -> None:
    """Make vectors anew after the embedder was changed; rests as long as it worked, so that runs go first."""
    loop = asyncio.get_running_loop()
    while True:
        began, pause = loop.time(), _VECTORS_SECONDS
        result = await attempt("vectors", reembedding.advance(database, embedder))
        if isinstance(result, Exception):
            pause = _VECTORS_AWAY_SECONDS
        elif result:
            _LOG.info("%s text(s) have vectors of %r now", result, embedder.id)
            pause = loop.time() - began
        await attempt("noting vectors", duties.note(database, "vectors", _error_name(result)))
        await asyncio.sleep(pause)


async def attempt(name: str, work: Awaitable[T]) -> T | Exception:
    """Return what a work returns, or the error that it failed with, which is logged then."""
    try:
        return await work
    except ControlError as error:
        _LOG.warning("%s failed and will be tried again: %s", name, error)
        return error
    except Exception as error:  # noqa: BLE001  # the edge of one duty: it takes nothing else along
        _LOG.exception("%s failed and will be tried again", name)
        return error


def _error_name(result: object) -> str:
    return type(result).__name__ if isinstance(result, Exception) else ""


async def _beat(database: Database, number: int) -> None:
    async with database.system() as connection:
        await records.beat(connection, number)


async def _repeat(step: Callable[[], Awaitable[int | Sized]]) -> None:
    for _ in range(_BITES):
        result = await step()
        if not (result if isinstance(result, int) else len(result)):
            return
