"""Rounds of approval as people are shown them: the journal's word, and where the tables say otherwise.

The API shows one round with it, and the explanation of an effect the rounds that led to it and followed it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from memory.governance import round_story, stories
from memory.governance.approvals import (
    COLUMNS,
    CURRENCY,
    Approval,
    ApprovalRecord,
    approval_of,
    item_of,
    unknown,
    vote_of,
)
from memory.governance.round_story import RoundStory
from memory.governance.stories import Account, Reading
from memory.postgres.database import Connection, Database
from memory.scope import Access

_ROUNDS = f"select {COLUMNS} from approvals where run = %s or id = %s"
_VOTES = (
    "select approval, approver, decision, reason, channel, nonce, key, at from votes "
    "where approval = any (%s) order by at"
)
_ITEMS = (
    f"select step, tool, amount, {CURRENCY}, digest, consumed, effect from approval_items where approval = %s "
    "order by step, digest"
)
_TERMS = """
select coalesce((select a.run from approvals a where a.id = %s), '') as run, accounting_currency() as currency,
       clock_timestamp() as now
"""
# Looked through only if the row does not lead to the entry: it was changed, or is gone.
_SEARCH = "select run from journal where kind = 'held' and body::jsonb ->> 'approval' = %s limit 1"
_MACHINERY = ("nonce",)
_BLANK: Mapping[str, Any] = {
    "round": 0, "requester": "", "requester_excluded": True, "authors": [], "nonce": "", "policy": "", "rules": [],
    "pins": [], "shown": {}, "status": "open", "reason": None, "edited": None, "valid_until": None, "expires": None,
    "approvals": 0,
}  # fmt: skip
"""What is shown of a round without a row where no entry says anything."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RoundAccount:
    """One round with all that belongs to it, as the journal tells it."""

    record: ApprovalRecord
    differs: tuple[str, ...]
    """Fields in which tables and journal disagree, and places where the journal does not hold."""
    row_only: tuple[str, ...]
    """Fields that only a table holds."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a run: their stories beside the rows of their tables."""

    stories: Mapping[str, RoundStory]
    rows: Mapping[str, Row]
    votes: Sequence[Row]

    def account(self, id: str) -> Account:
        """Return the columns of one round."""
        story, row = self.stories.get(id), self.rows.get(id)
        if story is None:
            return Account(row or {}, ("row",), tuple(row or ()))
        facts = {**story.facts, "proposal": _proposal(story.facts["proposal"], row)}
        account = stories.reconcile(row, facts, machinery=_MACHINERY)
        return account if row is not None else Account({**_BLANK, **facts}, account.differs, ())

    def votes_of(self, id: str) -> Account:
        """Return the votes on one round as rows, by voter."""
        rows = {row["approver"]: row for row in self.votes if row["approval"] == id}
        story = self.stories.get(id)
        return _merge("votes", rows, None if story is None else story.votes, {"key": None})

    def neighbours(self, id: str) -> tuple[str | None, list[str]]:
        """Return the round before one, and the earlier ones about the same steps that an edit ended, in their order."""
        accounts = {name: self.account(name).values for name in {**self.rows, **self.stories}}
        current, story = accounts[id], self.stories.get(id)
        steps = {current["step"]} if story is None else story.steps
        siblings = _earlier(accounts, current)
        predecessor = next((name for name in siblings if accounts[name]["round"] == current["round"] - 1), None)
        is_edit = ("edited", True)
        return predecessor, [
            name for name in siblings if (accounts[name]["status"], accounts[name]["step"] in steps) == is_edit
        ]


def _earlier(accounts: Mapping[str, Row], current: Row) -> list[str]:
    """Return the rounds of the same run before one, in their order."""
    order = sorted(accounts, key=lambda name: accounts[name]["round"])
    names = [name for name in order if accounts[name]["run"] == current["run"]]
    return [name for name in names if accounts[name]["round"] < current["round"]]


