"""Rounds of approval as the journal tells them: who was asked what, who voted, how it ended; called by `rounds`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memory.governance.journal import JournalEntry
from memory.governance.stories import moment

KINDS = ("held", "vote", "vote_refused", "approval", "taken_over", "knowledge", "knowledge_approved")
"""Kinds of entries that rounds are told by; the last two stand in the chain of administration."""

# Before the entry of a round said so, authors could be added without one.
_SINCE_STAMPS = "round"
_NAMES = {"plan": "plan_hash"}
_HELD = ("step", "round", "requester", "requester_excluded", "need", "groups", "exposure", "currency", "rules",
         "policy", "pins", "plan")  # fmt: skip
_SAYINGS = frozenset({"rejected", "edited"})
"""Endings whose reason is what a person said, so that it is gone where the entry's words are."""

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

    @property
    def steps(self) -> set[str]:
        """Return the steps that it asks about."""
        return {str(self.facts["step"]), *(str(item["step"]) for item in (self.items or {}).values())}

    @property
    def editor(self) -> str | None:
        """Return who ended it by an edit that the requester did not take over."""
        is_edit = self.end is not None and self.facts["status"] == "edited"
        return self.facts["decided_by"] if is_edit and not self.facts["taken_over_by"] else None

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
    stories: dict[str, RoundStory] = {}
    for entry in entries:
        body = entry.body
        if entry.kind == "held":
            stories[body["approval"]] = _story_of(entry, body, currency)
        elif entry.kind == "taken_over" and body["approval"] in stories:
            _take_over(stories, entry, body)
        elif story := stories.get(str(body.get("approval"))):
            _add(story, entry, body)
    knowledge = list(authority)
    for story in stories.values():
        story.set_status(time)
        if "authors" in story.facts:
            edits = [edit.editor for edit in stories.values() if edit.facts["step"] in story.steps]
            _update_authors(story, [editor for editor in edits if editor], knowledge)
            story.count()
    return stories


def _story_of(entry: JournalEntry, body: Mapping[str, Any], currency: str) -> RoundStory:
    facts: Facts = {_NAMES.get(name, name): body[name] for name in _HELD if name in body}
    start = datetime.fromisoformat(body["at"])
    facts |= {"id": body["approval"], "run": entry.run, "opened": start}
    facts |= {"kind": "audit" if body.get("code") == "audit_failed" else "action", "status": "open"}
    facts |= dict.fromkeys(("reason", "edited", "decided_by", "decided", "valid_until", "proposal", "taken_over_by"))
    facts["currency"] = facts.get("currency") or currency
    facts["plan_hash"] = facts.get("plan_hash") or ""
    if "expires" in body:
        facts["expires"] = moment(body["expires"])
    if _SINCE_STAMPS in body:
        facts["authors"] = body["authors"]
    if entry.is_forgotten:
        facts["shown"] = {}
    elif "shown" in body:
        facts["shown"] = body["shown"]
    items = {item["digest"]: _item(item, currency) for item in body["items"]} if "items" in body else None
    return RoundStory(entry.run, start, facts, items=items, problems=tuple(body.get("problems") or ()))


def _item(item: Mapping[str, Any], currency: str) -> Facts:
    names = ("digest", "step", "tool", "amount")
    facts = {name: item.get(name) for name in names}
    return {**facts, "currency": item.get("currency") or currency, "effect": item.get("effect"), "consumed": None}


def _add(story: RoundStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    if entry.kind == "vote":
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
    elif entry.kind == "vote_refused" and body["code"] == "no_approver_left":
        story.facts["proposal"] = None if entry.is_forgotten else {
            name: body.get(name) for name in ("by", "edited", "reason", "at")
        }  # fmt: skip
    elif entry.kind == "approval":
        _close(story, entry, body)
    elif entry.kind == "permitted" and story.items and body.get("digest") in story.items:
        story.items[body["digest"]] |= {"effect": body["effect"], "consumed": moment(body["at"])}


def _close(story: RoundStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.end = entry.seq
    story.facts |= {"status": body["status"], "decided_by": body["by"], "decided": moment(body["at"])}
    if entry.is_forgotten:
        story.facts |= {"edited": None, "reason": None}
        if body["status"] not in (*_SAYINGS, "approved"):
            del story.facts["reason"]
    else:
        story.facts["reason"] = body["reason"]
        story.facts["edited"] = body.get("edited")
    if "valid_until" in body:
        story.facts["valid_until"] = moment(body["valid_until"])
    elif body["status"] == "approved":
        del story.facts["valid_until"]
    if body["status"] == "edited" and not entry.is_forgotten and "edited" not in body:
        del story.facts["edited"]


def _take_over(stories: Mapping[str, RoundStory], entry: JournalEntry, body: Mapping[str, Any]) -> None:
    """Note that the requester made the edits of these steps their own, and who is an author of a round that goes on."""
    story = stories[body["approval"]]
    for edit in stories.values():
        if edit.editor and edit.facts["step"] in story.steps:
            edit.facts["taken_over_by"] = body["by"]
    if story.end is None and "authors" in story.facts:
        story.facts["leavers"] = [*story.facts.get("leavers", ()), *body["authors"]]


def _update_authors(story: RoundStory, editors: Collection[str], authority: Iterable[JournalEntry]) -> None:
    """Leave out of the authors those whose edit was taken over, and whose knowledge was countersigned meanwhile."""
    leavers = set(story.facts.pop("leavers", ()))
    pins = {(pin["id"], pin["version"]) for pin in story.facts.get("pins") or ()}
    publishers: dict[tuple[str, int], str] = {}
    end = story.facts.get("decided")
    for body in (entry.body for entry in authority):
        version = (str(body.get("id")), int(body.get("version", 0)))
        if version in pins and body["kind"] == "knowledge":
            publishers[version] = body["by"]
        elif version in pins and (end is None or datetime.fromisoformat(body["at"]) <= end):
            leavers.add(body["person"])
            publishers.pop(version, None)
    leavers -= {*editors, *publishers.values()}
    story.facts["authors"] = [person for person in story.facts["authors"] if person not in leavers]
