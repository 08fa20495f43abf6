"""Feed of what is recorded: wakes whoever follows a run or a tenant; the API's streams and waiting callers wait on it.

Notices only wake; entries are always read from the journal. What a lost notice would have told, one statement per
second tells for everything that the process follows.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from memory.cancellation import heed_cancellation
from memory.errors import ControlError
from memory.postgres.database import Database
from memory.scope import Access, Principal

_LOG = logging.getLogger(__name__)
_CATCH_UP_SECONDS = 1.0
_DIGITS = 18
_RECONNECT_SECONDS = 0.5
_REMEMBERED = 4096
"""Runs of which the last notices are kept, for followers that come just after them."""
PARKED = "parked"
"""Kind of the one notice that tells of no entry: a run waits for people from now on."""
SETTLING = frozenset({"ended", "held", "clarify", PARKED})
"""Kinds after which a run may have ended or need a person; nothing else can settle it."""

Extend = Callable[[str], Awaitable[object]]


class Follower:
    """One reader's place in a feed. It holds what is new as one number, however slow its reader is."""

    def __init__(self, kinds: Collection[str] | None) -> None:
        self.has_ended = False
        """Whether the last that was told is that the run has ended."""
        self._kinds = kinds
        self._position = 0.0
        self._event = asyncio.Event()

    @property
    def is_choosy(self) -> bool:
        """Return whether only some kinds concern this follower."""
        return self._kinds is not None

    def tell(self, position: float, kind: str | None = None) -> None:
        """Say that there is something up to a position; without a kind it may be anything."""
        if kind is None or self._kinds is None or kind in self._kinds:
            self._position = max(self._position, position)
            self.has_ended = kind == "ended"
            self._event.set()

    async def wait(self, after: float, seconds: float | None = None) -> bool:
        """Return True as soon as there may be something after a position, False after so many seconds without."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._event.wait()
                    self._event.clear()
                    # Forgotten once told, so that a forged notice wakes once.
                    position, self._position = self._position, 0.0
                    if position > after:
                        return True
        return False


@dataclass(eq=False, slots=True)
class _Topic:
    """A run or a tenant that is followed, and how far it is known to have got."""

    tenant: str
    position: float
    followers: set[Follower] = field(default_factory=set[Follower])
    is_due: bool = False

    def tell(self, position: float, kind: str | None = None) -> None:
        for follower in self.followers:
            follower.tell(position, kind)


class Feed:
    """Followers of runs and tenants, and the connection that wakes them."""

    def __init__(self, database: Database, extend: Extend | None = None) -> None:
        self._database = database
        self._extend = extend
        self._runs: dict[str, _Topic] = {}
        self._tenants: dict[str, _Topic] = {}
        self._recent: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._listening = asyncio.Event()
        self._hurry = asyncio.Event()
        self._has_closed = False

    @property
    def runs(self) -> frozenset[str]:
        """Return the runs that somebody follows right now."""
        return frozenset(self._runs)

    async def ready(self) -> None:
        """Return once notices come in; until then, and after a lost connection, catching up serves alone."""
        await self._listening.wait()

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, extend: Extend | None = None) -> AsyncGenerator["Feed"]:
        """Listen until the block ends; a lost connection is opened again.

        `extend` takes the news of a tenant into its log, where no worker does it.
        """
        feed = cls(database, extend)
        tasks = [
            asyncio.create_task(feed._listen(), name="journal feed"),
            asyncio.create_task(feed._catch_up_on(), name="journal catch-up"),
        ]
        try:
            yield feed
        finally:
            # A statement that is cancelled just as it is answered does not tell.
            feed._has_closed = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def follow(self, access: Access, run: str, after: int, kinds: Collection[str] | None = None) -> Generator[Follower]:
        """Follow a run whose entries are read up to `after`; entries of other than these kinds wake nobody."""
        follower = Follower(kinds)
        position, kind = self._recent.get(run, (after, ""))
        topic = self._runs.setdefault(run, _Topic(access.principal.tenant, position))
        with _following(self._runs, run, topic, follower):
            # What was said before anybody followed.
            follower.tell(position, kind)
            follower.tell(topic.position, kind)
            yield follower

    @contextmanager
    def follow_tenant(self, access: Access, size: int) -> Generator[Follower]:
        """Follow the log of a tenant, which is read up to so many leaves."""
        tenant, follower = access.principal.tenant, Follower(None)
        topic = self._tenants.setdefault(tenant, _Topic(tenant, size))
        with _following(self._tenants, tenant, topic, follower):
            yield follower

    def hear(self, payload: str) -> None:
        """Take one notice: a run, the number of an entry and its kind; nothing for a log that has grown."""
        if not payload:
            if self._tenants:
                self._hurry.set()
            return
        run, number, kind = [*payload.split(":", 2), "", ""][:3]
        # Whoever has the application's role can send notices: no number of ours is so long.
        if not (number.isdecimal() and len(number) <= _DIGITS and kind):
            return
        position = int(number)
        self._remember(run, position, kind)
        if topic := self._runs.get(run):
            if kind == PARKED:
                topic.tell(math.inf, kind)
                return
            # Whoever misses a number has missed a notice, and what that was about is not known.
            follows, topic.position = position == topic.position + 1, position
            topic.tell(position, kind if follows else None)

    def _remember(self, run: str, position: int, kind: str) -> None:
        """Keep the last notice of a run, and the last that may have settled it in preference."""
        before = self._recent.pop(run, None)
        if before and before[1] in SETTLING and kind not in SETTLING:
            kind = before[1]
        self._recent[run] = (position, kind)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    async def _catch_up_on(self) -> None:
        """Catch up for ever: once a second, and as soon as notices come again or a log has grown."""
        while not self._has_closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CATCH_UP_SECONDS):
                    await self._hurry.wait()
            self._hurry.clear()
            try:
                await self.catch_up()
            except (ControlError, psycopg.Error) as error:
                _LOG.warning("the journal feed could not catch up (%s); trying again", error)

    async def catch_up(self) -> None:
        """Ask once how far everything followed has got, and tell those who have not heard of it."""
        topics = [*self._runs.values(), *self._tenants.values()]
        if not topics:
            return
        # Nobody's principal: how far a run has got is no secret among those of its tenant.
        entries = [Access(Principal(tenant, ""), ()) for tenant in sorted({topic.tenant for topic in topics})]
        for row in await self._database.call_for_each(entries, "followed", list(self._runs)):
            if row["run"] is None:
                await self._note_log(row["tenant"], row["size"], is_due=row["is_due"])
            else:
                self._note_run(row["run"], row["size"], is_settled=row["is_due"])

    def _note_run(self, run: str, position: int, *, is_settled: bool) -> None:
        topic = self._runs.get(run)
        if topic is None:
            return
        has_moved, topic.position = position != topic.position, position
        for follower in topic.followers:
            if is_settled if follower.is_choosy else has_moved:
                follower.tell(math.inf if follower.is_choosy else position)

    async def _note_log(self, tenant: str, size: int, *, is_due: bool) -> None:
        topic = self._tenants.get(tenant)
        if topic is None:
            return
        if size != topic.position:
            topic.position = size
            topic.tell(size)
        # News that a worker takes in are gone the next time.
        is_late, topic.is_due = is_due and topic.is_due, is_due
        if is_late and self._extend:
            await self._extend(tenant)

    async def _listen(self) -> None:
        while not self._has_closed:
            try:
                async with await psycopg.AsyncConnection.connect(self._database.url, autocommit=True) as connection:
                    await connection.execute("listen journal")
                    self._listening.set()
                    # What was said while nobody listened.
                    self._hurry.set()
                    async for notice in connection.notifies():
                        self.hear(notice.payload)
            except psycopg.OperationalError as error:
                heed_cancellation()
                self._listening.clear()
                _LOG.warning("the journal feed lost its connection (%s); trying again", error)
                await asyncio.sleep(_RECONNECT_SECONDS)


@contextmanager
def _following(topics: dict[str, _Topic], name: str, topic: _Topic, follower: Follower) -> Generator[None]:
    """Keep a follower with its topic for the length of the block, and the topic while anybody follows it."""
    topic.followers.add(follower)
    try:
        yield
    finally:
        topic.followers.discard(follower)
        if not topic.followers:
            topics.pop(name, None)
