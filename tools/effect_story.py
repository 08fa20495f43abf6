"""One effect as the journal tells it: what was permitted, and what came of it; called by `effect_account`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memory.governance.journal import JournalEntry
from memory.governance.stories import moment

# Before the entry of a permission had it, sends had no entries of their own.
_SINCE_SENDS = "digest"
_DEAD_KEY = {"is_key_dead": True}
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
    story, proposal = EffectStory(effect), None
    ends: list[Facts] = []
    for entry in entries:
        body = entry.body
        if entry.kind == "proposed":
            proposal = entry
        elif body.get("effect") == effect:
            if entry.kind == "permitted" and not story.run:
                _permit(story, entry, proposal, currency)
            elif entry.run == story.run:
                _add(story, entry, body)
        else:
            ends.append(_succeed(effect, entry.kind, body))
    for end in ends:
        story.facts |= end
    return story


def names(effect: str, body: Mapping[str, Any]) -> bool:
    """Return whether an entry is about an effect, or says of another that it took this one back, or its place."""
    return body.get("effect") == effect or bool(_succeed(effect, str(body["kind"]), body))


def _permit(story: EffectStory, entry: JournalEntry, proposal: JournalEntry | None, currency: str) -> None:
    body = entry.body
    story.permission, story.position = body, (entry.run, entry.seq)
    story.facts |= {"id": story.id, "run": entry.run, "approval": body.get("approval"), "superseded_by": None}
    story.facts |= {name: body[name] for name in ("step", "tool", "policy", "amount", "digest") if name in body}
    story.facts |= {"currency": body.get("currency") or currency, "claimed": moment(body["at"])}
    story.facts |= {"state": "claimed", "outcome": None, "settled": None}
    if _SINCE_SENDS in body:
        story.facts |= {"attempts": 1, "sent": moment(body["at"])}
    if proposal is not None and (proposal.run, proposal.seq) == (entry.run, entry.seq - 1):
        words = proposal.body
        fields = {"role": "role", "user": "user_id", "plan": "plan_hash", "digest": "digest"}
        story.facts |= {column: words[name] for name, column in fields.items()}
        story.facts["args"] = {} if proposal.is_forgotten else words["args"]


def _add(story: EffectStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    match entry.kind:
        case "resent":
            story.facts |= {"attempts": body["attempt"]["number"], "sent": moment(body["at"])}
        case "outcome":
            story.facts |= {"state": body["state"], "settled": None, "outcome": body.get("outcome")}
            if body["state"] != "in_doubt":
                story.facts["settled"] = moment(body["at"])
            if entry.is_forgotten:
                # What the business answered stays in the row, without what was said there.
                del story.facts["outcome"]
        case "resolved":
            _resolve(story, entry, body)
        case _:
            pass


def _resolve(story: EffectStory, entry: JournalEntry, body: Mapping[str, Any]) -> None:
    was_unverified = story.facts.get("state") == "unverified"
    story.facts["state"] = body["state"]
    if entry.is_forgotten:
        story.facts.pop("outcome", None)
    if "approval" not in body:
        story.facts["settled"] = moment(body["at"])
    if "outcome" not in story.facts:
        return
    saying = {"resolved_by": body["by"], **({} if "approval" in body else {"note": body["note"]})}
    is_dead = "approval" not in body and was_unverified and body["state"] == "failed"
    story.facts["outcome"] = {**(story.facts["outcome"] or {}), **saying, **(_DEAD_KEY if is_dead else {})}


def _succeed(effect: str, kind: str, body: Mapping[str, Any]) -> Facts:
    """Return what an entry of another effect says of this one."""
    if kind in ("outcome", "resolved") and effect in (body.get("compensates"), *body.get("frees", ())):
        return {"state": "compensated"}
    if kind == "permitted" and body.get("supersedes") == effect:
        return {"superseded_by": body["effect"]}
    return {}
