"""File format of exported memories: lines of JSON, all checked before anything is written; used by `transfer`.

A file may come from anybody. Its claims are accepted only as far as they can harm no one but the importer: columns that
are not listed here are left out, and every time, number and text has bounds.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, cast
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from memory.errors import Permanent
from memory.scope import Trust

FORMAT = "countersign-memory/1"
PIECE = 900_000
"""Bytes of a piece as JSON, below the size limit of an API request."""
_BYTES = 8192
_FIRST, _LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)


def _statement(text: str) -> str:
    if not text.strip() or len(text.encode()) > _BYTES:
        raise ValueError(f"needs to say something in at most {_BYTES} bytes")
    return text


def _check_year(moment: datetime) -> datetime:
    if not _FIRST <= moment <= _LAST:
        raise ValueError("is no time between the years 2 and 9998")
    return moment


_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
_Name = Annotated[_Text, StringConstraints(max_length=200)]
_Label = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
_Time = Annotated[AwareDatetime, AfterValidator(_check_year)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]
_STRICT = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Origin(BaseModel):
    """Origin of a memory, as the file claims it."""

    model_config = _STRICT

    run: _Name = ""
    step: _Name = ""
    call: _Name = ""
    principal: _Name = ""
    source: _Name = ""
    derived_from: tuple[_Name, ...] = ()
    facts: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _is_small(self) -> Self:
        text = json.dumps(self.model_dump(mode="json"), allow_nan=False)
        if len(text) > _BYTES or "\\u0000" in text:
            raise ValueError(f"may have {_BYTES} bytes and no NUL character")
        return self

    def attributed_to(self, importer: str) -> "Origin":
        """Return the origin with the importer as principal; another writer stays as the fact `imported_from`."""
        if self.principal in ("", importer):
            return self.model_copy(update={"principal": importer})
        facts = {**self.facts, "imported_from": self.principal}
        return self.model_copy(update={"principal": importer, "facts": facts})


class MemoryLine(BaseModel):
    """One memory of a file."""

    model_config = _STRICT

    id: UUID
    body: Annotated[_Text, AfterValidator(_statement)]
    trust: Trust
    provenance: Origin
    key: Annotated[_Name, StringConstraints(min_length=1)] | None = None
    uses: _Count = 0
    told: Annotated[int, Field(ge=1, lt=2**31)] = 1
    pinned: bool = False
    answers: bool = False
    created: _Time | None = None
    expires: _Time | None = None
    valid_from: _Time | None = None
    valid_to: _Time | None = None
    known_to: _Time | None = None
    superseded_by: UUID | None = None
    covered_until: _Time | None = None
    speaker: _Label | None = None
    said: _Time | None = None
    session: _Label | None = None
    place: _Count | None = None

    @model_validator(mode="after")
    def _is_history(self) -> Self:
        if self.superseded_by is not None and (self.key is None or self.superseded_by == self.id):
            raise ValueError("superseded_by names another value of the same key")
        return self

    @model_validator(mode="after")
    def _is_utterance(self) -> Self:
        if (self.session is None) != (self.place is None):
            raise ValueError("session and place are given together")
        if self.speaker is None and (self.session or self.said):
            raise ValueError("session and said need a speaker")
        return self


class LinkLine(BaseModel):
    """A later telling of a memory."""

    model_config = _STRICT

    memory: UUID
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    trust: Trust
    provenance: Origin
    told: _Time


class ArchiveLine(BaseModel):
    """A pruned memory with its retention."""

    model_config = _STRICT

    content: MemoryLine
    reason: Literal["superseded", "double", "room"]
    policy: _Name
    pruned_by: _Name
    pruned: _Time
    retained_until: _Time


class _LinkDocument(BaseModel):
    link: LinkLine


class _ArchiveDocument(BaseModel):
    archive: Annotated[ArchiveLine, Field(alias="archived")]


TransferLine = MemoryLine | LinkLine | ArchiveLine


def read(lines: Iterable[str]) -> list[tuple[int, TransferLine]]:
    """Return the memories of a file with their line numbers.

    Raises Permanent("bad_request") that names the line and the field at fault.
    """
    numbers = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, first = next(numbers, (1, ""))
    if not _is_header(first):
        raise Permanent("bad_request", f"line {number} must name the format {FORMAT!r}; export the memories again")
    entries = [(number, _parse(number, line)) for number, line in numbers]
    _require_history(entries)
    return entries


def _require_history(entries: Iterable[tuple[int, TransferLine]]) -> None:
    """Refuse cycles of superseded values, and successors of another subject: such values could never be current."""
    memories = {entry.id: (number, entry) for number, entry in entries if isinstance(entry, MemoryLine)}
    successors = {id: entry.superseded_by for id, (_, entry) in memories.items() if entry.superseded_by in memories}
    for id, successor in successors.items():
        number, entry = memories[id]
        if successor is not None and memories[successor][1].key != entry.key:
            raise Permanent("bad_request", f"line {number} is no memory: superseded_by names a value of another key")
        last, path = successor, {id}
        while last is not None and last not in path:
            path.add(last)
            last = successors.get(last)
        if last is not None:
            raise Permanent("bad_request", f"line {number} is no memory: superseded_by leads back to where it began")


def pieces(lines: Iterable[str], limit: int = PIECE) -> Iterator[list[str]]:
    """Split a file into files of at most `limit` bytes of JSON, so that one of any size can be sent.

    A longer line is a piece of its own. Each piece is imported whole or not at all, and importing it again changes
    nothing.
    """
    header, *body = [*filter(str.strip, lines)] or [""]
    piece, size = [header], _size(header)
    for line in body:
        if len(piece) > 1 and size + _size(line) > limit:
            yield piece
            piece, size = [header], _size(header)
        piece.append(line)
        size += _size(line)
    yield piece


def _is_header(line: str) -> bool:
    try:
        row: Any = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and cast(dict[str, Any], row).get("format") == FORMAT


def _parse(number: int, line: str) -> TransferLine:
    try:
        return _entry(line)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)[0]
        problem = ": ".join(filter(None, (".".join(map(str, details["loc"])), details["msg"])))
        raise Permanent("bad_request", f"line {number} is no memory: {problem}") from error
    except (ValueError, RecursionError) as error:
        raise Permanent("bad_request", f"line {number} is no JSON: {error}") from error


def _entry(line: str) -> TransferLine:
    row: Any = json.loads(line)
    names = set(cast(dict[str, Any], row)) if isinstance(row, dict) else set[str]()
    if "link" in names:
        return _LinkDocument.model_validate_json(line).link
    if "archived" in names:
        return _ArchiveDocument.model_validate_json(line).archive
    return MemoryLine.model_validate_json(line)


def _size(line: str) -> int:
    return len(json.dumps(line, ensure_ascii=False).encode(errors="replace")) + 2
