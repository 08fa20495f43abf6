"""Writing of memories: one text into one scope, with its origin; called by the API, tools, runs and the store adapter.

The scope comes from the `Access`, never from arguments: row security takes only what the access was entered with. No
language model is called. A text told again is linked to the memory that is there; a subject's new value supersedes the
old one. Refused are texts that only restate what their run recalled, and what somebody had forgotten.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from operator import itemgetter
from typing import Any, Literal, get_args

from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import Parameter, embed_texts, parameters
from memory.errors import Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access, Scope, Trust
from memory.store.fingerprints import fingerprint, marks, opposites, terms
from memory.store.models import Memory, Note, Provenance, Utterance, from_row

BODY_BYTES = 8192
RUN_TTL = timedelta(days=1)
"""Longest life of working memory, for runs that died before they could erase it."""

WriteCode = Literal["new", "kept", "linked", "forgotten", "restated", "outranked"]
_CODES: tuple[WriteCode, ...] = get_args(WriteCode)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Answer of the database to one draft."""

    code: WriteCode
    memory: Memory | None = None
    """The memory that was `kept` or `linked`."""
    about: str | None = None
    """Id of the memory that the draft only restates."""
    trust: str | None = None
    """Trust of the value that outranks the draft."""


_Draft = Mapping[str, Any]
_Write = Callable[[Sequence[_Draft], Sequence[Parameter | None]], Awaitable[list[WriteResult]]]
"""Writes drafts, each with its vector; without one only the answer is returned."""


async def remember(
    database: Database,
    access: Access,
    body: str,
    *,
    trust: Trust,
    provenance: Provenance,
    key: str | None = None,
    ttl: timedelta | None = None,
    turn: Utterance | None = None,
    embedder: Embedder = LEXICAL,
) -> Memory:
    """Store a text in the access's write scope; with a `key` it supersedes that subject's value.

    For a text that a live memory says already, that memory is returned with `is_repeat`. After `ttl` the memory is gone
    and its subject has the value from before; working memory always expires. Raises Permanent: `forbidden`
    without a write scope or against a more trusted value, `tainted` for what was only recalled or was forgotten,
    `too_large` beyond 8192 bytes, `bad_request` for text that cannot be stored.
    """

    async def write(drafts: Sequence[_Draft], vectors: Sequence[Parameter | None]) -> list[WriteResult]:
        return [
            _result(await database.call(access, "write_memory", draft, vector))
            for draft, vector in zip(drafts, vectors, strict=True)
        ]

    note = Note(body, trust, provenance, key, ttl, turn=turn)
    (memory,) = await _write_notes(write, access, [note], embedder)
    return memory


async def add(connection: Connection, access: Access, note: Note, *, embedder: Embedder = LEXICAL) -> Memory:
    """Store a note as `remember` does, inside a transaction that was entered with `access`."""
    (memory,) = await add_notes(connection, access, [note], embedder=embedder)
    return memory


async def add_notes(
    connection: Connection, access: Access, notes: Sequence[Note], *, embedder: Embedder = LEXICAL
) -> list[Memory]:
    """Store notes as `add` does, many in one statement; those that repeat something are looked at after the others.

    Raises for the first that is refused; some of the others are written then, so the caller must roll back.
    """

    async def write(drafts: Sequence[_Draft], vectors: Sequence[Parameter | None]) -> list[WriteResult]:
        if len(drafts) == 1:
            cursor = await connection.execute(_WRITE, [Jsonb(drafts[0]), vectors[0]], prepare=True)
            return [_result(await cursor.fetchone() or {})]
        results = list[WriteResult]()
        for start in range(0, len(drafts), _BATCH):
            batch, embeddings = drafts[start : start + _BATCH], vectors[start : start + _BATCH]
            array = None if None in embeddings else list(embeddings)
            cursor = await connection.execute(_WRITE_BATCH, [Jsonb(batch), array], prepare=True)
            results += [_result(row) for row in sorted(await cursor.fetchall(), key=_number)]
        return results

    return await _write_notes(write, access, notes, embedder)


async def prepare(access: Access, note: Note) -> tuple[Mapping[str, Any], Parameter]:
    """Return a note as the database takes it, with its vector by words alone, for a function that writes it itself."""
    embedder, vectors = await embed_texts(LEXICAL, [note.text])
    return {**_draft(access, note), "embedder": embedder.id}, parameters(vectors)[0]


_WRITE = "select * from write_memory(%s, %b::vector)"
_WRITE_BATCH = "select * from write_memories(%s, %b::vector[])"
_BATCH = 200
"""Notes of one statement."""
_number = itemgetter("n")


