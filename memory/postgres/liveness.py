"""Liveness of pooled connections: what the server ended while it rested is replaced before anybody uses it.

The pool asks at every borrowing. A look at the socket costs no statement; only what rested long, or has something to
say, is asked whether it still answers.
"""

import asyncio
import select
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool

from memory.cancellation import heed_cancellation

REST_SECONDS = 30.0
"""After so long at rest a connection is asked: what lies between may have dropped it without a word."""
READ_ONLY_SECONDS = 1.0
"""So long a session that began read-only is taken for how things are; later it is replaced, and asks anew."""
_ANSWER_SECONDS = 5.0

AnyConnection = AsyncConnection[Any]


class Liveness:
    """Check of the connections of one pool, and how long each has rested."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._pool: AsyncConnectionPool[Any] | None = None
        self._beginnings: WeakKeyDictionary[AnyConnection, float] = WeakKeyDictionary()
        self._returns: WeakKeyDictionary[AnyConnection, float] = WeakKeyDictionary()

    def watch(self, pool: AsyncConnectionPool[Any]) -> None:
        """Look after the connections of a pool that asks here."""
        self._pool = pool

    async def begin(self, connection: AnyConnection) -> None:
        """Note a connection that the pool has just made."""
        self._beginnings[connection] = self._monotonic()

    def rest(self, connection: AnyConnection) -> None:
        """Note that a connection goes back to rest."""
        self._returns[connection] = self._monotonic()

    async def check(self, connection: AnyConnection) -> None:
        """Raise OperationalError for a connection that is of no use any more; the pool then lends another."""
        moment = self._monotonic()
        # A session keeps for ever what held for its database when it began.
        is_read_only = connection.info.parameter_status("default_transaction_read_only") == "on"
        if is_read_only and moment - self._beginnings.get(connection, moment) > READ_ONLY_SECONDS:
            await connection.close()
            # All of them at once: the pool lends another one only after a pause that grows with each failure.
            if self._pool:
                await self._pool.drain()
            raise OperationalError("this session began while its database took no writes")
        rest = moment - self._returns.get(connection, self._beginnings.get(connection, moment))
        if rest < REST_SECONDS and not _has_news(connection):
            return
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await AsyncConnectionPool.check_connection(connection)
        except (OperationalError, TimeoutError) as error:
            await connection.close()
            heed_cancellation()
            if self._pool:
                await self._pool.check()
            raise OperationalError("the server ended this connection while it rested") from error


def _has_news(connection: AnyConnection) -> bool:
    """Return whether the server has said something, or hung up; nobody listens on these connections."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
