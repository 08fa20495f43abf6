"""Wake-ups for followers of runs, by one LISTEN connection per process; the API's streams wait on it.

Notifications only wake; entries are always read from the journal, so a lost one costs a second at most.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import psycopg

from memory.cancellation import heed_cancellation

_LOG = logging.getLogger(__name__)
_CATCH_UP_SECONDS = 1.0
_RECONNECT_SECONDS = 0.5


class Feed:
    """Followers of runs and the connection that wakes them."""

    def __init__(self) -> None:
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._listening = asyncio.Event()

    @property
    def runs(self) -> frozenset[str]:
        """Return the runs that somebody follows right now."""
        return frozenset(self._followers)

    async def ready(self) -> None:
        """Return once notifications come in; until then, and after a lost connection, followers poll."""
        await self._listening.wait()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncGenerator["Feed"]:
        """Listen until the block ends; a lost connection is opened again, and followers poll meanwhile."""
        feed = cls()
        task = asyncio.create_task(feed._listen(url), name="journal feed")
        try:
            yield feed
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def wakeups(self, run: str) -> AsyncGenerator[None]:
        """Yield at once, then whenever the run's journal may have grown, at least once a second."""
        event = asyncio.Event()
        self._followers.setdefault(run, set()).add(event)
        try:
            while True:
                yield
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), _CATCH_UP_SECONDS)
                event.clear()
        finally:
            self._followers[run].discard(event)
            if not self._followers[run]:
                del self._followers[run]

    async def _listen(self, url: str) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                    await connection.execute("listen journal")
                    self._listening.set()
                    async for notice in connection.notifies():
                        run, _, _ = notice.payload.rpartition(":")
                        for event in self._followers.get(run, ()):
                            event.set()
            except psycopg.OperationalError as error:
                heed_cancellation()
                self._listening.clear()
                _LOG.warning("the journal feed lost its connection (%s); trying again", error)
                await asyncio.sleep(_RECONNECT_SECONDS)
