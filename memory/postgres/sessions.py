"""Database sessions that carry nothing from one borrower to the next; the pool of database.py consists of them.

What one statement leaves in a session another meets: settings, prepared statements under the driver's own names, open
cursors, locks, listeners. Only statements of other kinds than ours can make most of these, and the server names the
kind of whatever it ran. So a session watches its answers: after other kinds it is closed, and after an error, which
hides them, it is looked at. What a `select` can leave, settings and locks, every entry takes back (database.sql).
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

import psycopg
from psycopg import AsyncConnection, AsyncCopy, AsyncCursor, IsolationLevel
from psycopg.abc import Params, Query
from psycopg.copy import AsyncWriter
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow

_PLAIN = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})
"""Kinds of statements that leave no more in a session than functions can, whatever their text."""
_REPORTED = (
    b"client_encoding",
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"application_name",
    b"default_transaction_read_only",
    b"standard_conforming_strings",
    b"session_authorization",
    b"search_path",
)
"""Settings whose changes the server reports by itself, some of them in later versions only."""
_STAINED = """
select exists (select from pg_catalog.pg_prepared_statements where from_sql)
    or exists (select from pg_catalog.pg_cursors where is_holdable)
    or exists (select from pg_catalog.pg_listening_channels())
    or exists (select from pg_catalog.pg_locks where pid = pg_catalog.pg_backend_pid() and locktype = 'advisory')
    or exists (select from pg_catalog.pg_settings
                where source = 'session' and setting is distinct from reset_val
                  and name not in ('countersign.entry', 'session_authorization')) as yes
"""

Trace = Literal["none", "unsure", "changed"]


class Session(AsyncConnection[DictRow]):
    """A connection that remembers whether its statements may have left something behind."""

    trace: Trace = "none"
    _reports: tuple[bytes | None, ...] | None = None

    def reports(self) -> tuple[bytes | None, ...]:
        """Return the settings that the server reports, as they are now."""
        return tuple(self.pgconn.parameter_status(name) for name in _REPORTED)

    async def prepare_use(self) -> None:
        """Remember what the session is like before anybody uses it, and begin transactions by none of its defaults.

        Whether it takes writes stays as the server has it, which reports a change, so that an operator can forbid them.
        """
        self._reports = self.reports()
        await self.set_isolation_level(IsolationLevel.READ_COMMITTED)
        await self.set_deferrable(False)

    def note(self, trace: Trace) -> None:
        """Remember the worst that may have happened."""
        if self.trace != "changed":
            self.trace = trace

    async def is_clean(self) -> bool:
        """Return whether the next borrower may have this session; whoever lends it closes it otherwise."""
        if self.trace == "changed" or self.closed or self.reports() != self._reports:
            return False
        if self.trace == "none":
            return True
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        try:
            cursor = await AsyncCursor[DictRow](self).execute(_STAINED, prepare=False)
            row = await cursor.fetchone()
        except psycopg.Error:
            return False
        self.trace = "none"
        return row is not None and row["yes"] is False


class WatchedCursor(AsyncCursor[DictRow]):
    """A cursor that tells its session which kinds of statements ran."""

    async def execute(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Run a statement as the driver does."""
        session = self._session
        try:
            await super().execute(query, params, prepare=prepare, binary=binary)  # pyright: ignore[reportArgumentType]  # the driver overloads it by the kind of text, and does both alike
        except BaseException:
            # Statements before the one that failed may have done their part.
            session.note("unsure")
            raise
        session.note(self._trace(session.trace))
        return self

    async def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        """Run a statement for several rows as the driver does."""
        self._session.note("unsure")
        await super().executemany(query, params_seq, returning=returning)

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AsyncGenerator[AsyncCopy]:
        """Copy as the driver does; the session is closed afterwards."""
        self._session.note("changed")
        async with super().copy(statement, params, writer=writer) as copy:
            yield copy

    def stream(self, *_: Any, **__: Any) -> Any:
        """Refuse what cannot be watched."""
        raise psycopg.NotSupportedError("sessions of the pool stream nothing")

    @property
    def _session(self) -> Session:
        session = self.connection
        assert isinstance(session, Session), "the pool makes no others"
        return session

    def _trace(self, before: Trace) -> Trace:
        message = self.statusmessage
        # In a pipeline answers come later.
        if message is None:
            return "unsure"
        if message.partition(" ")[0] not in _PLAIN:
            return "changed"
        return "changed" if self.nextset() else before
