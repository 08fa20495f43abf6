"""Count of round trips to Postgres, taken at the client, where each is one wait for the server."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from psycopg import AsyncConnection

_SILENT = frozenset({"_commit_gen", "_rollback_gen", "_set_isolation_level_gen", "notifies"})
"""Generators that send nothing: those of an idle connection in autocommit, and waits for notices."""


class Count:
    """Number of statements so far."""

    def __init__(self) -> None:
        self.statements = 0


@contextmanager
def count_statements() -> Generator[Count]:
    """Count the round trips of every asynchronous connection of this process for the length of the block."""
    count, real = Count(), AsyncConnection.wait

    async def wait(self: AsyncConnection[Any], work: Any, *args: Any, **options: Any) -> Any:
        count.statements += work.__name__ not in _SILENT
        return await real(self, work, *args, **options)

    AsyncConnection.wait = wait  # pyright: ignore[reportAttributeAccessIssue]  # the driver's one gate to the server
    try:
        yield count
    finally:
        AsyncConnection.wait = real
