"""One effect as the journal tells it: what was permitted, and what came of it; called by `effect_account`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memory.governance.journal import JournalEntry
from memory.governance.stories import moment

# Before the entry of a permission had it, sends had no entries of their own.
_SINCE_SENDS = "digest"
_DEAD_KEY = {"is_key_dead": True}
# Columns by the fields of entries; the last two of a permission came later, and its key is among the words.
_PERMISSION = {
    **{name: name for name in ("step", "tool", "policy", "amount", "digest", "generation")},
    "natural_key": "key",
}
_PROPOSAL = {"role": "role", "user": "user_id", "plan": "plan_hash", "digest": "digest"}
Facts = dict[str, Any]


@dataclass(slots=True)
class EffectStory:
    """One effect; names of facts are those of columns, and there is none for what no entry holds."""

    id: str
    facts: Facts = field(default_factory=Facts)
    permission: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The entry that permitted it."""
    position: tuple[str, int] = ("", 0)
    """Run and number of that entry."""

    @property
    def run(self) -> str:
        """Return the run that had it; empty if no entry says so."""
        return self.position[0]


def tell(effect: str, entries: Iterable[JournalEntry], currency: str) -> EffectStory:
    """Return the story of an effect from entries in their order, those of the effects that took it back among them.

    `currency` is that of the accounts, which stands for none.
    """
    story, ends, sequence = EffectStory(effect), Facts(), list(entries)
    for predecessor, entry in zip((None, *sequence), sequence, strict=False):
        if entry.body.get("effect") != effect:
            ends |= _succeed(effect, entry.kind, entry.body)
        elif story.run:
            _add(story, entry)
        elif entry.kind == "permitted":
            _permit(story, entry, predecessor, currency)
    story.facts |= ends
    return story


def names(effect: str, body: Mapping[str, Any]) -> bool:
    """Return whether an entry is about an effect, or says of another that it took this one back, or its place."""
    return body.get("effect") == effect or bool(_succeed(effect, str(body["kind"]), body))


def _permit(story: EffectStory, entry: JournalEntry, predecessor: JournalEntry | None, currency: str) -> None:
    body = entry.body
    story.permission, story.position = body, (entry.run, entry.seq)
    story.facts |= {"id": story.id, "run": entry.run, "approval": body.get("approval"), "superseded_by": None}
    story.facts |= _columns(body, _PERMISSION)
    story.facts |= {"currency": body.get("currency") or currency, "claimed": moment(body["at"])}
    story.facts |= {"state": "claimed", "outcome": None, "settled": None}
    if _SINCE_SENDS in body:
        story.facts |= {"attempts": 1, "sent": moment(body["at"])}
    if {"natural_key", "event"} <= body.keys():
        story.facts["send_key"] = _event_key(body["natural_key"], body["event"])
    address = ("proposed", entry.run, entry.seq - 1)
    if predecessor and (predecessor.kind, predecessor.run, predecessor.seq) == address:
        story.facts |= _columns(predecessor.body, _PROPOSAL)
        story.facts["args"] = {} if predecessor.is_forgotten else predecessor.body["args"]


def _columns(body: Mapping[str, Any], names: Mapping[str, str]) -> Facts:
    return {column: body[name] for name, column in names.items() if name in body}


def _event_key(key: str, event: int) -> str:
    """Return the key under which an event is sent, as `event_key_of` of effects.sql does."""
    return f"{key}#{event}" if event else key


def _add(story: EffectStory, entry: JournalEntry) -> None:
    reader = _READERS.get(entry.kind)
    if reader is not None and entry.run == story.run:
        reader(story, entry, entry.body)


def _note_send(story: EffectStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    story.facts |= {"attempts": body["attempt"]["number"], "sent": moment(body["at"])}


def _note_outcome(story: EffectStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    end = None if body["state"] == "in_doubt" else moment(body["at"])
    story.facts |= {"state": body["state"], "settled": end, "outcome": body.get("outcome")}
    if entry.is_forgotten:
        # What the business answered stays in the row, without what was said there.
        del story.facts["outcome"]


def _note_resolution(story: EffectStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    answer: Facts = {"resolved_by": body["by"]}
    # Who accepts what failed its audit says so in the round; a doubt ends with the note.
    if "approval" not in body:
        answer |= _end_of_doubt(story, body)
        story.facts["settled"] = moment(body["at"])
    story.facts["state"] = body["state"]
    if entry.is_forgotten:
        story.facts.pop("outcome", None)
    if "outcome" in story.facts:
        story.facts["outcome"] = {**(story.facts["outcome"] or {}), **answer}


def _end_of_doubt(story: EffectStory, body: Mapping[str, Any]) -> Facts:
    """Return what the outcome has of a person's word that ends a doubt."""
    is_dead = story.facts.get("state") == "unverified" and body["state"] == "failed"
    return {"note": body.get("note"), **(_DEAD_KEY if is_dead else {})}


def _succeed(effect: str, kind: str, body: Mapping[str, Any]) -> Facts:
    """Return what an entry of another effect says of this one."""
    if kind in ("outcome", "resolved") and effect in (body.get("compensates"), *body.get("frees", ())):
        return {"state": "compensated"}
    if kind == "permitted" and body.get("supersedes") == effect:
        return {"superseded_by": body["effect"]}
    return {}


_READERS: Mapping[str, Callable[[EffectStory, JournalEntry, Mapping[str, Any]], None]] = {
    "resent": _note_send,
    "outcome": _note_outcome,
    "resolved": _note_resolution,
}
