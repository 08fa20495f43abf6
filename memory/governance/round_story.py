"""Rounds of approval as the journal tells them: who was asked what, who voted, how it ended; called by `rounds`."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memory.governance.journal import JournalEntry
from memory.governance.stories import moment

KINDS = ("held", "vote", "vote_refused", "approval", "taken_over", "knowledge", "knowledge_approved")
"""Kinds of entries that rounds are told by; the last two stand in the chain of administration."""

# Before the entry of a round said so, authors could be added without one.
_SINCE_STAMPS = "round"
_HELD = ("step", "round", "requester", "requester_excluded", "need", "groups", "exposure", "rules", "policy", "pins")
_ANSWER = ("reason", "edited", "decided_by", "decided", "valid_until", "proposal", "taken_over_by")
"""Columns of what people say to it."""
_SAYINGS = ("rejected", "edited", "approved")
"""Endings whose reason, if there is one, is what a person said, so that it is gone where the entry's words are."""

Facts = dict[str, Any]


@dataclass(slots=True)
class RoundStory:
    """One round; names of facts are those of columns, and there is none for what no entry holds."""

    run: str
    start: datetime
    facts: Facts
    votes: dict[str, Facts] = field(default_factory=dict[str, Facts])
    """By voter, in the order of voting."""
    items: dict[str, Facts] | None = None
    """By digest; None where no entry lists them."""
    problems: tuple[str, ...] = ()
    """Of a failed audit."""
    end: int | None = None
    """Number of the entry that ended it."""
    leavers: set[str] = field(default_factory=set[str])
    """Authors whose edit the requester took over while it was open."""

    @property
    def steps(self) -> set[str]:
        """Return the steps that it asks about."""
        return {str(self.facts["step"]), *(str(item["step"]) for item in (self.items or {}).values())}

    @property
    def editor(self) -> str | None:
        """Return who ended it by an edit that the requester did not take over."""
        is_edit = self.end is not None and self.facts["status"] == "edited"
        return self.facts["decided_by"] if is_edit and not self.facts["taken_over_by"] else None

    @property
    def pins(self) -> set[tuple[str, int]]:
        """Return the versions of knowledge that it rests on."""
        return {(pin["id"], pin["version"]) for pin in self.facts.get("pins") or ()}

    def was_open_at(self, time: datetime) -> bool:
        """Return whether it had not been decided by then."""
        end = self.facts.get("decided")
        return end is None or time <= end

    def set_status(self, time: datetime) -> None:
        """Say that an open round is expired if its time is over; nothing, if no entry holds its time."""
        if self.end is None and "expires" not in self.facts:
            del self.facts["status"]
        elif self.end is None and self.facts["expires"] <= time:
            self.facts["status"] = "expired"

    def count(self) -> None:
        """Count the people who approved and are no authors."""
        voters = [voter for voter, vote in self.votes.items() if vote["decision"] == "approve"]
        self.facts["approvals"] = len([voter for voter in voters if voter not in self.facts["authors"]])


def tell(
    entries: Iterable[JournalEntry], authority: Iterable[JournalEntry], currency: str, time: datetime
) -> dict[str, RoundStory]:
    """Return the rounds of a run by id, from its entries and those of administration.

    `currency` is that of the accounts, which stands for none.
    """
    stories = _read(entries, currency)
    knowledge = list(authority)
    for story in stories.values():
        story.set_status(time)
        if "authors" in story.facts:
            edits = [edit.editor for edit in stories.values() if edit.facts["step"] in story.steps]
            _update_authors(story, [editor for editor in edits if editor], knowledge)
            story.count()
    return stories


def _read(entries: Iterable[JournalEntry], currency: str) -> dict[str, RoundStory]:
    """Return the rounds as the entries of their run alone tell them."""
    stories: dict[str, RoundStory] = {}
    for entry in entries:
        if entry.kind == "held":
            stories[entry.body["approval"]] = _story_of(entry, entry.body, currency)
        elif (story := stories.get(str(entry.body.get("approval")))) and (reader := _READERS.get(entry.kind)):
            reader(story, entry, stories)
    return stories


def _story_of(entry: JournalEntry, body: Mapping[str, Any], currency: str) -> RoundStory:
    start = datetime.fromisoformat(body["at"])
    facts: Facts = {
        **dict.fromkeys(_ANSWER),
        **_terms(body),
        **_question(entry, body),
        "id": body["approval"],
        "run": entry.run,
        "opened": start,
        "status": "open",
        "currency": body.get("currency") or currency,
        "plan_hash": body.get("plan") or "",
    }
    return RoundStory(entry.run, start, facts, items=_items(body, currency), problems=tuple(body.get("problems") or ()))


def _terms(body: Mapping[str, Any]) -> Facts:
    """Return who is asked for how many approvals, until when, and who may not answer."""
    facts: Facts = {name: body[name] for name in _HELD if name in body}
    facts["kind"] = "audit" if body.get("code") == "audit_failed" else "action"
    if "expires" in body:
        facts["expires"] = moment(body["expires"])
    if _SINCE_STAMPS in body:
        facts["authors"] = body["authors"]
    return facts


