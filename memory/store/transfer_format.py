"""How memories look in a file: lines of JSON, checked before anything of the file is written; used by porting.

A file may come from anybody. What a line says of itself is believed as far as it harms nobody but its reader: columns
that are not listed here are left out, and every time, number and text has bounds.
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
"""Bytes of a piece as JSON, below what the API takes at once."""
_BYTES = 8192
_FIRST, _LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)


def _told(text: str) -> str:
    if not text.strip() or len(text.encode()) > _BYTES:
        raise ValueError(f"needs to say something in at most {_BYTES} bytes")
    return text


def _readable(moment: datetime) -> datetime:
    if not _FIRST <= moment <= _LAST:
        raise ValueError("is no time between the years 2 and 9998")
    return moment


_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
_Name = Annotated[_Text, StringConstraints(max_length=200)]
_Label = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
_Time = Annotated[AwareDatetime, AfterValidator(_readable)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]
_STRICT = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Origin(BaseModel):
    """Where a memory comes from, as its file says."""

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

    def by(self, importer: str) -> "Origin":
        """Return the same as the importer's: who is said to have written it stays as a fact, and counts for nothing."""
        if self.principal in ("", importer):
            return self.model_copy(update={"principal": importer})
        facts = {**self.facts, "imported_from": self.principal}
        return self.model_copy(update={"principal": importer, "facts": facts})


class MemoryLine(BaseModel):
    """One memory of a file."""

    model_config = _STRICT

    id: UUID
    body: Annotated[_Text, AfterValidator(_told)]
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
    def _is_turn(self) -> Self:
        if (self.session is None) != (self.place is None):
            raise ValueError("session and place are given together")
        if self.speaker is None and (self.session or self.said):
            raise ValueError("session and said need a speaker")
        return self


class LinkLine(BaseModel):
    """That a memory was told again."""

    model_config = _STRICT

    memory: UUID
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    trust: Trust
    provenance: Origin
    told: _Time


class ArchiveLine(BaseModel):
    """That a memory was pruned, and how long it can be taken back."""

    model_config = _STRICT

    content: MemoryLine
    reason: Literal["superseded", "double", "room"]
    policy: _Name
    pruned_by: _Name
    pruned: _Time
    retained_until: _Time


class _Link(BaseModel):
    link: LinkLine


class _Archived(BaseModel):
    archived: ArchiveLine


TransferLine = MemoryLine | LinkLine | ArchiveLine


def read(lines: Iterable[str]) -> list[tuple[int, TransferLine]]:
    """Return the memories of a file with their line numbers.

    Raises Permanent("bad_request") naming the line, and the field, that is not as it should be.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, first = next(numbered, (1, ""))
    if not _is_header(first):
        raise Permanent("bad_request", f"line {number} must name the format {FORMAT!r}; export the memories again")
    entries = [(number, _parsed(number, line)) for number, line in numbered]
    _demand_history(entries)
    return entries


def _demand_history(entries: Iterable[tuple[int, TransferLine]]) -> None:
    """Refuse values that end one another, or that another subject ends: nobody would ever see them again."""
    memories = {entry.id: (number, entry) for number, entry in entries if isinstance(entry, MemoryLine)}
    ended = {id: entry.superseded_by for id, (_, entry) in memories.items() if entry.superseded_by in memories}
    for id, by in ended.items():
        number, entry = memories[id]
        if by is not None and memories[by][1].key != entry.key:
            raise Permanent("bad_request", f"line {number} is no memory: superseded_by names a value of another key")
        last, passed = by, {id}
        while last is not None and last not in passed:
            passed.add(last)
            last = ended.get(last)
        if last is not None:
            raise Permanent("bad_request", f"line {number} is no memory: superseded_by leads back to where it began")


def pieces(lines: Iterable[str], most: int = PIECE) -> Iterator[list[str]]:
    """Split a file into files of at most `most` bytes of JSON, so that one of any size can be sent.

    A line that is longer goes alone. Each piece is taken in whole or not at all; repeating one changes nothing.
    """
    header, *rest = [*filter(str.strip, lines)] or [""]
    piece, size = [header], _size(header)
    for line in rest:
        if len(piece) > 1 and size + _size(line) > most:
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


def _parsed(number: int, line: str) -> TransferLine:
    try:
        return _entry(line)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        what = ": ".join(filter(None, (".".join(map(str, wrong["loc"])), wrong["msg"])))
        raise Permanent("bad_request", f"line {number} is no memory: {what}") from error
    except (ValueError, RecursionError) as error:
        raise Permanent("bad_request", f"line {number} is no JSON: {error}") from error


def _entry(line: str) -> TransferLine:
    row: Any = json.loads(line)
    kinds = set(cast(dict[str, Any], row)) if isinstance(row, dict) else set[str]()
    if "link" in kinds:
        return _Link.model_validate_json(line).link
    if "archived" in kinds:
        return _Archived.model_validate_json(line).archived
    return MemoryLine.model_validate_json(line)


def _size(line: str) -> int:
    return len(json.dumps(line, ensure_ascii=False).encode(errors="replace")) + 2
