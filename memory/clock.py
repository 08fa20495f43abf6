"""Clocks: the current time and waiting; injected everywhere so that tests need not sleep."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from uuid_utils.compat import uuid7


class Clock(Protocol):
    """The time of this process; the database uses its own clock for everything that it decides."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment; they only grow, also when the machine's clock is set."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some moment; they only grow, also when the machine's clock is set."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


def new_id(clock: Clock) -> UUID:
    """Return a UUIDv7 that sorts by `clock`; ids never enter a hashed plan."""
    moment = clock.now()
    return uuid7(timestamp=int(moment.timestamp()), nanos=moment.microsecond * 1000)