async def _write_notes(write: _Write, access: Access, notes: Sequence[Note], embedder: Embedder) -> list[Memory]:
    drafts = [_draft(access, note) for note in notes]
    results = [WriteResult("new")] * len(notes)
    if not embedder.lexical:
        # A first call without vectors tells which notes are new: the model embeds no others.
        results = _raise_refusals(await write(drafts, [None] * len(notes)), notes)
    new = [number for number, result in enumerate(results) if result.code == "new"]
    embedder, vectors = await embed_texts(embedder, [notes[number].text for number in new])
    new_drafts = [{**drafts[number], "embedder": embedder.id} for number in new]
    new_results = await write(new_drafts, parameters(vectors)) if new else []
    for number, result in zip(new, _raise_refusals(new_results, [notes[number] for number in new]), strict=True):
        results[number] = result
    return [result.memory for result in results if result.memory]


def _result(row: Mapping[str, Any]) -> WriteResult:
    code = member(_CODES, row["code"], "write_memory")
    return WriteResult(code, from_row(row) if code in ("kept", "linked") else None, row["about"], row["held"])


def _draft(access: Access, note: Note) -> _Draft:
    scope = _check(access, note)
    has_source = bool(note.provenance.source)
    note = _with_origin(access, note)
    return {
        **_utterance_columns(note.body, note.turn),
        "scope": str(scope),
        "scope_kind": scope.kind,
        "scope_id": scope.id,
        "key": note.key,
        "body": note.body,
        "digest": hashlib.sha256(note.body.encode()).hexdigest(),
        "near": fingerprint(note.body),
        "terms": terms(note.body),
        "against": opposites(note.body),
        "sourced": has_source,
        "trust": note.trust,
        "provenance": asdict(note.provenance),
        "pinned": note.is_pinned,
        "ttl": _seconds(RUN_TTL if note.ttl is None and scope.kind == "run" else note.ttl),
        "valid_from": note.valid_from and note.valid_from.isoformat(),
        "principal": access.principal.id,
        "derived": note.provenance.derived_from,
        "seers": _seers(access),
        # A person may say again what they had forgotten; extraction and old files may not.
        "guarded": note.trust != "human" or note.is_import,
    }


def _utterance_columns(body: str, turn: Utterance | None) -> _Draft:
    if turn is None:
        return {"marks": marks(body)}
    return {
        "marks": marks(body, turn.session, turn.place),
        "speaker": turn.speaker,
        "said": turn.said and turn.said.isoformat(),
        "session": turn.session,
        "place": turn.place,
    }


def _with_origin(access: Access, note: Note) -> Note:
    """Return the note with its writer and its source, which is the text itself unless another is given."""
    origin = note.provenance
    source = origin.source or ("" if origin.derived_from else hashlib.sha256(note.body.encode()).hexdigest())
    if origin.derived_from and not origin.source and note.trust != "human":
        raise Permanent(
            "tainted", "a text derived from recalled memories alone is no new evidence; name the source that adds to it"
        )
    return replace(note, provenance=replace(origin, principal=origin.principal or access.principal.id, source=source))


def _raise_refusals(results: list[WriteResult], notes: Sequence[Note]) -> list[WriteResult]:
    """Return the results; raises Permanent for the first note that the database refused."""
    for result, note in zip(results, notes, strict=True):
        if result.code == "forgotten":
            raise Permanent("tainted", "this was forgotten on request and is not taken in again; let the person say it")
        if result.code == "restated":
            raise Permanent("tainted", f"this only restates memory {result.about}, which was recalled; cite it instead")
        if result.code == "outranked":
            raise Permanent(
                "forbidden",
                f"{note.key!r} was said by a {result.trust}, and {note.trust} text does not replace that; "
                "remember it without the key, or let a person decide",
            )
    return results


def _seers(access: Access) -> list[str]:
    return sorted({str(scope) for scope in access.reads if scope.kind in ("run", "session")})


def _seconds(span: timedelta | None) -> str | None:
    return None if span is None else f"{span.total_seconds()} seconds"


def _check(access: Access, note: Note) -> Scope:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to write to here; work inside one")
    size = len(note.body.encode(errors="replace"))
    if size > BODY_BYTES:
        raise Permanent(
            "too_large", f"a memory of {size} bytes exceeds {BODY_BYTES}; keep the text, remember its handle"
        )
    if not note.body.strip() or "\0" in note.body or size != len(note.body.encode(errors="ignore")):
        raise Permanent("bad_request", "a memory must be text with something in it and without NUL characters")
    if note.key is not None and not 1 <= len(note.key) <= 200:
        raise Permanent("bad_request", f"a key of {len(note.key)} characters; use 1 to 200")
    if note.turn is not None and not note.turn.is_complete:
        raise Permanent(
            "bad_request", f"{note.turn!r} needs a speaker, session and place together, a time with its zone"
        )
    return access.writes