def _question(entry: JournalEntry, body: Mapping[str, Any]) -> Facts:
    """Return what people were shown."""
    if entry.is_forgotten:
        return {"shown": {}}
    return {"shown": body["shown"]} if "shown" in body else {}


def _items(body: Mapping[str, Any], currency: str) -> dict[str, Facts] | None:
    """Return the actions by digest; None where the entry does not list them."""
    return {item["digest"]: _item(item, currency) for item in body["items"]} if "items" in body else None


def _item(item: Mapping[str, Any], currency: str) -> Facts:
    names = ("digest", "step", "tool", "amount")
    facts = {name: item.get(name) for name in names}
    return {**facts, "currency": item.get("currency") or currency, "effect": item.get("effect"), "consumed": None}


def _note_vote(story: RoundStory, entry: JournalEntry, stories: Mapping[str, RoundStory]) -> None:
    body = entry.body
    story.votes[body["by"]] = {
        "approver": body["by"],
        "decision": body["decision"],
        "reason": body.get("reason") or "",
        "channel": body["channel"],
        "nonce": body["nonce"],
        "at": moment(body["at"]),
        **({"key": body["credential"]} if "credential" in body else {}),
    }
    # A vote counts for the nonce that was shown.
    story.facts["nonce"] = body["nonce"]


def _note_refusal(story: RoundStory, entry: JournalEntry, stories: Mapping[str, RoundStory]) -> None:
    """Keep an edit that nobody could agree to as the round's proposal."""
    body = entry.body
    if body["code"] == "no_approver_left":
        edit = {name: body.get(name) for name in ("by", "edited", "reason", "at")}
        story.facts["proposal"] = None if entry.is_forgotten else edit


def _note_use(story: RoundStory, entry: JournalEntry, stories: Mapping[str, RoundStory]) -> None:
    body = entry.body
    if story.items and body.get("digest") in story.items:
        story.items[body["digest"]] |= {"effect": body["effect"], "consumed": moment(body["at"])}


def _close(story: RoundStory, entry: JournalEntry, stories: Mapping[str, RoundStory]) -> None:
    body = entry.body
    story.end = entry.seq
    story.facts |= {"status": body["status"], "decided_by": body["by"], "decided": moment(body["at"])}
    story.facts |= {"reason": body.get("reason"), "edited": body.get("edited")}
    for column in _unsaid(entry, body):
        del story.facts[column]
    if "valid_until" in body:
        story.facts["valid_until"] = moment(body["valid_until"])
    elif body["status"] == "approved":
        del story.facts["valid_until"]


def _unsaid(entry: JournalEntry, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the row alone holds of an end: a code among forgotten words, an edit from before entries had it."""
    if entry.is_forgotten:
        return () if body["status"] in _SAYINGS else ("reason",)
    return ("edited",) if body["status"] == "edited" and "edited" not in body else ()


def _take_over(story: RoundStory, entry: JournalEntry, stories: Mapping[str, RoundStory]) -> None:
    """Note that the requester made the edits of these steps their own, and who is an author of a round that goes on."""
    for edit in stories.values():
        if edit.editor and edit.facts["step"] in story.steps:
            edit.facts["taken_over_by"] = entry.body["by"]
    if story.end is None:
        story.leavers |= {*entry.body.get("authors", ())}


def _update_authors(story: RoundStory, editors: Collection[str], authority: Iterable[JournalEntry]) -> None:
    """Leave out of the authors those whose edit was taken over, and whose knowledge was countersigned meanwhile."""
    publishers, leavers = _publishers(story, authority)
    leavers = {*story.leavers, *leavers} - {*editors, *publishers}
    story.facts["authors"] = [person for person in story.facts["authors"] if person not in leavers]


def _publishers(story: RoundStory, authority: Iterable[JournalEntry]) -> tuple[Collection[str], Collection[str]]:
    """Return who stands alone for knowledge that a round rests on, and who does no more, as it was countersigned."""
    pins, leavers = story.pins, set[str]()
    publishers: dict[tuple[str, int], str] = {}
    for body in (entry.body for entry in authority if _version(entry.body) in pins):
        version = _version(body)
        if body["kind"] == "knowledge":
            publishers[version] = body["by"]
        elif story.was_open_at(datetime.fromisoformat(body["at"])):
            leavers.add(body["person"])
            publishers.pop(version, None)
    return publishers.values(), leavers


def _version(body: Mapping[str, Any]) -> tuple[str, int]:
    return str(body.get("id")), int(body.get("version", 0))


_READERS: Mapping[str, Callable[[RoundStory, JournalEntry, Mapping[str, RoundStory]], None]] = {
    "vote": _note_vote,
    "vote_refused": _note_refusal,
    "approval": _close,
    "taken_over": _take_over,
    "permitted": _note_use,
}
