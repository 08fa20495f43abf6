"""What happened, in an order that cannot be changed unseen; everybody appends, people and streams read.

Facts are chained in clear. What was said stands beside the chain, which holds a salted digest of it: words can be
forgotten, and the chain still holds.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from memory.errors import LeaseLost, Permanent
from memory.postgres.database import Connection, Database
from memory.scope import Access

_CHAINS = b"""
  select coalesce(r.id, j.run) as run, r.seq as last, r.head, j.seq, j.prev, j.hash, j.body, j.words, j.salt
    from runs r full join journal j on j.run = r.id
   where %s::text is null or coalesce(r.id, j.run) = %s order by 1, j.seq
"""
_ENTRY = "run, seq, prev, hash, body, words, salt"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One recorded fact; `seq` counts from 1 within its run, without gaps."""

    run: str
    seq: int
    prev: bytes
    hash: bytes
    text: str
    """The facts exactly as they were hashed; `sealed` among them is the digest of salt and words."""
    words: str | None = None
    """What was said, as an object; None if nothing was, or if it was forgotten."""
    salt: UUID | None = None

    @property
    def body(self) -> dict[str, Any]:
        """Return facts and words as one object."""
        body = {**json.loads(self.words or "{}"), **json.loads(self.text)}
        body.pop("sealed", None)
        return body

    @property
    def kind(self) -> str:
        """Return what sort of fact this is."""
        return json.loads(self.text)["kind"]

    @property
    def is_forgotten(self) -> bool:
        """Return whether words are missing that were here."""
        return self.words is None and "sealed" in json.loads(self.text)

    @property
    def is_sealed(self) -> bool:
        """Return whether the words are those that the chain knows of; true for words that are gone."""
        if self.words is None or self.salt is None:
            return self.words is None
        return json.loads(self.text).get("sealed") == seal(self.words, self.salt)


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a run's chain does not hold."""

    run: str
    seq: int
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking the chains found."""

    runs: int
    entries: int
    breaks: list[Break] = field(default_factory=list[Break])

    @property
    def ok(self) -> bool:
        """Return whether every chain holds."""
        return not self.breaks


async def append(
    database: Database, access: Access, run: str, body: Mapping[str, Any], *, fence: int | None = None
) -> tuple[bool, dict[str, Any]]:
    """Record a fact with at least a `kind`; one with a `key` is recorded at most once per run.

    Returns whether it is new, and the recorded body. Raises LeaseLost if `fence` is not the run's any more, and
    Permanent("forbidden") for the kinds that only the gateway, approvals and authority write.
    """
    row = await database.call(access, "append", run, fence, body)
    if row["code"] == "lease_lost":
        raise LeaseLost(run)
    if row["code"] == "not_found":
        raise Permanent("not_found", f"there is no run {run!r} to record anything of")
    if row["code"] == "forbidden":
        raise Permanent("forbidden", f"entries of kind {body.get('kind')!r} are written by the gateway alone")
    return row["fresh"], row["body"]


async def read(database: Database, access: Access, run: str, *, after: int = 0, limit: int = 500) -> list[JournalEntry]:
    """Return entries of a run in order, those after `after`, at most `limit`."""
    query = f"select {_ENTRY} from journal where run = %s and seq > %s order by seq limit %s"
    return [_entry(row) for row in await database.rows(access, query, run, after, limit)]


async def of_effect(database: Database, access: Access, effect: str) -> list[JournalEntry]:
    """Return the entries that name an effect, in order."""
    query = f"select {_ENTRY} from journal where effect = %s order by seq"
    return [_entry(row) for row in await database.rows(access, query, effect)]


async def export(connection: Connection, run: str | None = None) -> AsyncIterator[JournalEntry]:
    """Yield every visible entry, run by run in order, within the caller's transaction."""
    async with connection.cursor(name="journal_export") as cursor:
        await cursor.execute(
            f"select {_ENTRY} from journal where %s::text is null or run = %s order by run, seq".encode(),
            [run, run],
        )
        async for row in cursor:
            yield _entry(row)


