"""Explanation of one effect, from the request over plan, verdict and approvals to the response; called by the API.

It is the journal's word. Tables add what no entry holds, and where they say otherwise it is named.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memory.governance import round_story, rounds, stories
from memory.governance.journal import JournalEntry
from memory.governance.round_story import RoundStory
from memory.governance.stories import Account
from memory.postgres.database import Connection, Database
from memory.runs import run_story
from memory.scope import Access
from tools import effect_account
from tools.action import Json
from tools.effect_account import Telling
from tools.effects import EffectRow

_RUN = "select id, requester, thread, correlation, input, plan_hash, created from runs where id = %s"
_KEYS = "select id, made_by from keys where id = any (%s)"
_NOTHING = Account({}, (), ())
_LINKS = {"proposed": "digest", "planned": "plan", "recalled": "plan"}
"""Field by which an entry of a kind belongs to an effect."""
_KINDS = (*round_story.KINDS, "requested", "planned", "recalled", "question", "key_created")


@dataclass(frozen=True, slots=True)
class EffectRequest:
    """The run that an effect belongs to, and the person who asked for it."""

    id: str
    requester: str
    thread: str
    correlation: str
    input: Mapping[str, Json]
    plan_hash: str | None
    created: datetime | None


@dataclass(frozen=True, slots=True)
class EffectStep:
    """Plan step of an effect, with the knowledge versions that the plan rests on."""

    hash: str
    step: str
    pins: Sequence[Json]


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Ids of the memories that the planner could read, and of those that the plan rests on."""

    shown: Sequence[str]
    cited: Sequence[str]


@dataclass(frozen=True, slots=True)
class EffectVerdict:
    """Policy version and rules that permitted an effect."""

    policy: str
    rules: Sequence[str]


@dataclass(frozen=True, slots=True)
class ApprovalVote:
    """One vote of an approval."""

    by: str
    decision: str
    channel: str
    reason: str
    key: str | None
    """Id of the key by which it came; None where none was asked for."""
    key_made_by: str | None
    """The person who made that key, who may be the requester."""
    at: str


@dataclass(frozen=True, slots=True)
class EffectApproval:
    """The approval that an effect consumed, with its votes."""

    id: str
    round: int
    status: str
    need: int
    exposure: int
    currency: str
    opened: datetime
    decided: datetime | None
    votes: Sequence[ApprovalVote] | None


@dataclass(frozen=True, slots=True)
class EffectAudit:
    """A failed audit that was about an effect, and what people said: `approved` means that they accepted it."""

    approval: str
    status: str
    problems: Sequence[str]
    since: datetime
    until: datetime | None
    decider: str | None
    reason: str | None
    votes: Sequence[ApprovalVote]


@dataclass(frozen=True, slots=True)
class EntryReference:
    """Place of one journal entry."""

    run: str
    seq: int
    kind: str
    at: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole chain of one effect; field names are those of its JSON."""

    effect: EffectRow
    request: EffectRequest
    plan: EffectStep
    memory: MemoryUse
    verdict: EffectVerdict
    approval: EffectApproval | None
    permit: str | None
    """First digits of the permit's fingerprint."""
    response: Mapping[str, Json] | None
    audits: Sequence[EffectAudit]
    entries: Sequence[EntryReference]
    differs: Sequence[str]
    """Fields in which tables and journal disagree, and places where the journal does not hold."""
    row_only: Sequence[str]
    """Fields that only a table holds."""


async def explain(database: Database, access: Access, effect: str) -> Explanation:
    """Return the chain of one effect, by its id or its natural key; raises Permanent("not_found")."""
    authority = f"authority-{access.principal.tenant}"
    async with database.snapshot(access) as connection:
        telling = await effect_account.read(connection, effect, chains=[authority], kinds=_KINDS)
        run = await (await connection.execute(_RUN.encode(), [telling.run])).fetchone()
        entries, acts = telling.reading.of(telling.run), telling.reading.of(authority)
        tales = round_story.tell(entries, acts, telling.currency, telling.time)
        approval = telling.effect.approval or ""
        book = await rounds.beside_rows(connection, telling.run, tales, approval)
        makers = await _makers(connection, tales, acts)
    request = _request(run, entries, telling.run)
    question, votes = book.account(approval) if approval else _NOTHING, book.votes_of(approval)
    whole = stories.union(
        [
            telling.account.within("effect"),
            request.within("request"),
            question.within("approval"),
            votes.within("approval"),
            makers.within("keys"),
        ]
    )
    return Explanation(
        **_facts(telling, entries, {id: tale for id, tale in tales.items() if _is_about(tale, telling)}, makers),
        request=EffectRequest(**request.values),
        approval=_effect_approval(question.values, _votes(votes.values.values(), makers.values)),
        differs=(*whole.differs, *telling.reading.differences(telling.run)),
        row_only=whole.row_only,
    )


