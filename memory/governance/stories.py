"""Readings of the journal for views: entries of some runs, and the numbers where the chains of these runs do not hold.

Rounds, runs and effects rebuild what they show from it; rows of tables are compared with that, and believed in nothing
else than what no entry holds.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString, cast

from memory.governance.journal import JournalEntry
from memory.postgres.database import Connection

CLOSE = timedelta(minutes=1)
"""How far the time of a row may be from that of its entry, which is written a moment later in the same commit."""
# Hashes are computed where the bodies are: those of entries that nobody asks for do not travel.
_READ: LiteralString = """
with named as materialized (
  select x as run from unnest(%(runs)s::text[]) x
  union select j.run from journal j where j.effect = any (%(effects)s::text[])
), chain as (
  select j.run, j.seq, j.prev, j.hash, j.body, j.words, j.salt, j.kind, j.effect,
         j.hash = sha256(j.prev || convert_to(j.run, 'UTF8') || int4send(j.seq) || convert_to(j.body, 'UTF8'))
           as is_whole,
         j.prev = coalesce(lag(j.hash) over w, sha256(convert_to('countersign journal ' || j.run, 'UTF8')))
           and j.seq = coalesce(lag(j.seq) over w, 0) + 1 as follows,
         lead(j.kind) over w as next_kind, lead(j.effect) over w as next_effect
    from named n join journal j on j.run = n.run window w as (partition by j.run order by j.seq)
), picked as (
  select c.*, c.kind = 'forgotten' or c.effect = any (%(effects)s)
         or c.kind = 'proposed' and c.next_effect = any (%(effects)s)
         or c.run = any (%(runs)s) and (
           c.kind = any (%(kinds)s) or %(kinds)s::text[] is null or c.kind = 'proposed' and c.next_kind = 'held'
           or c.kind = 'permitted' and c.body::jsonb ->> 'approval' = %(approval)s) as is_wanted
    from chain c
)
select n.run, r.id is not null as has_row, r.seq as last, r.head,
       p.kind, p.seq, p.prev, p.hash, p.body, p.words, p.salt, p.is_whole, p.follows, p.is_wanted,
       p.words is null or p.body::jsonb ->> 'sealed' = encode(
         sha256(uuid_send(p.salt) || convert_to(p.words, 'UTF8')), 'hex') as is_sealed
  from named n left join runs r on r.id = n.run
  left join picked p on p.run = n.run
   and (p.is_wanted or not p.is_whole or not p.follows or p.next_kind is null)
 order by n.run, p.seq
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """Entries run by run in their order, and what is wrong with the chains that they stand in."""

    entries: tuple[JournalEntry, ...]
    breaks: Mapping[str, int]
    """Number of the first entry that does not hold, by run."""
    rowless: frozenset[str]
    """Runs of which there are entries and no row."""

    def of(self, run: str) -> list[JournalEntry]:
        """Return the entries of one run."""
        return [entry for entry in self.entries if entry.run == run]

    def differences(self, run: str) -> tuple[str, ...]:
        """Return the names of what does not hold, as a view of this run lists them."""
        numbers = [
            f"journal, entry {seq}" if home == run else f"journal of {home}, entry {seq}"
            for home, seq in self.breaks.items()
        ]
        return (*(["run"] if run in self.rowless else []), *numbers)


@dataclass(frozen=True, slots=True)
class Account:
    """What is to be shown of one row: the journal's word where it has one."""

    values: Mapping[str, Any]
    differs: tuple[str, ...]
    """Fields in which the row says otherwise than the journal."""
    row_only: tuple[str, ...]
    """Fields that only the row holds, so that nothing would show a change."""

    def within(self, prefix: str) -> "Account":
        """Return it with its fields named as those of an object in a view."""
        return replace(self, differs=_within(prefix, self.differs), row_only=_within(prefix, self.row_only))


