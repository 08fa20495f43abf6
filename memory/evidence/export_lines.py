"""Lines of an export, read without a database from a file that anybody may have written.

Used by whoever judges again or asks what was in force; a file in another form is refused by the number of its line.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import UUID

from memory import json_text
from memory.errors import Permanent

_LONGEST = 64 * 1024 * 1024
"""Bytes of a line at most."""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an export."""

    number: int
    kind: str
    fields: Mapping[str, Any]


_NOTHING = Line(0, "", {})
"""The line before the first."""


@dataclass(frozen=True, slots=True)
class ExportedEntry:
    """One journal entry as an export holds it; `problem` says why its content cannot be believed."""

    run: str
    seq: int
    facts: Mapping[str, Any]
    words: Mapping[str, Any] | None
    """None if nothing was said, or if it was forgotten."""
    problem: str = ""

    @property
    def has_lost_words(self) -> bool:
        """Return whether the entry had words that are gone."""
        return self.words is None and "sealed" in self.facts


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of an export; raises Permanent("bad_request") for what is none, or not all of one."""
    try:
        with path.open("rb") as file:
            yield from _lines_of(file)
    except OSError as error:
        raise Permanent("bad_request", f"{str(path)!r} cannot be read: {error.strerror}") from None


def value_of(text: str | bytes) -> object:
    """Return the value of a JSON text by anybody; raises ValueError for one that cannot be read or printed."""
    try:
        plain = text if isinstance(text, str) else text.decode()
        value = json_text.read(plain)
        # An escape may spell half a character, which no output takes.
        if "\\u" in plain:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it nests too deep") from None
    return cast(object, value)


def chain_hash(prev: bytes, run: str, seq: int, body: str) -> bytes:
    """Return the hash of an entry."""
    return hashlib.sha256(prev + run.encode() + seq.to_bytes(4, "big", signed=True) + body.encode()).digest()


def seal(words: str, salt: UUID) -> str:
    """Return the digest of words that the chain holds."""
    return hashlib.sha256(salt.bytes + words.encode()).hexdigest()


def text_of(line: Line) -> tuple[str, str]:
    """Return hash and text of a line of kind `text`; raises ValueError if the text has another hash."""
    hash, text = text_in(line, "hash"), text_in(line, "text")
    if hashlib.sha256(text.encode()).hexdigest() != hash:
        raise ValueError(f"the text has not the hash {hash!r}")
    return hash, text


def entry_of(line: Line) -> ExportedEntry:
    """Return the entry of a line; raises Permanent("bad_request") for a line in another form."""
    run, seq = text_in(line, "run"), line.fields.get("seq")
    if type(seq) is not int:
        raise _refusal(line.number, "`seq` is no number")
    facts: Mapping[str, Any] = {}
    words: Mapping[str, Any] | None = None
    problem = ""
    try:
        facts = _object(line.fields.get("body"))
        words = None if line.fields.get("words") is None else _object(line.fields["words"])
        problem = _problem(line, run, seq, facts)
    except (ValueError, OverflowError) as error:
        problem = f"its content is not what was recorded: {error}"
    return ExportedEntry(run, seq, facts, words, problem)


def _problem(line: Line, run: str, seq: int, facts: Mapping[str, Any]) -> str:
    prev, hash = bytes.fromhex(text_in(line, "prev")), bytes.fromhex(text_in(line, "hash"))
    if hash != chain_hash(prev, run, seq, line.fields["body"]):
        return "its content is not what was recorded"
    return (
        ""
        if _is_sealed(line.fields.get("words"), line.fields.get("salt"), facts)
        else "its words are not what was recorded"
    )


def _is_sealed(words: object, salt: object, facts: Mapping[str, Any]) -> bool:
    """Return whether words are those of the facts, or there are none."""
    if isinstance(words, str) and isinstance(salt, str):
        return facts.get("sealed") == seal(words, UUID(salt))
    return (words, salt) == (None, None)


def _lines_of(file: BinaryIO) -> Iterator[Line]:
    """Yield every line; the first must say that this is an export, the last that it is all of it."""
    last = _NOTHING
    for number, text in enumerate(iter(lambda: file.readline(_LONGEST), b""), 1):
        if last.kind == "end":
            raise _refusal(number, "it follows the last one")
        last = _line(number, text)
        if number == 1:
            _check_version(last)
        yield last
    if (last.kind, last.fields.get("lines")) != ("end", last.number - 1):
        raise _refusal(last.number, "the export does not end here; the rest of it is missing")


def _check_version(first: Line) -> None:
    if (first.kind, first.fields.get("version")) != ("export", _VERSION):
        raise _refusal(first.number, f"an export begins with a line `export` of version {_VERSION}")


def _line(number: int, text: bytes) -> Line:
    try:
        fields = value_of(text)
    except ValueError as error:
        raise _refusal(number, f"it is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _refusal(number, "it is no object")
    values = cast(dict[str, Any], fields)
    kind = values.get("line")
    if not isinstance(kind, str):
        raise _refusal(number, "it does not say in `line` what it is")
    return Line(number, kind, values)


def text_in(line: Line, name: str) -> str:
    """Return a field that is a text; raises Permanent("bad_request") for a line in another form."""
    value = line.fields.get(name)
    if not isinstance(value, str):
        raise _refusal(line.number, f"`{name}` is no text")
    return value


def _object(text: object) -> Mapping[str, Any]:
    value = value_of(text) if isinstance(text, str) else None
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return cast(Mapping[str, Any], value)


def _refusal(number: int, problem: str) -> Permanent:
    return Permanent("bad_request", f"line {number} of the export cannot be read: {problem[:300]}")
