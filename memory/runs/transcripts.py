"""Transcripts of threads at rest: compressed, restorable for a while, readable by people and by no prompt.

The workers' housekeeping writes them, the API shows and restores them. Later runs learn only the `outcomes`.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import psycopg

from memory.errors import ControlError, Permanent
from memory.postgres.database import Database
from memory.runs import compression
from memory.scope import Access, Principal

_LOG = logging.getLogger(__name__)
HOUSEKEEPER = "housekeeping"
"""The principal under which housekeeping enters."""
AGE = timedelta(days=7)
"""How long a finished run stays as it is, for those who look into it or fork it."""
RETENTION = timedelta(days=365)


class Serializer(Protocol):
    """The part of the saver's serializer that reads values; injected, so that nothing here brings LangGraph along."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value that these bytes of a type stand for."""
        ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """A thread's transcript; `packed_size` is None once its retention has ended and only the tombstone remains."""

    thread: str
    size: int
    """Bytes of the values that it replaced, without their keys and indexes."""
    packed_size: int | None
    archived_at: datetime
    retained_until: datetime
    legal_hold: bool
    restored_at: datetime | None
    """When it was last put back to where it was."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One checkpoint of a thread."""

    checkpoint: str
    at: str
    """The time as the saver wrote it, ISO 8601."""
    step: int | None
    source: str | None
    """`input`, `loop`, `update` or `fork`."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One prompt and the model's answer to it."""

    id: int
    prompt: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class TranscriptContent:
    """A transcript as people read it."""

    transcript: Transcript
    moments: tuple[Moment, ...]
    """Oldest first."""
    state: Mapping[str, Any]
    """The graph's last state, by channel."""
    calls: tuple[ModelCall, ...]
    rows: Mapping[str, int]
    """Number of rows of each kind that come back when it is restored."""


_MACHINERY = ("__", "branch:")
"""Prefixes of the channels that only LangGraph uses."""
_COLUMNS = "thread, size, length(content) as packed, archived, retained_until, hold, restored"
_Rows = Mapping[str, Sequence[dict[str, Any]]]
"""The rows of a thread by kind: checkpoints, blobs, writes, calls."""


async def sweep(
    database: Database, *, age: timedelta = AGE, retention: timedelta = RETENTION, limit: int = 20
) -> list[str]:
    """Transcribe threads of any tenant whose runs ended that long ago, and end retentions; returns the threads.

    A thread that cannot be transcribed is logged, and its error raised in the end, after all others.
    """
    async with database.worker() as connection:
        cursor = await connection.execute("select * from due_transcripts(%s, %s)", [age, limit])
        due = await cursor.fetchall()
        await connection.execute("select sweep_transcripts(%s)", [limit])
    threads, errors = list[str](), list[Exception]()
    for row in due:
        try:
            if await transcribe(database, Access(Principal(row["tenant"], HOUSEKEEPER), ()), row["thread"], retention):
                threads.append(row["thread"])
        except (ControlError, psycopg.Error, ValueError) as error:
            _LOG.warning("thread %r of tenant %r cannot be archived: %s", row["thread"], row["tenant"], error)
            errors.append(error)
    if errors:
        raise errors[0]
    return threads


async def transcribe(database: Database, access: Access, thread: str, retention: timedelta = RETENTION) -> bool:
    """Put a transcript in the place of a thread's rows; False if it has none, or if a run has not come to rest."""
    async with database.worker_transaction(access) as connection:
        cursor = await connection.execute("select read_transcript(%s) as text", [thread])
        text: str | None = (await cursor.fetchone() or {})["text"]
        if text is None:
            return False
        content = text.encode()
        # In a thread: a long run keeps the compressor busy for as long as many requests take.
        packed_content = await asyncio.to_thread(compression.pack, content)
        digest = hashlib.sha256(content).hexdigest()
        cursor = await connection.execute(
            "select shelve_transcript(%s, %s, %s, %s) as is_stored", [thread, packed_content, digest, retention]
        )
        return bool((await cursor.fetchone() or {})["is_stored"])