@dataclass(slots=True)
class _Chain:
    """Entries of one run, and the numbers where their chain does not hold."""

    row: Mapping[str, Any]
    """Whether the run has a row, and the end of the chain that it names."""
    entries: list[JournalEntry] = field(default_factory=list[JournalEntry])
    breaks: list[int] = field(default_factory=list[int])
    end: tuple[int, bytes] | None = None
    blanks: set[int] = field(default_factory=set[int])

    def add(self, row: Mapping[str, Any]) -> None:
        entry = JournalEntry(
            row["run"], row["seq"], bytes(row["prev"]), bytes(row["hash"]), row["body"], row["words"], row["salt"]
        )
        self.end = (entry.seq, entry.hash)
        if not all((row["is_whole"], row["follows"], row["is_sealed"])):
            self.breaks.append(entry.seq)
        # Nothing is told by what somebody edited.
        if row["is_wanted"] and row["is_whole"]:
            self._keep(entry if row["is_sealed"] else replace(entry, words=None, salt=None))

    def _keep(self, entry: JournalEntry) -> None:
        self.entries.append(entry)
        if entry.is_forgotten:
            self.blanks.add(entry.seq)
        # Also one whose own words were forgotten since: what it covers is a fact.
        if entry.kind == "forgotten":
            self.blanks -= set(entry.body.get("entries", ()))

    @property
    def first_break(self) -> int | None:
        """Return the number of the first entry that does not hold."""
        return min([*self.breaks, *self.blanks, *self._fork()], default=None)

    @property
    def is_rowless(self) -> bool:
        """Return whether there are entries and no row."""
        return self.end is not None and not self.row["has_row"]

    def _fork(self) -> list[int]:
        """Return the number from which entries are not those that the run's row ends with."""
        last, head = self.end or (0, None)
        if not self.row["has_row"]:
            return []
        if self.row["last"] != last:
            return [min(last, self.row["last"]) + 1]
        return [last] if head not in (None, bytes(self.row["head"])) else []


async def read(
    connection: Connection,
    runs: Collection[str],
    *,
    kinds: Collection[str] | None = None,
    effects: Collection[str] = (),
    approval: str | None = None,
) -> Reading:
    """Return entries of some runs, of some kinds only, and all that name one of the effects, whatever run they are in.

    A proposal comes with what it led to, and `approval` brings the entries that used it up. Each chain is computed
    again up to its head. The caller's transaction must see one snapshot: rows read in it are of the same moment.
    """
    values = {
        "runs": list(runs),
        "effects": list(effects),
        "kinds": kinds if kinds is None else list(kinds),
        "approval": approval,
    }
    chains = _chains(await (await connection.execute(_READ, values)).fetchall())
    breaks = {run: chain.first_break for run, chain in chains.items()}
    return Reading(
        tuple(itertools.chain.from_iterable(chain.entries for chain in chains.values())),
        {run: seq for run, seq in breaks.items() if seq is not None},
        frozenset(run for run, chain in chains.items() if chain.is_rowless),
    )


def _chains(rows: Iterable[Mapping[str, Any]]) -> dict[str, _Chain]:
    chains: dict[str, _Chain] = {}
    for row in rows:
        chain = chains.setdefault(row["run"], _Chain(row))
        if row["seq"] is not None:
            chain.add(row)
    return chains


def reconcile(
    row: Mapping[str, Any] | None, facts: Mapping[str, Any], *, machinery: Iterable[str] = (), name: str = "row"
) -> Account:
    """Return the fields of a row as the journal tells them; `facts` has those that an entry holds, by the same names.

    Of `machinery` no entry ever says anything. Without a row the facts stand alone, and `name` is what differs.
    """
    if row is None:
        return Account(facts, (name,), ())
    word = {field: facts[field] for field in row if field in facts}
    silence = row.keys() - facts.keys() - {*machinery}
    differs = tuple(field for field in word if not _is_same(row[field], word[field]))
    return Account({**row, **word}, differs, tuple(field for field in row if field in silence))


def union(accounts: Iterable[Account]) -> Account:
    """Return the names of several accounts as those of one view, without their values."""
    parts = list(accounts)
    return Account(
        {},
        tuple(name for part in parts for name in part.differs),
        tuple(name for part in parts for name in part.row_only),
    )


def moment(text: str | None) -> datetime | None:
    """Return a time as entries write it."""
    return None if text is None else datetime.fromisoformat(text)


def _within(prefix: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


def _is_same(value: object, fact: object) -> bool:
    if isinstance(value, datetime) and isinstance(fact, datetime):
        return abs(value - fact) < CLOSE
    return _plain(value) == _plain(fact)


def _plain(value: object) -> object:
    return list(cast(Sequence[object], value)) if isinstance(value, list | tuple) else value
