"""The values of memory: what is noted, what was remembered and what a search answers; used by the memory store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from memory.scope import Scope, Trust

ROW = "id::text, scope, key, body, trust, provenance, created, expires, uses, speaker, session, place, said"
"""The columns that `from_row` reads."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a memory comes from."""

    run: str = ""
    step: str = ""
    call: str = ""
    principal: str = ""
    source: str = ""
    """Digest of the text or result that it was taken from."""
    derived_from: tuple[str, ...] = ()
    """Ids of the memories that were recalled when it was made."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Deterministic figures, such as the status and cost of a finished run."""


def _is_name(text: str) -> bool:
    return len(text.strip()) > 0 and len(text) <= 200 and "\0" not in text


@dataclass(frozen=True, slots=True)
class Utterance:
    """Where in a conversation a text was said; a search uses it, and finds without it."""

    speaker: str
    said: datetime | None = None
    session: str | None = None
    place: int | None = None
    """Position in the session, from 0; given exactly if the session is."""

    @property
    def is_whole(self) -> bool:
        """Return whether it can be kept."""
        placed = (self.session is None) == (self.place is None) and (self.place or 0) >= 0
        zoned = self.said is None or self.said.tzinfo is not None
        return placed and zoned and _is_name(self.speaker) and _is_name(self.session or "-")


@dataclass(frozen=True, slots=True)
class Note:
    """A text to be remembered."""

    body: str
    trust: Trust
    provenance: Provenance
    key: str | None = None
    """Subject; a new note on it supersedes the old one."""
    ttl: timedelta | None = None
    pinned: bool = False
    """Never pruned for want of room."""
    valid_from: datetime | None = None
    """Since when it is so; None means since now."""
    is_import: bool = False
    """Taken from a file and not just said, so that what was forgotten stays so."""
    turn: Utterance | None = None

    @property
    def text(self) -> str:
        """Return what it is embedded as: who speaks is a part of what is said."""
        return f"{self.turn.speaker}: {self.body}" if self.turn else self.body


@dataclass(frozen=True, slots=True)
class Memory:
    """One remembered text."""

    id: str
    scope: Scope
    key: str | None
    body: str
    trust: Trust
    provenance: Provenance
    created: datetime
    expires: datetime | None
    uses: int
    turn: Utterance | None = None
    is_repeat: bool = field(default=False, compare=False)
    """In the answer to writing: this was here and says the same; the given text was not stored but linked to it."""
    is_history: bool = field(default=False, compare=False)
    """In the answer to restoring: this is kept as history, for its subject has another value now."""


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """A memory found, its score, and the addends of it; scores compare within one search only."""

    memory: Memory
    score: float
    explain: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, and how many rows of the same scopes were not shown, by reason."""

    hits: tuple[MemoryHit, ...]
    expired: int
    superseded: int
    below: int
    """Rows that share nothing with the query."""
    foreign: int
    """Rows embedded by another embedder, which only their words can find."""


def from_row(row: Mapping[str, Any]) -> Memory:
    """Return the memory that a row of the table holds."""
    given: dict[str, Any] = row["provenance"]
    return Memory(
        id=row["id"],
        scope=Scope.parse(row["scope"]),
        key=row["key"],
        body=row["body"],
        trust=row["trust"],
        provenance=Provenance(
            run=given["run"],
            step=given["step"],
            call=given["call"],
            principal=given["principal"],
            source=given["source"],
            derived_from=tuple(given["derived_from"]),
            facts=given["facts"],
        ),
        created=row["created"],
        expires=row["expires"],
        uses=row["uses"],
        turn=row["speaker"] and Utterance(row["speaker"], row["said"], row["session"], row["place"]),
        is_repeat=row.get("code") == "linked",
    )
