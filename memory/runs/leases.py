"""Leases of runs, and the statements made under one: what waits in a lease travels with the next of them.

The saver and the nodes leave checkpoints and entries in the lease's luggage; whoever makes a statement for the run does
so here, so that one round trip saves what came before it and does its own. The fence is looked at first: a worker that
lost its lease saves nothing and does nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from memory.errors import Code, ControlError, LeaseLost, Permanent, Temporary
from memory.governance import journal
from memory.governance.journal import JournalEntry, Recording
from memory.postgres.database import Database, Prelude, PreludeRefused
from memory.postgres.refusals import DriverError, is_no_text, refusal_of
from memory.scope import Access, Principal, Scope

DEFAULT_FLOW = "governed"
_MOST_BYTES = 2**20
_MOST_ITEMS = 8
"""How much may wait; more goes at once, so that history is never far behind and no statement grows without end."""


class LuggageRefused(Permanent):
    """The database does not take what waited: it is dropped, and the statement that it went with did not happen."""


class Luggage:
    """Checkpoints, plans and entries of one lease that wait for its next statement, in their order.

    What happens twice must do no harm: a statement whose answer was lost is sent again. So entries here have keys.
    """

    def __init__(self) -> None:
        self._items: list[Mapping[str, Any]] = []
        self._content: list[bytes] = []
        self._size = 0
        self.is_urgent = False
        """True if the next checkpoint goes at once: it holds what a model said, which must not be asked again."""
        self.story: Sequence[JournalEntry] | None = None
        """The run's journal as this lease has read it, while it has done nothing since that tells of a call."""

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def is_due(self) -> bool:
        """Return whether it should not wait any longer."""
        return self.is_urgent or self._size > _MOST_BYTES or len(self._items) > _MOST_ITEMS

    def add_save(self, save: Mapping[str, Any], content: bytes) -> None:
        """Let a checkpoint, or writes towards one, wait; places within `content` are counted from its first byte."""
        self._items.append({"save": save, "start": self._size + 1, "length": len(content)})
        self._content.append(content)
        self._size += len(content)

    def add_plan(self, body: Mapping[str, Any]) -> None:
        """Let the adoption of a plan wait."""
        self._items.append({"plan": body})

    def add_entry(self, body: Mapping[str, Any]) -> None:
        """Let an entry wait; raises ValueError for one without a key, which could be written twice."""
        if "key" not in body:
            raise ValueError(f"an entry of kind {body.get('kind')!r} has no key and cannot wait")
        self._items.append({"entry": body})

    def unload(self) -> tuple[list[Mapping[str, Any]], bytes]:
        """Return everything that waits, and let nothing wait any more."""
        load = (self._items, b"".join(self._content))
        self._items, self._content, self._size = [], [], 0
        return load

    def put_back(self, load: tuple[list[Mapping[str, Any]], bytes]) -> None:
        """Let what was unloaded wait again, before whatever waits by now."""
        items, content = load
        moved = [{**item, "start": item["start"] + len(content)} if "save" in item else item for item in self._items]
        self._items, self._content = [*items, *moved], [content, *self._content]
        self._size += len(content)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to lead a run until somebody with a higher fence takes it over."""

    run: str
    fence: int
    thread: str
    access: Access
    correlation: str
    input: Mapping[str, Any]
    flow: str = DEFAULT_FLOW
    """Name of the flow that leads the run."""
    checkpoint: str = ""
    """The checkpoint from which the step started that acts under it; entries of the step name it."""
    luggage: Luggage | None = field(default=None, compare=False, repr=False)
    """What waits for the next statement; None where each goes by itself."""

    @property
    def step_facts(self) -> dict[str, str]:
        """Return what each entry of the step says of where it was written; nothing outside of steps."""
        return {"checkpoint": self.checkpoint} if self.checkpoint else {}

    def hurry(self) -> None:
        """Let the checkpoint of the step at work, and all that waits, be saved as soon as the step is done."""
        if self.luggage is not None:
            self.luggage.is_urgent = True


def access_of(principal: Principal, run: str, thread: str) -> Access:
    """Return what a run may see and write: its requester's scopes, its session, and its own working memory."""
    own = Scope("run", run)
    return Access(principal, (*principal.reads, Scope("session", f"{principal.id}/{thread}"), own), own)


