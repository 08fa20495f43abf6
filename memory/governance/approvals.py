"""Rounds of approval and the votes on them; the gateway opens rounds, the API shows them and counts people's votes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from psycopg.types.json import Jsonb

from memory.errors import Permanent
from memory.governance import round_pages
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access

ApprovalStatus = Literal["open", "approved", "rejected", "edited", "taken_back", "expired", "void"]
ApprovalKind = Literal["action", "audit"]
"""`action` asks whether something may be done, `audit` what is to become of something that was done."""
VoteKind = Literal["approve", "reject", "edit", "take_back", "ask"]
VoteCode = Literal[
    "ok",
    "not_found",
    "forbidden",
    "approval_decided",
    "approval_expired",
    "approval_void",
    "duplicate_vote",
    "needs_another_group",
    "over_limit",
    "requester_excluded",
    "author_excluded",
    "no_approver_left",
    "wrong_decision",
    "wrong_nonce",
]

_STATUSES: tuple[ApprovalStatus, ...] = get_args(ApprovalStatus)
_KINDS: tuple[ApprovalKind, ...] = get_args(ApprovalKind)
_VOTE_KINDS: tuple[VoteKind, ...] = get_args(VoteKind)
_VOTE_CODES: tuple[VoteCode, ...] = get_args(VoteCode)

CURRENCY = "coalesce(currency, accounting_currency()) as currency"
"""An amount's currency, as a column."""
# An open question past its time reads as expired even before the sweep has closed it.
_STATUS = "case when status = 'open' and expires <= clock_timestamp() then 'expired' else status end as status"
COLUMNS = f"""id, kind, run, round, requester, {_STATUS}, reason, need, groups, requester_excluded, authors, nonce,
  exposure, {CURRENCY}, step, plan_hash, policy, rules, pins, shown, edited, proposal, taken_over_by, decided_by,
  opened, expires, decided, valid_until,
  (select count(*) from votes v where v.approval = approvals.id and v.decision = 'approve'
      and v.approver <> all (approvals.authors)) as approvals"""
"""The columns that `approval_of` reads."""


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """The state of a round as the gate node reads it."""

    status: ApprovalStatus
    reason: str | None
    new_arguments: Mapping[str, Any] | None
    """What the action should be called with instead, if somebody edited it."""


@dataclass(frozen=True, slots=True)
class VoteResult:
    """The effect of one person's vote; `code` is `ok` or the reason why it does not count."""

    code: VoteCode
    run: str | None
    status: ApprovalStatus | None
    votes: int
    need: int
    decider: str | None
    """The person whose vote closed the round."""
    wakes_run: bool
    """True if the run must be woken, in the same transaction."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One round: a question to people about one action, or about several together."""

    id: str
    kind: ApprovalKind
    run: str
    round: int
    requester: str
    status: ApprovalStatus
    reason: str | None
    need: int
    """Number of people who must approve."""
    groups: tuple[str, ...]
    """The groups of which one must be the voter's; empty for all people."""
    requester_excluded: bool
    authors: tuple[str, ...]
    """Who wrote what is asked, besides the requester; they do not vote.

    They are the people who edited it, and those who published what the plan rests on and whom nobody countersigned.
    """
    proposal: Mapping[str, Any] | None
    """An edit that was refused because nobody would be left to approve it: `by`, `edited`, `reason`, `nonce`, `at`."""
    taken_over_by: str | None
    """The requester, if they made the edit that ended this round their own."""
    nonce: str
    exposure: int
    """What is at stake, in minor units; people's limits in its currency are compared with it."""
    currency: str
    step: str
    plan_hash: str
    policy: str
    rules: tuple[str, ...]
    pins: tuple[Mapping[str, Any], ...]
    """Id and version of each piece of knowledge that the plan rests on."""
    question: Mapping[str, Any]
    """What people are shown: title, arguments, evidence and backout, as the gateway composed it."""
    new_arguments: Mapping[str, Any] | None
    decider: str | None
    opened_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    valid_until: datetime | None
    """When an approval that nobody used lapses."""
    approvals: int
    """Number of people who have approved so far."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's recorded vote."""

    approver: str
    decision: VoteKind
    reason: str
    channel: str
    key: str | None
    """Id of the key by which it came; None where none is asked for, as in a notebook."""
    at: datetime


@dataclass(frozen=True, slots=True)
class ApprovalItem:
    """One action of a round."""

    step: str
    tool: str
    amount: int
    currency: str
    digest: str
    consumed_at: datetime | None
    """When an effect used it up."""
    effect: str | None


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """A round with all that belongs to it."""

    approval: Approval
    votes: tuple[Vote, ...]
    items: tuple[ApprovalItem, ...]
    predecessor: Approval | None
    """The round before it in the same run."""
    edits: tuple[Approval, ...]
    """Earlier rounds of this question that an edit ended, in their order."""