def _facts(
    telling: Telling, entries: Sequence[JournalEntry], audits: Mapping[str, RoundStory], makers: Account
) -> dict[str, Any]:
    """Return the parts of an explanation that only the journal tells."""
    row, permission = telling.effect, telling.story.permission
    story = [entry for entry in entries if _concerns(entry.body, row, {row.approval, *audits})]
    references = [EntryReference(e.run, e.seq, e.kind, e.body["at"]) for e in (*story, *telling.entries)]
    return {
        "effect": row,
        "plan": EffectStep(row.plan_hash, row.step, permission.get("pins", [])),
        "memory": _memory_use(story),
        "verdict": EffectVerdict(row.policy, permission.get("rules", [])),
        "permit": permission.get("permit"),
        "response": row.outcome,
        "audits": [_audit(id, tale, makers.values) for id, tale in audits.items()],
        "entries": _in_order(references),
    }


def _request(row: Mapping[str, Any] | None, entries: Iterable[JournalEntry], run: str) -> Account:
    """Return the columns of the run that an explanation has."""
    facts = run_story.tell(entries).facts
    blank: dict[str, Any] = {
        "id": run,
        "requester": "",
        "thread": "",
        "correlation": "",
        "input": {},
        "plan_hash": None,
        "created": None,
    }
    if row is None:
        return Account({name: facts.get(name, value) for name, value in blank.items()}, (), ())
    return stories.reconcile(row, facts)


async def _makers(connection: Connection, tales: Mapping[str, RoundStory], acts: Iterable[JournalEntry]) -> Account:
    """Return who made each key by which a vote came."""
    keys = [str(vote["key"]) for tale in tales.values() for vote in tale.votes.values() if vote.get("key")]
    if not keys:
        return _NOTHING
    rows = await (await connection.execute(_KEYS.encode(), [keys])).fetchall()
    makers = {row["id"]: row["made_by"] for row in rows}
    return stories.reconcile({**dict.fromkeys(keys), **makers}, _makers_by_acts(keys, acts))


def _makers_by_acts(keys: Collection[str], acts: Iterable[JournalEntry]) -> dict[str, str | None]:
    """Return who made keys, by the chain of administration; nobody made what the machinery made."""
    bodies = [entry.body for entry in acts if entry.kind == "key_created" and entry.body["id"] in keys]
    return {body["id"]: None if body["by"] == body["channel"] else body["by"] for body in bodies}


def _effect_approval(values: Mapping[str, Any], votes: Sequence[ApprovalVote]) -> EffectApproval | None:
    names = ("id", "round", "status", "need", "exposure", "currency", "opened", "decided")
    return EffectApproval(**{name: values[name] for name in names}, votes=votes or None) if values else None


def _votes(rows: Iterable[Mapping[str, Any]], makers: Mapping[str, Any]) -> list[ApprovalVote]:
    return [
        ApprovalVote(
            by=row["approver"],
            decision=row["decision"],
            channel=row["channel"],
            reason=row["reason"],
            key=row.get("key"),
            key_made_by=makers.get(str(row.get("key"))),
            at=row["at"].isoformat(),
        )
        for row in rows
    ]


def _is_about(tale: RoundStory, telling: Telling) -> bool:
    """Return whether a round asked about the effect after it was done; one that names none is about all of its run."""
    if tale.facts["kind"] != "audit":
        return False
    subjects = {item["effect"] for item in (tale.items or {}).values() if item["effect"]}
    return telling.story.id in subjects or not subjects


def _audit(id: str, tale: RoundStory, makers: Mapping[str, Any]) -> EffectAudit:
    facts = tale.facts
    return EffectAudit(
        approval=id,
        status=facts.get("status", "open"),
        problems=tale.problems,
        since=tale.start,
        until=facts["decided"],
        decider=facts["decided_by"],
        reason=facts.get("reason"),
        votes=_votes(tale.votes.values(), makers),
    )


def _in_order(entries: Sequence[EntryReference]) -> list[EntryReference]:
    """Return the entries run by run, the earliest run first, each in the order of its chain."""
    begins: dict[str, str] = {}
    for entry in entries:
        begins[entry.run] = min(entry.at, begins.get(entry.run, entry.at))
    return sorted(entries, key=lambda entry: (begins[entry.run], entry.run, entry.seq))


def _memory_use(story: Sequence[JournalEntry]) -> MemoryUse:
    """Return the use of memories at the last recall before the effect."""
    recalls = [entry.body for entry in story if entry.kind == "recalled"]
    return MemoryUse(recalls[-1].get("shown", []), recalls[-1].get("cited", [])) if recalls else MemoryUse([], [])


def _concerns(body: Mapping[str, Any], effect: EffectRow, questions: Collection[str | None]) -> bool:
    """Return whether an entry that names no effect belongs to the story of this one, or of the questions about it."""
    if body.get("effect"):
        return False
    kind = str(body.get("kind"))
    link = (kind, body.get(_LINKS.get(kind, "kind")))
    links = [("requested", "requested"), ("proposed", effect.digest)]
    links += [(name, str(effect.plan_hash)) for name in ("planned", "recalled")]
    return link in links or (body.get("approval") is not None and body["approval"] in questions)
