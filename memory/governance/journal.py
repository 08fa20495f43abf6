"""Append-only journal of hash-chained entries; the gateway and the nodes append, streams and the API read and verify.

Facts are chained in clear. Words stand beside the chain, which holds their salted digest: they can be forgotten, and
the chain still verifies.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID

from memory.errors import LeaseLost, Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access

_CHAINS = b"""
  select coalesce(r.id, j.run) as run, r.seq as last, r.head, j.seq, j.prev, j.hash, j.body, j.words, j.salt
    from runs r full join journal j on j.run = r.id
   where %s::text is null or coalesce(r.id, j.run) = %s order by 1, j.seq
"""
_ENTRY = "run, seq, prev, hash, body, words, salt"
_AppendCode = Literal["ok", "lease_lost", "not_found", "forbidden"]
_PROOFS = frozenset({"sealed", "rows"})
_APPEND_CODES: tuple[_AppendCode, ...] = get_args(_AppendCode)


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
    """What people and models said, as an object; None if nothing was said, or if it was forgotten."""
    salt: UUID | None = None

    @property
    def body(self) -> Mapping[str, Any]:
        """Return facts and words as one object, without seal and stamps; its fields depend on the kind.

        Nodes record kinds of their own.
        """
        body = {**json.loads(self.words or "{}"), **json.loads(self.text)}
        return {name: value for name, value in body.items() if name not in _PROOFS}

    @property
    def kind(self) -> str:
        """Return the kind of the fact, such as `permitted` or `outcome`."""
        return json.loads(self.text)["kind"]

    @property
    def is_forgotten(self) -> bool:
        """Return whether the entry had words that were forgotten."""
        return self.words is None and "sealed" in json.loads(self.text)

    @property
    def is_sealed(self) -> bool:
        """Return whether the words have the digest that the chain holds; true for words that were forgotten."""
        if self.words is None or self.salt is None:
            return self.words is None
        return json.loads(self.text).get("sealed") == seal(self.words, self.salt)


@dataclass(frozen=True, slots=True)
class Recording:
    """The entry that stands after an append: the new one, or the earlier one of the same key."""

    is_new: bool
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a run's chain does not hold."""

    run: str
    seq: int
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying chains."""

    runs: int
    entries: int
    breaks: list[Break] = field(default_factory=list[Break])

    @property
    def ok(self) -> bool:
        """Return whether every chain holds."""
        return not self.breaks


async def append(
    database: Database, access: Access, run: str, body: Mapping[str, Any], *, fence: int | None = None
) -> Recording:
    """Record a fact with at least a `kind`; one with a `key` is recorded at most once per run.

    Raises LeaseLost if `fence` is not the run's any more, and
    Permanent("forbidden") for the kinds that only the gateway, approvals and authority write.
    """
    row = await database.call(access, "append", run, fence, body)
    match member(_APPEND_CODES, row["code"], "append"):
        case "ok":
            return Recording(row["fresh"], row["body"])
        case "lease_lost":
            raise LeaseLost(run)
        case "not_found":
            raise Permanent("not_found", f"there is no run {run!r} to record anything of")
        case "forbidden":
            raise Permanent("forbidden", f"entries of kind {body.get('kind')!r} are written by the gateway alone")


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
    breaks = [gap for chain in chains.values() if (gap := chain.close())]
    return Verification(len(chains), entries, sorted(breaks, key=lambda b: (b.run, b.seq)))


def genesis(run: str) -> bytes:
    """Return the head of a chain without entries, bound to its run."""
    return hashlib.sha256(f"countersign journal {run}".encode()).digest()


def chain_hash(prev: bytes, run: str, seq: int, text: str) -> bytes:
    """Return the hash of an entry: SHA-256 over previous hash, run, sequence (4 bytes, big endian) and body."""
    return hashlib.sha256(prev + run.encode() + seq.to_bytes(4, "big", signed=True) + text.encode()).digest()


def seal(words: str, salt: UUID) -> str:
    """Return the digest of words that the chain holds, hexadecimal: SHA-256 over the salt's 16 bytes and the text."""
    return hashlib.sha256(salt.bytes + words.encode()).hexdigest()


class _Chain:
    """The chain of one run, computed again entry by entry up to the first break."""

    def __init__(self, run: str, last: int | None, head: bytes | None) -> None:
        self._run = run
        self._end = None if last is None or head is None else (last, bytes(head))
        self._head = genesis(run)
        self._seq = 0
        self._break: Break | None = None
        self._missing_words: set[int] = set()

    def add(self, entry: JournalEntry) -> None:
        if self._break:
            return
        self._seq += 1
        if entry.seq != self._seq:
            self._break = Break(self._run, self._seq, f"entry {self._seq} is missing; {entry.seq} follows instead")
        elif entry.prev != self._head:
            self._break = Break(self._run, entry.seq, "it does not continue the entry before it")
        elif entry.hash != chain_hash(entry.prev, self._run, entry.seq, entry.text):
            self._break = Break(self._run, entry.seq, "its content is not what was recorded")
        elif not entry.is_sealed:
            self._break = Break(self._run, entry.seq, "its words are not what was recorded")
        self._head = entry.hash
        self._note_erasure(entry)

    def _note_erasure(self, entry: JournalEntry) -> None:
        if entry.is_forgotten:
            self._missing_words.add(entry.seq)
        elif entry.kind == "forgotten":
            self._missing_words -= set(entry.body.get("entries", ()))

    def close(self) -> Break | None:
        """Return the first break, also one between the last entry and the head in the run's row."""
        if self._break:
            return self._break
        if self._end == (self._seq, self._head):
            return (
                Break(self._run, min(self._missing_words), "its words are gone, and nobody forgot them")
                if self._missing_words
                else None
            )
        if self._end is None:
            return Break(self._run, 1, "entries without a run")
        seq = min(self._seq, self._end[0]) + 1
        return Break(self._run, seq, f"the run's head is entry {self._end[0]}, the journal ends with {self._seq}")


def _entry(row: Mapping[str, Any]) -> JournalEntry:
    prev, hash = bytes(row["prev"]), bytes(row["hash"])
    return JournalEntry(row["run"], row["seq"], prev, hash, row["body"], row["words"], row["salt"])