async def decide(
    connection: Connection,
    *,
    approval: str,
    nonce: str,
    decision: VoteKind,
    reason: str,
    channel: str,
    new_arguments: Mapping[str, Any] | None = None,
    demand: Mapping[str, Any] | None = None,
    credential: str | None = None,
) -> VoteResult:
    """Count one vote of the entered person; refusals come back as codes because each is journaled and commits.

    `demand` says whom policy would ask after an edit: `need`, `groups`, `exposure`; unset means as before. `credential`
    is the hash of the key by which it came, in hexadecimal; the vote then names that key.
    """
    body = {"approval": approval, "nonce": nonce, "decision": decision, "reason": reason, "channel": channel}
    body = {**body, "edited": new_arguments, "demand": demand, "credential": credential}
    cursor = await connection.execute("select * from decide(%s)", [Jsonb(body)])
    row = await cursor.fetchone() or {}
    return VoteResult(
        code=member(_VOTE_CODES, row["code"], "decide"),
        run=row["run"],
        status=None if row["status"] is None else member(_STATUSES, row["status"], "decide"),
        votes=row["votes"],
        need=row["need"],
        decider=row["decided_by"],
        wakes_run=row["woken"],
    )


async def view(database: Database, access: Access, approval: str) -> ApprovalView:
    """Return the state of a round; raises Permanent("not_found")."""
    rows = await database.rows(access, f"select {_STATUS}, reason, edited from approvals where id = %s", approval)
    if not rows:
        raise unknown(approval)
    (row,) = rows
    return ApprovalView(member(_STATUSES, row["status"], "approvals"), row["reason"], row["edited"])


async def show(database: Database, access: Access, approval: str) -> ApprovalRecord:
    """Return one round with its votes, its actions and the round before it; raises Permanent("not_found")."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute(f"select {COLUMNS} from approvals where id = %s".encode(), [approval])
        row = await cursor.fetchone()
        if row is None:
            raise unknown(approval)
        cursor = await connection.execute(
            "select approver, decision, reason, channel, key, at from votes where approval = %s order by at", [approval]
        )
        votes = await cursor.fetchall()
        cursor = await connection.execute(
            f"select step, tool, amount, {CURRENCY}, digest, consumed, effect from approval_items "
            "where approval = %s order by step, digest".encode(),
            [approval],
        )
        items = await cursor.fetchall()
        cursor = await connection.execute(
            f"select {COLUMNS} from approvals where run = %s and round = %s - 1".encode(), [row["run"], row["round"]]
        )
        predecessor = await cursor.fetchone()
        cursor = await connection.execute(
            f"select {COLUMNS} from approvals where run = %s and step = any (%s) and round < %s "
            "and status = 'edited' order by round".encode(),
            [row["run"], [row["step"], *(item["step"] for item in items)], row["round"]],
        )
        edits = await cursor.fetchall()
    return ApprovalRecord(
        approval_of(row),
        tuple(map(vote_of, votes)),
        tuple(map(item_of, items)),
        None if predecessor is None else approval_of(predecessor),
        tuple(map(approval_of, edits)),
    )


async def ls(
    database: Database,
    access: Access,
    *,
    status: ApprovalStatus | None = None,
    run: str | None = None,
    limit: int = 50,
    before: tuple[datetime, str] | None = None,
) -> list[Approval]:
    """Return rounds, newest first; `status` and `run` narrow the list, `before` the (opened, id) to go on from."""
    query, values = round_pages.page(COLUMNS, status=status, run=run, before=before, limit=limit)
    return [approval_of(row) for row in await database.rows(access, query, *values)]


def approval_of(row: Mapping[str, Any]) -> Approval:
    """Return a row of `COLUMNS` as a round."""
    plain = ("id", "run", "round", "requester", "reason", "need", "requester_excluded", "nonce", "step")
    later = ("exposure", "currency", "plan_hash", "policy", "valid_until", "approvals", "proposal", "taken_over_by")
    return Approval(
        **{name: row[name] for name in (*plain, *later)},
        kind=member(_KINDS, row["kind"], "approvals"),
        status=member(_STATUSES, row["status"], "approvals"),
        groups=tuple(row["groups"]),
        authors=tuple(row["authors"]),
        rules=tuple(row["rules"]),
        pins=tuple(row["pins"]),
        question=row["shown"],
        new_arguments=row["edited"],
        decider=row["decided_by"],
        opened_at=row["opened"],
        expires_at=row["expires"],
        decided_at=row["decided"],
    )


def vote_of(row: Mapping[str, Any]) -> Vote:
    """Return a row of a vote."""
    decision = member(_VOTE_KINDS, row["decision"], "votes")
    return Vote(row["approver"], decision, row["reason"], row["channel"], row["key"], row["at"])


def item_of(row: Mapping[str, Any]) -> ApprovalItem:
    """Return a row of an action that a round asks about."""
    names = ("step", "tool", "amount", "currency", "digest", "effect")
    return ApprovalItem(**{name: row[name] for name in names}, consumed_at=row["consumed"])


def unknown(approval: str) -> Permanent:
    """Return the refusal of an approval that is not there."""
    return Permanent("not_found", f"there is no approval {approval!r}; `countersign approvals ls` lists the open ones")
