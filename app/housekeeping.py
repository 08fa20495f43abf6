"""Background duties of a worker: sweeping lost runs, tidying, heartbeats, vectors and logs; started by `app.worker`.

Nobody's rows can end it: what goes wrong with one duty is logged with its cause and noted for `doctor`, and the next
duty is done all the same.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sized
from typing import TypeVar

from memory.cancellation import heed_cancellation
from memory.embeddings.embedder import Embedder
from memory.errors import ControlError
from memory.evidence import checks, log
from memory.evidence.check import Check
from memory.evidence.signing_key import SigningKey
from memory.maintenance import duties, reembedding
from memory.postgres.database import Database
from memory.runs import queue, records, transcripts
from memory.store import erasure, pruning

_LOG = logging.getLogger(__name__)
# A person waits for a run whose worker died, so sweeps are frequent; tidying concerns nobody's present request.
SWEEP_SECONDS = 0.5
BEAT_SECONDS = 5.0
CHECK_SECONDS = 2.0
_CHECK_REST = 20
LOOK_SECONDS = 2.0
TIDY_SECONDS = 60.0
LOG_SECONDS = 1.0
_PAUSE_AFTER_ERROR = 5.0
_LOG_NOTE_ROUNDS = 60
"""After so many rounds without news it is noted, too, that the logs are looked after."""
_VECTORS_SECONDS = 5.0
_VECTORS_AWAY_SECONDS = 60.0
_MAX_BATCHES = 100
"""How often one duty is repeated in a round at most, while it finds more to do."""

T = TypeVar("T")
DutyFunction = Callable[[Database], Awaitable[object]]


async def sweep(database: Database) -> list[str]:
    """Queue runs of dead workers and of expired approvals; returns their ids."""
    async with database.worker() as connection, connection.transaction():
        runs = {*await records.sweep(connection), *await records.expire(connection)}
        if runs:
            await queue.wake_workers(connection)
    return sorted(runs)


async def delete_expired_memories(database: Database) -> None:
    """Delete expired memories, batch by batch, until none is left."""
    await _repeat(lambda: erasure.sweep(database))


async def prune_full_scopes(database: Database) -> None:
    """Prune scopes that hold more than their room, batch by batch, until none can be made smaller."""
    await _repeat(lambda: pruning.prune_overfull(database))


async def archive_transcripts(database: Database) -> None:
    """Archive the transcripts of threads whose runs have ended."""
    await _repeat(lambda: transcripts.sweep(database))


TIDYING: Mapping[str, DutyFunction] = {
    "expired memories": delete_expired_memories,
    "full scopes": prune_full_scopes,
    "transcripts": archive_transcripts,
}


async def tidy(database: Database, tidying: Mapping[str, DutyFunction] = TIDYING) -> None:
    """Do each duty once and note its trouble, if any, for `doctor`; an error of one duty stops no other."""
    for name, duty in tidying.items():
        trouble = _error_name(await attempt(name, duty(database)))
        await attempt(f"noting {name}", duties.note(database, name, trouble))


async def report_death(database: Database) -> None:
    """Sweep once, as a neighbour has just died."""
    await attempt("a sweep", sweep(database))


async def sweep_on(database: Database) -> None:
    """Sweep runs for ever."""
    while True:
        result = await attempt("a sweep", sweep(database))
        # An error of ours would come again at once and fill the log; a database that is away is looked for soon.
        is_unexpected = isinstance(result, Exception) and not isinstance(result, ControlError)
        await asyncio.sleep(_PAUSE_AFTER_ERROR if is_unexpected else SWEEP_SECONDS)


async def tidy_on(database: Database) -> None:
    """Tidy for ever; a task of its own, so that no run waits for a large scope."""
    while True:
        await tidy(database)
        await asyncio.sleep(TIDY_SECONDS)


async def look_on(database: Database, look_again: Callable[[], Awaitable[list[str]]]) -> None:
    """Look at effects in doubt for ever, and wake the runs that waited for what was found out."""
    while True:
        await attempt("a look at doubts", _look(database, look_again))
        await asyncio.sleep(LOOK_SECONDS)


async def _look(database: Database, look_again: Callable[[], Awaitable[list[str]]]) -> None:
    if await look_again():
        async with database.worker() as connection:
            await queue.wake_workers(connection)


async def beat_on(database: Database, number: int) -> None:
    """Write the heartbeat of a worker for ever."""
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


async def extend_logs(database: Database, key: SigningKey | None) -> int:
    """Take what is new into the log of every tenant; returns the number of heads made.

    The trouble of one tenant keeps no other from its log; the last is raised when all had their turn.
    """
    count, trouble = 0, None
    for tenant in await log.tenants_with_news(database):
        result = await attempt(f"the log of tenant {tenant!r}", log.extend(database, tenant, key))
        if isinstance(result, Exception):
            trouble = result
        else:
            count += result
    if trouble:
        raise trouble
    return count


async def note_logs(database: Database, key: SigningKey | None, *, quietly: bool) -> int | Exception:
    """Extend the logs once and note how it went for `doctor`; `quietly` only if there was something new, or trouble."""
    result = await attempt("the log", extend_logs(database, key))
    if result or not quietly:
        await attempt("noting the log", duties.note(database, "log", _error_name(result)))
    return result


async def extend_logs_on(database: Database, key: SigningKey | None) -> None:
    """Extend the logs for ever, once a second while there is news."""
    await attempt("a look for missed news", log.note_missed_news(database))
    for count in itertools.count():
        result = await note_logs(database, key, quietly=bool(count % _LOG_NOTE_ROUNDS))
        await asyncio.sleep(_PAUSE_AFTER_ERROR if isinstance(result, Exception) else LOG_SECONDS)


async def check_journals_on(database: Database) -> None:
    """Check for ever what every tenant has on record, each when it is due; rests twenty times as long as it worked."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        began = loop.time()
        result = await attempt("a check of the journal", checks.check_due(database))
        rest = _CHECK_REST * (loop.time() - began)
        if isinstance(result, Check) and not result.ok:
            _LOG.error("a journal does not hold: %s", result.problems[0])
        await attempt("noting the check", duties.note(database, "journal", _error_name(result)))
        await asyncio.sleep(rest)


async def attempt(name: str, work: Awaitable[T]) -> T | Exception:
    """Return the result of `work`, or the error that it raised, which is logged."""
    try:
        result = await work
        heed_cancellation()
        return result
    except ControlError as error:
        heed_cancellation()
        _LOG.warning("%s failed and will be tried again: %s", name, error)
        return error
    except Exception as error:  # noqa: BLE001  # the edge of one duty: it takes nothing else along
        heed_cancellation()
        _LOG.exception("%s failed and will be tried again", name)
        return error


def _error_name(result: object) -> str:
    return type(result).__name__ if isinstance(result, Exception) else ""


async def _beat(database: Database, number: int) -> None:
    async with database.worker() as connection:
        await records.beat(connection, number)


async def _repeat(step: Callable[[], Awaitable[int | Sized]]) -> None:
    for _ in range(_MAX_BATCHES):
        result = await step()
        if not (result if isinstance(result, int) else len(result)):
            return
