"""Explanation of one effect, from the request over plan, verdict and approvals to the response; called by the API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memory.governance import journal
from memory.postgres.database import Database
from memory.scope import Access
from tools import effects
from tools.action import Json
from tools.effects import EffectRow

_REQUEST = "select id, requester, thread, correlation, input, plan_hash, created from runs where id = %s"
_APPROVAL = (
    "select a.id, a.round, a.status, a.need, a.exposure, coalesce(a.currency, accounting_currency()) as currency, "
    "a.opened, a.decided, "
    "(select jsonb_agg(jsonb_build_object('by', v.approver, 'decision', v.decision, 'channel', v.channel, "
    "'reason', v.reason, 'key', v.key, "
    "'key_made_by', (select k.made_by from keys k where k.id = v.key), 'at', v.at) order by v.at) "
    "from votes v where v.approval = a.id) as votes "
    "from approvals a where a.id = %s"
)


@dataclass(frozen=True, slots=True)
class EffectRequest:
    """The run that an effect belongs to, and the person who asked for it."""

    id: str
    requester: str
    thread: str
    correlation: str
    input: Mapping[str, Json]
    plan_hash: str | None
    created: datetime


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
    entries: Sequence[EntryReference]


async def explain(database: Database, access: Access, effect: str) -> Explanation:
    """Return the chain of one effect, by its id or its natural key; raises Permanent("not_found")."""
    row = await effects.show(database, access, effect)
    entries = await journal.of_effect(database, access, row.id)
    story = [entry for entry in await _run_entries(database, access, row.run) if _concerns(entry.body, row)]
    (run,) = await database.rows(access, _REQUEST, row.run)
    empty: dict[str, Any] = {}
    permission = next((entry.body for entry in entries if entry.kind == "permitted"), empty)
    return Explanation(
        effect=row,
        request=EffectRequest(**run),
        plan=EffectStep(row.plan_hash, row.step, permission.get("pins", [])),
        memory=_memory_use(story),
        verdict=EffectVerdict(row.policy, permission.get("rules", [])),
        approval=await _approval(database, access, row.approval),
        permit=permission.get("permit"),
        response=row.outcome,
        entries=_in_order([EntryReference(e.run, e.seq, e.kind, e.body["at"]) for e in (*story, *entries)]),
    )


def _in_order(entries: Sequence[EntryReference]) -> list[EntryReference]:
    """Return the entries run by run, the earliest run first, each in the order of its chain."""
    begins: dict[str, str] = {}
    for entry in entries:
        begins[entry.run] = min(entry.at, begins.get(entry.run, entry.at))
    return sorted(entries, key=lambda entry: (begins[entry.run], entry.run, entry.seq))


async def _approval(database: Database, access: Access, approval: str | None) -> EffectApproval | None:
    if approval is None:
        return None
    rows = await database.rows(access, _APPROVAL, approval)
    if not rows:
        return None
    votes = rows[0].pop("votes")
    return EffectApproval(**rows[0], votes=None if votes is None else [ApprovalVote(**vote) for vote in votes])


async def _run_entries(database: Database, access: Access, run: str) -> list[journal.JournalEntry]:
    async with database.transaction(access) as connection:
        return [entry async for entry in journal.export(connection, run)]


def _memory_use(story: Sequence[journal.JournalEntry]) -> MemoryUse:
    """Return the use of memories at the last recall before the effect."""
    recalls = [entry.body for entry in story if entry.kind == "recalled"]
    return MemoryUse(recalls[-1].get("shown", []), recalls[-1].get("cited", [])) if recalls else MemoryUse([], [])


def _concerns(body: Mapping[str, Any], effect: EffectRow) -> bool:
    """Return whether an entry that names no effect belongs to the story of this one."""
    if body.get("effect"):
        return False
    is_approval = effect.approval is not None and body.get("approval") == effect.approval
    is_proposal = body.get("kind") == "proposed" and body.get("digest") == effect.digest
    is_plan = body.get("kind") in ("planned", "recalled") and body.get("plan") == effect.plan_hash
    return is_approval or is_proposal or is_plan or body.get("kind") == "requested"
