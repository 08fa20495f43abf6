"""One run as the journal tells it, beside its row; the API shows it, and the explanation of an effect quotes it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memory.errors import Permanent
from memory.governance import stories
from memory.governance.journal import JournalEntry
from memory.governance.stories import Account, moment
from memory.postgres.database import Database
from memory.runs.models import COLUMNS, Run, run_of
from memory.scope import Access

_ROW = f"select {COLUMNS} from runs where id = %s and kind = 'run'"
_OPEN = ("queued", "running", "waiting")
_UNITS = ("tokens", "micros", "calls")
# Of an open run only its row says who leads it and what it has set aside.
_MACHINERY = ("waits_for", "fence", "worker", *(f"reserved_{unit}" for unit in _UNITS))
_SPENT = ("spent_tokens", "spent_micros", "spent_calls", "spent_millis")
_BLANK: Mapping[str, Any] = {
    "flow": "", "thread": "", "correlation": "", "input": {}, "answers": [], "message": "", "reason": None,
    "plan": None, "plan_hash": None, "waits_for": None, "fence": 0, "worker": None,
    **{f"{part}_{unit}": 0 for unit in _UNITS for part in ("limit", "spent", "reserved")},
}  # fmt: skip
"""What is shown of a run without a row where no entry says anything."""
_UNSEEN: Mapping[str, Any] = {"status": "queued", "waits_for": None, "message": None}
"""How far an open run without a row has got."""

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunAccount:
    """One run as the journal tells it, with its entries."""

    run: Run
    entries: Sequence[JournalEntry]
    differs: tuple[str, ...]
    """Fields in which row and journal disagree, and places where the journal does not hold."""
    row_only: tuple[str, ...]
    """Fields that only the row holds."""


@dataclass(slots=True)
class RunStory:
    """One run; names of facts are those of columns, and there is none for what no entry holds."""

    facts: Facts = field(default_factory=Facts)
    rounds: list[str] = field(default_factory=list[str])
    """Rounds of approval that are open."""
    audits: set[str] = field(default_factory=set[str])
    """Rounds about a failed audit."""
    was_forgotten: bool = False
    """Whether the words of its request are gone."""

    is_short: bool = False
    """Whether entries came before they said what runs may spend, and how they ended in words."""
    may_lack_message: bool = False
    """Whether the words of somebody else are gone since it ended, whose reason may have been the message."""

    def beside(self, row: Mapping[str, Any] | None) -> Facts:
        """Return the facts, with what depends on how far the row says that an open run has got."""
        glance = row or _UNSEEN
        lacks_message = self.may_lack_message and glance["message"] == ""
        facts = {**self.facts, **({"message": ""} if lacks_message else {})}
        is_open = self.facts.get("status", "") is None
        return {**facts, **(self._pause(glance) if is_open else self._ending())}

    def _pause(self, row: Mapping[str, Any]) -> Facts:
        """Return what an open run waits for: the last round that is open, unless the row says a question."""
        if row["status"] != "waiting":
            return {"status": row["status"] if row["status"] in _OPEN else "queued", "waits_for": None, "reason": None}
        goal = row["waits_for"] if row["waits_for"] == "clarify" else [row["waits_for"], *self.rounds][-1]
        return {"status": "waiting", "waits_for": goal, "reason": "audit_failed" if goal in self.audits else None}

    def _ending(self) -> Facts:
        """Return what an end means for a row; without the words of its request no stopped run goes on."""
        is_final = self.was_forgotten and self.facts.get("status") == "stopped"
        return {"waits_for": None, **({"status": "cancelled"} if is_final else {})}


def tell(entries: Iterable[JournalEntry]) -> RunStory:
    """Return the story of a run from its entries, in their order."""
    story = RunStory()
    for entry in entries:
        body = entry.body
        if reader := _READERS.get(body["kind"]):
            reader(story, entry, body)
        if "spent" in body:
            story.facts |= dict(zip(_SPENT, body["spent"], strict=False))
        story.facts["seq"] = entry.seq
    return story


async def show(database: Database, access: Access, run: str) -> RunAccount:
    """Return one run with all its entries; raises Permanent("not_found")."""
    async with database.snapshot(access) as connection:
        row = await (await connection.execute(_ROW.encode(), [run])).fetchone()
        reading = await stories.read(connection, [run])
    story = tell(reading.entries)
    if row is None and "requester" not in story.facts:
        raise Permanent("not_found", f"there is no run {run!r}; `countersign runs ls` lists yours")
    account = compare(row, story)
    differences = (*account.differs, *reading.differences(run))
    return RunAccount(run_of(account.values), reading.entries, tuple(dict.fromkeys(differences)), account.row_only)


def compare(row: Mapping[str, Any] | None, story: RunStory) -> Account:
    """Return the columns of a run, or those that the row has, as the journal tells them."""
    facts = story.beside(row)
    account = stories.reconcile(row, facts, machinery=_MACHINERY, name="run")
    return account if row is not None else Account({**_BLANK, **facts}, account.differs, ())


def _note_request(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.was_forgotten, story.is_short = entry.is_forgotten, "limits" not in body
    story.facts |= {"id": entry.run, "requester": body["user"], "created": moment(body["at"]), "attempt": 1}
    story.facts |= {"answers": [], "message": "", **dict.fromkeys(("plan", "plan_hash"))}
    story.facts |= dict.fromkeys(("status", "reason", "cancel", "ended"))
    words: Facts = {"thread": entry.run, "correlation": entry.run, "input": {}}
    story.facts |= words if entry.is_forgotten else {name: body[name] for name in words}
    if "flow" in body:
        story.facts["flow"] = body["flow"]
    if not story.is_short:
        story.facts |= {**_limits(body), **dict.fromkeys(_SPENT, 0)}


def _note_plan(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.facts["plan_hash"] = body["plan"]
    story.facts |= _limits(body)
    if entry.is_forgotten or "document" in body:
        story.facts["plan"] = body.get("document")
    else:
        story.facts.pop("plan", None)


def _note_answer(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.facts["answers"] = [] if entry.is_forgotten else [*story.facts.get("answers", ()), body["text"]]


def _note_cancellation(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.facts["cancel"] = body.get("reason", "cancelled")
    # Before that had an ending of its own.
    if story.facts.get("status") == "stopped":
        story.facts |= {"status": "cancelled", "reason": "cancelled", "ended": moment(body["at"])}


def _note_resumption(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.may_lack_message = False
    story.facts["attempt"] = story.facts.get("attempt", 1) + 1
    story.facts |= {"message": "", **dict.fromkeys(("status", "reason", "cancel", "ended"))}


def _note_end(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.facts |= {"status": body["status"], "ended": moment(body["at"]), "reason": body.get("reason")}
    if entry.is_forgotten:
        story.facts["message"] = ""
        # It is a code, and stays in the row.
        del story.facts["reason"]
    elif "message" in body:
        story.facts["message"] = body["message"]
    elif story.is_short:
        story.facts.pop("message", None)


def _note_round(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.rounds.append(body["approval"])
    if body.get("code") == "audit_failed":
        story.audits.add(body["approval"])


def _note_decision(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.rounds = [round for round in story.rounds if round != body["approval"]]


def _note_erasure(story: RunStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.may_lack_message = story.facts.get("status") is not None


def _limits(body: Mapping[str, Any]) -> Facts:
    return dict(zip((f"limit_{unit}" for unit in _UNITS), body.get("limits") or (), strict=False))


_READERS: Mapping[str, Callable[[RunStory, JournalEntry, Mapping[str, Any]], None]] = {
    "requested": _note_request,
    "planned": _note_plan,
    "answered": _note_answer,
    "cancel": _note_cancellation,
    "resumed": _note_resumption,
    "ended": _note_end,
    "held": _note_round,
    "approval": _note_decision,
    "forgotten": _note_erasure,
}