async def restore(database: Database, access: Access, thread: str) -> None:
    """Put the rows of a thread back where they were; raises Permanent("not_found") after its retention."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute("select content from transcripts where thread = %s", [thread])
        row = await cursor.fetchone()
        if row is None or row["content"] is None:
            raise _missing(thread)
        text = (await asyncio.to_thread(compression.unpack, row["content"])).decode()
        cursor = await connection.execute("select restore_transcript(%s, %s) as is_restored", [thread, text])
        if not (await cursor.fetchone() or {})["is_restored"]:
            raise _missing(thread)


async def set_legal_hold(database: Database, access: Access, thread: str, *, on: bool) -> None:
    """Keep an archived thread beyond its retention, or let it go again; raises Permanent("not_found")."""
    row = await database.call(access, "hold_transcript", thread, on)
    if not row["hold_transcript"]:
        raise _missing(thread)


async def ls(
    database: Database,
    access: Access,
    *,
    of: str | None = None,
    limit: int = 100,
    after: tuple[datetime, str] | None = None,
) -> list[Transcript]:
    """Return transcripts, newest first, with the tombstones; `of` names the person who opened the threads.

    `after` is the time and thread of the last one of the page before.
    """
    older = "and (archived, thread) < (%s, %s)" if after else ""
    query = f"""
        select {_COLUMNS} from transcripts t
         where (%s::text is null or exists (select 1 from runs r where r.thread = t.thread and r.kind = 'run'
                                               and r.requester = %s)) {older}
         order by archived desc, thread desc limit %s
        """
    return [_transcript(row) for row in await database.rows(access, query, of, of, *(after or ()), limit)]


async def owner(database: Database, access: Access, thread: str) -> str:
    """Return the person whose thread a transcript is of; raises Permanent("not_found")."""
    rows = await database.rows(
        access,
        "select r.requester from transcripts t join runs r on r.thread = t.thread and r.kind = 'run' "
        "where t.thread = %s order by r.created, r.id limit 1",
        thread,
    )
    if not rows:
        raise _missing(thread)
    return str(rows[0]["requester"])


async def show(database: Database, access: Access, thread: str, serializer: Serializer) -> TranscriptContent:
    """Return the content of a transcript, without putting it back; `serializer` is the saver's.

    Raises Permanent("not_found") after its retention.
    """
    rows = await database.rows(access, f"select {_COLUMNS}, content from transcripts where thread = %s", thread)
    if not rows or rows[0]["content"] is None:
        raise _missing(thread)
    thread_rows: _Rows = json.loads(await asyncio.to_thread(compression.unpack, rows[0]["content"]))
    moments = sorted(map(_moment, thread_rows["checkpoints"]), key=lambda moment: (moment.at, moment.checkpoint))
    calls = sorted((ModelCall(**row) for row in thread_rows["calls"]), key=lambda call: call.id)
    return TranscriptContent(
        _transcript(rows[0]),
        tuple(moments),
        _state(serializer, thread_rows),
        tuple(calls),
        rows={name: len(kind_rows) for name, kind_rows in thread_rows.items()},
    )


def _transcript(row: Mapping[str, Any]) -> Transcript:
    return Transcript(
        row["thread"],
        row["size"],
        packed_size=row["packed"],
        archived_at=row["archived"],
        retained_until=row["retained_until"],
        legal_hold=row["hold"],
        restored_at=row["restored"],
    )


def _moment(row: Mapping[str, Any]) -> Moment:
    checkpoint, metadata = row["checkpoint"], row["metadata"]
    return Moment(row["checkpoint_id"], checkpoint.get("ts", ""), metadata.get("step"), metadata.get("source"))


def _state(serializer: Serializer, rows: _Rows) -> dict[str, Any]:
    """Return the channels of the last checkpoint of the outermost graph, as JSON."""
    checkpoints: list[dict[str, Any]] = [row["checkpoint"] for row in rows["checkpoints"] if not row["checkpoint_ns"]]
    latest = max(checkpoints, key=lambda checkpoint: str(checkpoint.get("ts", "")), default=dict[str, Any]())
    # Small values stand in the checkpoint itself, large ones once per version beside it.
    blobs = {(row["channel"], row["version"]): row for row in rows["blobs"] if row["blob"]}
    values: dict[str, Any] = dict(latest.get("channel_values", {}))
    for channel, version in latest.get("channel_versions", {}).items():
        if row := blobs.get((channel, version)):
            values[channel] = serializer.loads_typed((row["type"], bytes.fromhex(row["blob"].removeprefix("\\x"))))
    state = {name: value for name, value in values.items() if not name.startswith(_MACHINERY)}
    text = json.dumps(state, default=str, skipkeys=True, ensure_ascii=False)
    # A state may hold what no answer may: lone surrogates, infinity and what is no number.
    return json.loads(text.encode("utf-8", "replace"), parse_constant=str)


def _missing(thread: str) -> Permanent:
    return Permanent("not_found", f"no transcript of {thread!r} is archived; its retention may be over")
