"""Items of knowledge: their fields, the checks that a text must pass, and the phrases that a search compares.

Used by `versions` and `search`, and by the API for its own checks.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator

from memory.errors import Permanent
from memory.knowledge import frontmatter
from memory.scope import Trust

ItemKind = Literal["runbook", "fact", "config"]

LAST_VERSION = 10**6
BODY_BYTES = 20_480
LONGEST_WORD = 500
"""Characters of a word; a longer one makes the body a blob and no text."""

UTTERANCE_LIMIT = 100
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def _require_day(day: object) -> object:
    if not isinstance(day, str | date) or isinstance(day, datetime):
        raise ValueError("write a day as YYYY-MM-DD")
    return day


Day = Annotated[date, BeforeValidator(_require_day)]
"""A calendar day; a bare number is refused, since YAML and JSON would read it as seconds."""


@dataclass(frozen=True, slots=True)
class KnowledgeItem:
    """A version to be published; `version` None means the next one."""

    id: str
    kind: ItemKind
    title: str
    body: str
    owner: str
    review_by: date
    version: int | None = None
    note: str = ""
    """Reason of this version, for readers of the history."""
    trust: Trust = "human"
    """Source of the text; only `human` is accepted: a person publishes other texts as their own."""


@dataclass(frozen=True, slots=True)
class KnowledgeVersion:
    """A published version, which never changes."""

    id: str
    version: int
    kind: ItemKind
    title: str
    body: str
    digest: str
    owner: str
    review_by: date
    note: str
    published_by: str
    published: datetime


@dataclass(frozen=True, slots=True)
class PublicationResult:
    """Effect of publishing: the version, and the runs whose approvals it voided."""

    version: int
    is_new: bool
    """False if exactly this version with this text had been published before."""
    runs: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class VersionStanding:
    """Who stands behind a version."""

    publisher: str
    is_shipped: bool
    """True if no person published it: it came with the installation."""
    approvers: tuple[str, ...]
    candidates: tuple[str, ...]
    """The people who may approve it: those who may publish, but its publisher."""

    @property
    def is_countersigned(self) -> bool:
        """Return whether its publisher may decide what plans that rest on it ask."""
        return self.is_shipped or bool(self.approvers)


@dataclass(frozen=True, slots=True)
class ItemHit:
    """A current item that resembles a text, with a score from 0 to 1."""

    id: str
    version: int
    title: str
    body: str
    score: float


def check(item: KnowledgeItem) -> None:
    """Raise Permanent("bad_request") with everything that is wrong about an item, its front matter included."""
    problems = {
        "the id must be lower-case letters, digits, dots and dashes": not _ID.fullmatch(item.id),
        f"the kind must be one of {', '.join(get_args(ItemKind))}": item.kind not in get_args(ItemKind),
        "the title must be one line of 1 to 200 characters": not _is_line(item.title, 200),
        "the owner must be named in one line of at most 100 characters": not _is_line(item.owner, 100),
        "the note must have at most 500 characters": len(item.note) > 500,
        f"the body must have at most {BODY_BYTES} bytes of text": not _fits(item.body),
        "the body must be text that people can read, not a blob": not _is_readable(item.body),
        f"the version must be from 1 to {LAST_VERSION}": item.version is not None
        and not 1 <= item.version <= LAST_VERSION,
    }
    faults = [problem for problem, present in problems.items() if present]
    if not faults and len(phrases(item)) > 2 + UTTERANCE_LIMIT:
        faults = [f"there may be at most {UTTERANCE_LIMIT} utterances"]
    if faults:
        raise Permanent("bad_request", f"{item.id!r} is no knowledge item: {'; '.join(faults)}")


def _is_line(text: str, limit: int) -> bool:
    return 1 <= len(text.strip()) <= limit and text.isprintable()


def _fits(body: str) -> bool:
    return len(body.encode(errors="replace")) <= BODY_BYTES


def _is_readable(body: str) -> bool:
    words = body.split()
    control = any(ord(sign) < 32 and sign not in "\n\r\t" for sign in body)
    is_unicode = body == body.encode(errors="ignore").decode()
    return len(words) >= 3 and is_unicode and not control and max(map(len, words)) <= LONGEST_WORD


def phrases(item: KnowledgeItem | KnowledgeVersion) -> list[str]:
    """Return the texts that a search compares: an item's body, its title, and the utterances of its front matter.

    Raises Permanent("bad_request") for a front matter that cannot be read.
    """
    try:
        front, body = frontmatter.split(item.body)
    except Permanent as error:
        raise Permanent("bad_request", f"{item.id!r}: {error}") from None
    value: object = front.get("utterances") or []
    utterances = (
        [text for text in cast(list[object], value) if isinstance(text, str)] if isinstance(value, list) else []
    )
    if value != utterances:
        raise Permanent("bad_request", f"{item.id!r}: utterances must be a list of texts")
    return [body, item.title, *utterances]


def digest(body: str) -> str:
    """Return the SHA-256 of a body."""
    return hashlib.sha256(body.encode()).hexdigest()


def from_row(row: Mapping[str, Any]) -> KnowledgeVersion:
    """Return the version in a row of the table."""
    return KnowledgeVersion(**{name: row[name] for name in KnowledgeVersion.__slots__})
