"""Cancellation that went under: whoever was told to end ends, whatever else came of its work.

Until Python 3.12 `asyncio.wait_for`, by which the driver waits, drops a cancellation that comes together with what it
waits for; when a server dies, both do. Loops that go on after errors would then never end.
"""

import asyncio


def heed_cancellation() -> None:
    """Raise CancelledError if the task at work was told to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
