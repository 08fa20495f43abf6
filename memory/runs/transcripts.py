"""What a finished run went through, step by step: archived small, restorable for a while; no prompt ever holds it.

Housekeeping archives; people restore for a look or a replay. Later runs learn only the outcome, see `archive`.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from memory.errors import ControlError, Permanent
from memory.postgres.database import Database
from memory.runs import compression
from memory.scope import Access, Principal

_LOG = logging.getLogger(__name__)
HOUSEKEEPER = "housekeeping"
AGE = timedelta(days=7)
"""How long a finished run stays as it is, for those who look into it or fork it."""
RETENTION = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Transcript:
    """An archived thread; `packed` is None once its retention has ended and only the tombstone is left."""

    thread: str
    size: int
    packed: int | None
    archived: datetime
    retained_until: datetime
    hold: bool
    restored: datetime | None
    """When it was last put back to where it was."""


@dataclass(frozen=True, slots=True)
class TranscriptContent:
    """What is in a transcript that people can read."""

    transcript: Transcript
    moments: tuple[Mapping[str, Any], ...]
    """Each checkpoint, oldest first: its id, time and step."""
    state: Mapping[str, Any]
    """What the graph held in the end, by channel."""
    calls: tuple[Mapping[str, Any], ...]
    """What models were asked and answered."""
    rows: Mapping[str, int]
    """How many rows of each kind come back when it is restored."""


_MACHINERY = ("__", "branch:")
"""How channels begin that only LangGraph uses."""
_TRANSCRIPT = "thread, size, length(content) as packed, archived, retained_until, hold, restored"


async def sweep(
    database: Database, *, age: timedelta = AGE, retention: timedelta = RETENTION, limit: int = 20
) -> list[str]:
    """Archive threads of any tenant whose runs ended that long ago, and end retentions; returns those archived.

    What cannot be archived is logged and raised in the end, after all others were.
    """
    async with database.system() as connection:
        found = await connection.execute("select * from due_transcripts(%s, %s)", [age, limit])
        due = await found.fetchall()
        await connection.execute("select sweep_transcripts(%s)", [limit])
    done, failed = list[str](), list[Exception]()
    for row in due:
        try:
            if await transcribe(database, Access(Principal(row["tenant"], HOUSEKEEPER), ()), row["thread"], retention):
                done.append(row["thread"])
        except (ControlError, psycopg.Error, ValueError) as error:
            _LOG.warning("thread %r of tenant %r cannot be archived: %s", row["thread"], row["tenant"], error)
            failed.append(error)
    if failed:
        raise failed[0]
    return done


async def transcribe(database: Database, access: Access, thread: str, retention: timedelta = RETENTION) -> bool:
    """Move what a thread left behind into the archive; False if there is nothing or a run has not come to rest."""
    async with database.transaction(access) as connection:
        found = await connection.execute("select read_transcript(%s) as text", [thread])
        whole: str | None = (await found.fetchone() or {})["text"]
        if whole is None:
            return False
        text = whole.encode()
        packed = await asyncio.to_thread(compression.pack, text)
        digest = hashlib.sha256(text).hexdigest()
        done = await connection.execute(
            "select shelve_transcript(%s, %s, %s, %s) as done", [thread, packed, digest, retention]
        )
        return bool((await done.fetchone() or {})["done"])


async def restore(database: Database, access: Access, thread: str) -> None:
    """Put the rows of a thread back where they were; raises Permanent("not_found") after its retention."""
    async with database.transaction(access) as connection:
        found = await connection.execute("select content from transcripts where thread = %s", [thread])
        row = await found.fetchone()
        if row is None or row["content"] is None:
            raise _missing(thread)
        text = (await asyncio.to_thread(compression.unpack, row["content"])).decode()
        done = await connection.execute("select restore_transcript(%s, %s) as done", [thread, text])
        if not (await done.fetchone() or {})["done"]:
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
    """Return archived threads, newest first, with the tombstones; `of` names the person who opened them.

    `after` is the time and thread of the last one shown.
    """
    at, thread = after or (None, None)
    query = f"""
        select {_TRANSCRIPT} from transcripts t
         where (%s::text is null or exists (select 1 from runs r where r.thread = t.thread and r.kind = 'run'
                                               and r.requester = %s))
           and (%s::timestamptz is null or (archived, thread) < (%s, %s))
         order by archived desc, thread desc limit %s
        """
    return [Transcript(**row) for row in await database.rows(access, query, of, of, at, at, thread, limit)]


async def owner(database: Database, access: Access, thread: str) -> str:
    """Return whose an archived thread is; raises Permanent("not_found")."""
    rows = await database.rows(
        access,
        "select r.requester from transcripts t join runs r on r.thread = t.thread and r.kind = 'run' "
        "where t.thread = %s order by r.created, r.id limit 1",
        thread,
    )
    if not rows:
        raise _missing(thread)
    return str(rows[0]["requester"])


async def show(database: Database, access: Access, thread: str) -> TranscriptContent:
    """Return what a transcript tells, without putting it back; raises Permanent("not_found") after its retention."""
    rows = await database.rows(access, f"select {_TRANSCRIPT}, content from transcripts where thread = %s", thread)
    packed = rows[0].pop("content") if rows else None
    if packed is None:
        raise _missing(thread)
    parts: Mapping[str, list[dict[str, Any]]] = json.loads(await asyncio.to_thread(compression.unpack, packed))
    moments = sorted(map(_moment, parts["checkpoints"]), key=lambda moment: (moment["at"], moment["checkpoint"]))
    calls = sorted(parts["calls"], key=lambda call: call["id"])
    counts = {name: len(some) for name, some in parts.items()}
    state = _state(parts)
    return TranscriptContent(Transcript(**rows[0]), tuple(moments), state, calls=tuple(calls), rows=counts)


def _moment(row: Mapping[str, Any]) -> dict[str, Any]:
    held, about = row["checkpoint"], row["metadata"]
    return {
        "checkpoint": row["checkpoint_id"],
        "at": held.get("ts", ""),
        "step": about.get("step"),
        "source": about.get("source"),
    }


def _state(parts: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    # Late: few ask for this, and it brings LangGraph along.
    from memory.runs.checkpoint_values import ExactSerializer

    serde = ExactSerializer()
    whole: list[dict[str, Any]] = [row["checkpoint"] for row in parts["checkpoints"] if not row["checkpoint_ns"]]
    last = max(whole, key=lambda held: str(held.get("ts", "")), default=dict[str, Any]())
    blobs = {(row["channel"], row["version"]): row for row in parts["blobs"] if row["blob"]}
    found: dict[str, Any] = dict(last.get("channel_values", {}))
    for place in last.get("channel_versions", {}).items():
        if row := blobs.get(place):
            found[place[0]] = serde.loads_typed((row["type"], bytes.fromhex(row["blob"].removeprefix("\\x"))))
    told = {name: value for name, value in found.items() if not name.startswith(_MACHINERY)}
    text = json.dumps(told, default=str, skipkeys=True, ensure_ascii=False)
    # A state may hold what no answer may: lone surrogates, infinity and what is no number.
    return json.loads(text.encode("utf-8", "replace"), parse_constant=str)


def _missing(thread: str) -> Permanent:
    return Permanent("not_found", f"no transcript of {thread!r} is archived; its retention may be over")
