"""Time limits of the application's sessions: for a lock, and for a transaction at rest; set by role and by connection.

A server may not let us alter roles, so each connection asks for them when it starts. A session that SQL has changed
gets them back with its next entry (database.sql), and the stop switch ends whoever holds it up all the same.
"""

from psycopg import AsyncConnection
from psycopg.rows import DictRow

LOCK_SECONDS = 15
"""Our own waits are far shorter: a claim waits for a stop switch half a second, for another claim of its key or a vote
some milliseconds. What waits longer than this waits for somebody who should not hold the lock."""
REST_SECONDS = 60
"""No transaction of ours rests so long but those that call `allow_rest`."""
_LONG_REST_SECONDS = 3600

SETTINGS = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{REST_SECONDS}s",
}
OPTIONS = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
"""The same as options of a connection's start."""


async def allow_rest(connection: AsyncConnection[DictRow]) -> None:
    """Let a transaction rest while a service is read or a model embeds; what it waits for has its own time-out."""
    rest = f"{_LONG_REST_SECONDS}s"
    await connection.execute("select set_config('idle_in_transaction_session_timeout', %s, true)", [rest])
