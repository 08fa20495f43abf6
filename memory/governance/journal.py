"""Append-only journal of hash-chained entries; the gateway and the nodes append, streams and the API read.

Facts are chained in clear. Words stand beside the chain, which holds their salted digest: they can be forgotten, and
the chain still verifies.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID

from memory.errors import LeaseLost, Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access

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
    _read: list[Mapping[str, Any]] = field(
        default_factory=list[Mapping[str, Any]], init=False, compare=False, repr=False
    )
    """The body, once somebody has asked for it: many do, and it is parsed once."""

    @property
    def body(self) -> Mapping[str, Any]:
        """Return facts and words as one object, without seal and stamps; its fields depend on the kind.

        Nodes record kinds of their own.
        """
        if not self._read:
            words: Mapping[str, Any] = json.loads(self.words) if self.words else {}
            body = {**words, **json.loads(self.text)}
            self._read.append({name: value for name, value in body.items() if name not in _PROOFS})
        return self._read[0]

    @property
    def kind(self) -> str:
        """Return the kind of the fact, such as `permitted` or `outcome`."""
        return self.body["kind"]

    @property
    def is_forgotten(self) -> bool:
        """Return whether the entry had words that were forgotten."""
        return self.words is None and "sealed" in json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Recording:
    """The entry that stands after an append: the new one, or the earlier one of the same key."""

    is_new: bool
    body: Mapping[str, Any]


async def append(
    database: Database, access: Access, run: str, body: Mapping[str, Any], *, fence: int | None = None
) -> Recording:
    """Record a fact with at least a `kind`; one with a `key` is recorded at most once per run.

    Raises LeaseLost if `fence` is not the run's any more, and
    Permanent("forbidden") for the kinds and keys that only the gateway, approvals and authority write, for a kind that
    is no word, for values nested deeper than 100, and for numbers beyond 1e30.
    """
    return recording(run, body, await database.call(access, "append", run, fence, body))


def recording(run: str, body: Mapping[str, Any], row: Mapping[str, Any]) -> Recording:
    """Return the database's answer to an append; raises as `append`."""
    match member(_APPEND_CODES, row["code"], "append"):
        case "ok":
            return Recording(row["fresh"], row["body"])
        case "lease_lost":
            raise LeaseLost(run)
        case "not_found":
            raise Permanent("not_found", f"there is no run {run!r} to record anything of")
        case "forbidden":
            kind = str(body.get("kind"))[:40]
            why = "its kind or key are written by the gateway alone, or nobody could read what it holds"
            raise Permanent("forbidden", f"an entry of kind {kind!r} is not taken: {why}")


async def read(database: Database, access: Access, run: str, *, after: int = 0, limit: int = 500) -> list[JournalEntry]:
    """Return entries of a run in order, those after `after`, at most `limit`."""
    query = f"select {_ENTRY} from journal where run = %s and seq > %s order by seq limit %s"
    return [_entry(row) for row in await database.rows(access, query, run, after, limit)]


async def export(connection: Connection, run: str | None = None) -> AsyncIterator[JournalEntry]:
    """Yield every visible entry, run by run in order, within the caller's transaction."""
    async with connection.cursor(name="journal_export") as cursor:
        await cursor.execute(
            f"select {_ENTRY} from journal where %s::text is null or run = %s order by run, seq".encode(),
            [run, run],
        )
        async for row in cursor:
            yield _entry(row)


def _entry(row: Mapping[str, Any]) -> JournalEntry:
    prev, hash = bytes(row["prev"]), bytes(row["hash"])
    return JournalEntry(row["run"], row["seq"], prev, hash, row["body"], row["words"], row["salt"])