async def show(database: Database, access: Access, approval: str) -> RoundAccount:
    """Return one round with its votes, actions and the rounds before it; raises Permanent("not_found")."""
    authority = f"authority-{access.principal.tenant}"
    async with database.snapshot(access) as connection:
        terms = await _first(connection, _TERMS, approval)
        rounds, reading = await _read(connection, terms["run"], authority, approval, terms=terms)
        run = terms["run"]
        if approval not in rounds.stories and (home := await _first(connection, _SEARCH, approval)):
            run = home["run"]
            rounds, reading = await _read(connection, run, authority, approval, terms=terms)
        items = {row["digest"]: row for row in await _all(connection, _ITEMS, approval)}
    if approval not in {**rounds.rows, **rounds.stories}:
        raise unknown(approval)
    return _account(rounds, approval, items, reading.differences(run))


async def _read(
    connection: Connection, run: str, authority: str, approval: str, *, terms: Row
) -> tuple[Rounds, Reading]:
    reading = await stories.read(connection, [run, authority], kinds=round_story.KINDS, approval=approval)
    tales = round_story.tell(reading.of(run), reading.of(authority), terms["currency"], terms["now"])
    return await beside_rows(connection, run, tales, approval), reading


async def beside_rows(connection: Connection, run: str, tales: Mapping[str, RoundStory], approval: str) -> Rounds:
    """Return the rounds of a run beside their rows, and one of them wherever its row says that it belongs.

    The caller's transaction must see one snapshot.
    """
    rows = {row["id"]: row for row in await _all(connection, _ROUNDS, run, approval)}
    return Rounds(tales, rows, await _all(connection, _VOTES, [*{**rows, **tales}]))


def _account(rounds: Rounds, id: str, items: Mapping[str, Row], breaks: Sequence[str]) -> RoundAccount:
    account, votes = rounds.account(id), rounds.votes_of(id)
    story = rounds.stories.get(id)
    actions = _merge("items", items, None if story is None else story.items, {})
    predecessor, edits = rounds.neighbours(id)
    neighbours = {name: rounds.account(name) for name in (predecessor, *edits) if name}
    past: dict[str | None, Approval] = {name: approval_of(part.values) for name, part in neighbours.items()}
    record = ApprovalRecord(
        approval_of(account.values),
        tuple(map(vote_of, votes.values.values())),
        tuple(map(item_of, sorted(actions.values.values(), key=lambda item: (item["step"], item["digest"])))),
        past.get(predecessor),
        tuple(map(past.__getitem__, edits)),
    )
    whole = stories.union([account, votes, actions])
    before = stories.union(part.within(f"rounds.{name}") for name, part in neighbours.items())
    return RoundAccount(record, (*whole.differs, *before.differs, *breaks), whole.row_only)


def _merge(name: str, rows: Mapping[str, Row], facts: Mapping[str, Row] | None, blank: Row) -> Account:
    """Return rows by key as the journal tells them; those that it does not know are left out."""
    if facts is None:
        return Account(dict(rows), (), (name,) if rows else ())
    parts = {key: _part(f"{name}.{key}", rows.get(key), fact) for key, fact in facts.items()}
    strangers = Account({}, tuple(f"{name}.{key}" for key in rows if key not in facts), ())
    whole = stories.union([strangers, *parts.values()])
    return replace(whole, values={key: {**blank, **part.values} for key, part in parts.items()})


def _part(name: str, row: Row | None, fact: Row) -> Account:
    account = stories.reconcile(row, fact, machinery=("approval",), name=name)
    return account if row is None else account.within(name)


def _proposal(fact: Row | None, row: Row | None) -> Row | None:
    """Return the edit that a round keeps; its nonce and what policy makes of it are its row's alone."""
    if fact is None:
        return None
    kept: Row = (row or {}).get("proposal") or {"nonce": "", "demand": None}
    at = kept.get("at")
    is_near = at and abs(datetime.fromisoformat(at) - datetime.fromisoformat(fact["at"])) < stories.CLOSE
    return {**kept, **fact, "at": at if is_near else fact["at"]}


async def _first(connection: Connection, query: str, *values: object) -> dict[str, Any]:
    return await (await connection.execute(query.encode(), values)).fetchone() or {}


async def _all(connection: Connection, query: str, *values: object) -> list[dict[str, Any]]:
    return await (await connection.execute(query.encode(), values)).fetchall()
