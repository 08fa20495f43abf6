"""Deadline of one attempt at a tool; large results put it off piece by piece, so that it bounds silence and not size.

`resilience` sets it, `handles` puts it off with every page of rows that a tool reads, keeps or sorts.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_MOST_PIECES = 60
"""Times its seconds that an attempt may take in all: a service that pages for ever is given up, too."""


@dataclass(frozen=True, slots=True)
class _Deadline:
    timeout: asyncio.Timeout
    seconds: float
    last: float
    """When it is over, whatever comes, on the loop's clock."""


_CURRENT: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncGenerator[asyncio.Timeout]:
    """Raise TimeoutError out of the block once it has been silent for so long."""
    async with asyncio.timeout(seconds) as timeout:
        last = asyncio.get_running_loop().time() + _MOST_PIECES * seconds
        token = _CURRENT.set(_Deadline(timeout, seconds, last))
        try:
            yield timeout
        finally:
            _CURRENT.reset(token)


def put_off() -> None:
    """Count the seconds of the attempt under way anew; outside of one it does nothing."""
    current = _CURRENT.get()
    if current and not current.timeout.expired():
        now = asyncio.get_running_loop().time()
        current.timeout.reschedule(min(now + current.seconds, current.last))
