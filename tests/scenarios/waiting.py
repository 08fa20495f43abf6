"""Bounded polling for other processes; used by tests that start some."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from psutil import STATUS_ZOMBIE, NoSuchProcess, Process


async def until(condition: Callable[[], Awaitable[bool] | bool], purpose: str, seconds: float = 30) -> None:
    """Wait until a condition is true; fails the test naming the purpose if time runs out."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {purpose}")
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Process(pid).status() != STATUS_ZOMBIE
    except NoSuchProcess:
        return False