async def call(
    database: Database, lease: Lease, function: str, *args: object, access: Access | None = None
) -> dict[str, Any]:
    """Call a function for the run, in one statement with what waits; for the lease's access unless another is given.

    Raises LeaseLost, without calling it, if another leads the run, and LuggageRefused.
    """
    access, luggage = access or lease.access, lease.luggage
    if luggage is None:
        return await database.call(access, function, *args)
    luggage.story = None
    if not luggage:
        return await database.call(access, function, *args)
    load = luggage.unload()
    try:
        return await database.call(access, function, *args, prelude=_prelude(lease, load))
    except PreludeRefused as refusal:
        raise _refused(lease, refusal.code) from refusal
    except DriverError:
        # It failed as a whole, and whose fault it was shows when each goes by itself.
        luggage.put_back(load)
    except BaseException:
        luggage.put_back(load)
        raise
    await flush(database, lease)
    return await database.call(access, function, *args)


async def flush(database: Database, lease: Lease) -> None:
    """Save what waits, in a statement of its own; raises LeaseLost and LuggageRefused."""
    luggage = lease.luggage
    if not luggage:
        return
    load = luggage.unload()
    prelude = _prelude(lease, load)
    try:
        row = await database.call(lease.access, prelude.function, *prelude.values)
    except DriverError as error:
        refusal = _not_taken(lease, error)
        if isinstance(refusal, Temporary):
            luggage.put_back(load)
        raise refusal from error
    except BaseException:
        luggage.put_back(load)
        raise
    if row["code"] != "ok":
        raise _refused(lease, row["code"])


async def record(database: Database, lease: Lease, body: Mapping[str, Any]) -> Recording:
    """Record a fact of the run at once, as `journal.append` does; raises LeaseLost."""
    return journal.recording(lease.run, body, await call(database, lease, "append", lease.run, lease.fence, body))


async def read_story(database: Database, lease: Lease) -> Sequence[JournalEntry]:
    """Return the run's whole journal; once read, it is kept until the lease does something that it tells."""
    luggage = lease.luggage
    if luggage is not None and luggage.story is not None:
        return luggage.story
    row = await call(database, lease, "run_story", lease.run)
    story = [
        JournalEntry(
            lease.run, seq, bytes.fromhex(prev), bytes.fromhex(hash), text, words, UUID(salt) if salt else None
        )
        for seq, prev, hash, text, words, salt in row["entries"]
    ]
    if luggage is not None:
        luggage.story = story
    return story


def _not_taken(lease: Lease, error: DriverError) -> ControlError:
    """Return why the database did not take what waited."""
    if is_no_text(error):
        message = f"the checkpoint of run {lease.run!r} holds names or metadata that are no JSON text: {error}"
        return LuggageRefused("contract_violation", message)
    refusal = refusal_of(error)
    return refusal if isinstance(refusal, Temporary) else LuggageRefused("record_refused", str(refusal or error))


def _prelude(lease: Lease, load: tuple[list[Mapping[str, Any]], bytes]) -> Prelude:
    items, content = load
    return Prelude("unload", (lease.run, lease.fence, {"items": items}, content))


def _refused(lease: Lease, code: str) -> Permanent:
    refusals: dict[str, tuple[Code, str]] = {
        "deleted": ("conflict", f"the checkpoints of run {lease.run!r} were deleted; start another run"),
        "forbidden": ("forbidden", f"run {lease.run!r} may not record what it wants to; its nodes name other kinds"),
    }
    return LuggageRefused(*refusals[code]) if code in refusals else LeaseLost(lease.run)