async def verify(connection: Connection, run: str | None = None) -> Verification:
    """Re-compute the chains of every visible run against the heads in the run rows, within the caller's transaction.

    Finds entries edited, deleted (the last ones too, by the head), inserted or reordered, and words changed or gone
    without an entry that says they were forgotten. It does not find a whole suffix re-hashed together with its run row;
    signed heads for that are not built yet.
    """
    chains: dict[str, _Chain] = {}
    entries = 0
    async with connection.cursor(name="journal_verify") as cursor:
        # One statement, hence one snapshot: runs that grow meanwhile do not look broken.
        await cursor.execute(_CHAINS, [run, run])
        async for row in cursor:
            chain = chains.setdefault(row["run"], _Chain(row["run"], row["last"], row["head"]))
            if row["seq"] is not None:
                entries += 1
                chain.add(_entry(row))
    if run is not None and not chains:
        raise Permanent("not_found", f"there is no run {run!r} to verify")
    broken = [found for chain in chains.values() if (found := chain.close())]
    return Verification(len(chains), entries, sorted(broken, key=lambda b: (b.run, b.seq)))


def genesis(run: str) -> bytes:
    """Return the head of a chain without entries, bound to its run."""
    return hashlib.sha256(f"countersign journal {run}".encode()).digest()


def chain_hash(prev: bytes, run: str, seq: int, text: str) -> bytes:
    """Return the hash of an entry: SHA-256 over previous hash, run, sequence (4 bytes, big endian) and body."""
    return hashlib.sha256(prev + run.encode() + seq.to_bytes(4, "big", signed=True) + text.encode()).digest()


def seal(words: str, salt: UUID) -> str:
    """Return what the chain holds of words, hexadecimal: SHA-256 over the salt's 16 bytes and the text."""
    return hashlib.sha256(salt.bytes + words.encode()).hexdigest()


class _Chain:
    """Re-computes one run's chain, entry by entry."""

    def __init__(self, run: str, last: int | None, head: bytes | None) -> None:
        self._run = run
        self._recorded = None if last is None or head is None else (last, bytes(head))
        self._head = genesis(run)
        self._seq = 0
        self._found: Break | None = None
        self._gone: set[int] = set()

    def add(self, entry: JournalEntry) -> None:
        if self._found:
            return
        self._seq += 1
        if entry.seq != self._seq:
            self._found = Break(self._run, self._seq, f"entry {self._seq} is missing; {entry.seq} follows instead")
        elif entry.prev != self._head:
            self._found = Break(self._run, entry.seq, "it does not continue the entry before it")
        elif entry.hash != chain_hash(entry.prev, self._run, entry.seq, entry.text):
            self._found = Break(self._run, entry.seq, "its content is not what was recorded")
        elif not entry.is_sealed:
            self._found = Break(self._run, entry.seq, "its words are not what was recorded")
        self._head = entry.hash
        self._note_forgotten(entry)

    def _note_forgotten(self, entry: JournalEntry) -> None:
        if entry.is_forgotten:
            self._gone.add(entry.seq)
        elif entry.kind == "forgotten":
            self._gone -= set(entry.body.get("entries", ()))

    def close(self) -> Break | None:
        """Return the first break, also one between the last entry and the head in the run's row."""
        if self._found:
            return self._found
        if self._recorded == (self._seq, self._head):
            return (
                Break(self._run, min(self._gone), "its words are gone, and nobody forgot them") if self._gone else None
            )
        if self._recorded is None:
            return Break(self._run, 1, "entries without a run")
        seq = min(self._seq, self._recorded[0]) + 1
        return Break(self._run, seq, f"the run's head is entry {self._recorded[0]}, the journal ends with {self._seq}")


def _entry(row: Mapping[str, Any]) -> JournalEntry:
    prev, hash = bytes(row["prev"]), bytes(row["hash"])
    return JournalEntry(row["run"], row["seq"], prev, hash, row["body"], row["words"], row["salt"])
