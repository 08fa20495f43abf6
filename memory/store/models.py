"""Values of the memory store: notes to be written, memories, and results of a search; used by every module of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from memory.scope import Scope, Trust

ROW = "id::text, scope, key, body, trust, provenance, created, expires, uses, speaker, session, place, said"
"""The columns that `from_row` reads."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of a memory."""

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
    """Position of a text in a conversation: speaker, time and session; optional, and used by ranking."""

    speaker: str
    said: datetime | None = None
    session: str | None = None
    place: int | None = None
    """Position in the session, from 0; given exactly if the session is."""

    @property
    def is_complete(self) -> bool:
        """Return whether it can be stored: named speaker, session and position together, a time with its zone."""
        has_position = (self.session is None) == (self.place is None) and (self.place or 0) >= 0
        has_zone = self.said is None or self.said.tzinfo is not None
        return has_position and has_zone and _is_name(self.speaker) and _is_name(self.session or "-")


@dataclass(frozen=True, slots=True)
class Note:
    """A text to be remembered."""

    body: str
    trust: Trust
    provenance: Provenance
    key: str | None = None
    """Subject; a new note on it supersedes the old one."""
    ttl: timedelta | None = None
    is_pinned: bool = False
    """Not pruned to make room."""
    valid_from: datetime | None = None
    """Beginning of the time in which it is so; None means now."""
    is_import: bool = False
    """Whether it comes from a file; a person's forgotten text is then refused like anybody's."""
    turn: Utterance | None = None

    @property
    def text(self) -> str:
        """Return the text that is embedded: the body after its speaker's name."""
        return f"{self.turn.speaker}: {self.body}" if self.turn else self.body


@dataclass(frozen=True, slots=True)
class Memory:
    """A stored text."""

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
    """In the answer to writing: this memory was there and says the same; the new text was only linked to it."""
    is_history: bool = field(default=False, compare=False)
    """In the answer to restoring: this is a past value, since its subject has another one now."""


@dataclass(frozen=True, slots=True)
class MemoryHit:
    """A memory, its score, and the addends of the score; scores compare within one search only."""

    memory: Memory
    score: float
    explain: Mapping[str, float]
    similarity: float
    """From 0 to 1, of the query and this text alone; this is what a threshold can be set on."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits of a search, and how many rows of the same scopes were not shown, by reason."""

    hits: tuple[MemoryHit, ...]
    expired_count: int
    superseded_count: int
    unrelated_count: int
    """Live rows that are not related to the query."""
    foreign_count: int
    """Live rows with the vector of another embedder, which only words can find."""


def from_row(row: Mapping[str, Any]) -> Memory:
    """Return the memory in a row of the table."""
    origin: dict[str, Any] = row["provenance"]
    return Memory(
        id=row["id"],
        scope=Scope.parse(row["scope"]),
        key=row["key"],
        body=row["body"],
        trust=row["trust"],
        provenance=Provenance(
            run=origin["run"],
            step=origin["step"],
            call=origin["call"],
            principal=origin["principal"],
            source=origin["source"],
            derived_from=tuple(origin["derived_from"]),
            facts=origin["facts"],
        ),
        created=row["created"],
        expires=row["expires"],
        uses=row["uses"],
        turn=row["speaker"] and Utterance(row["speaker"], row["said"], row["session"], row["place"]),
        is_repeat=row.get("code") == "linked",
    )
