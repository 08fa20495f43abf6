"""How tests wait for other processes: by looking again, with an end."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from psutil import STATUS_ZOMBIE, NoSuchProcess, Process


async def until(holds: Callable[[], Awaitable[bool] | bool], what: str, seconds: float = 30) -> None:
    """Wait until a condition holds; fails the test naming `what` if it does not in time."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether a process is there and not merely unburied."""
    try:
        return Process(pid).status() != STATUS_ZOMBIE
    except NoSuchProcess:
        return False
