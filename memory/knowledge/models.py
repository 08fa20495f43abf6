"""The schema of knowledge: what an item is, which texts are refused, and what it is found by; used by `knowledge`."""

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
LONGEST_RUN = 500
"""Characters without a space beyond which a body is a blob and no text."""

MOST_UTTERANCES = 100
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def _named(day: object) -> object:
    if not isinstance(day, str | date) or isinstance(day, datetime):
        raise ValueError("write a day as YYYY-MM-DD")
    return day


Day = Annotated[date, BeforeValidator(_named)]
"""A day by its date; a bare number is none, however many seconds it may stand for."""


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
    """Why this version, for those who read the history."""
    trust: Trust = "human"
    """Who vouches for the text; anything but `human` is refused until a person publishes it as their own."""


@dataclass(frozen=True, slots=True)
class KnowledgeVersion:
    """A published version, as it was and will be."""

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
    """What publishing did: the version, and the runs whose approvals it voided."""

    version: int
    is_new: bool
    """False if exactly this was known already."""
    runs: list[str] = field(default_factory=list[str])


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
        "the body must be text that people can read, not a blob": not _readable(item.body),
        f"the version must be from 1 to {LAST_VERSION}": item.version is not None
        and not 1 <= item.version <= LAST_VERSION,
    }
    found = [problem for problem, present in problems.items() if present]
    if not found and len(phrases(item)) > 2 + MOST_UTTERANCES:
        found = [f"there may be at most {MOST_UTTERANCES} utterances"]
    if found:
        raise Permanent("bad_request", f"{item.id!r} is no knowledge item: {'; '.join(found)}")


def _is_line(text: str, most: int) -> bool:
    return 1 <= len(text.strip()) <= most and text.isprintable()


def _fits(body: str) -> bool:
    return len(body.encode(errors="replace")) <= BODY_BYTES


def _readable(body: str) -> bool:
    words = body.split()
    control = any(ord(sign) < 32 and sign not in "\n\r\t" for sign in body)
    whole = body == body.encode(errors="ignore").decode()
    return len(words) >= 3 and whole and not control and max(map(len, words)) <= LONGEST_RUN


def phrases(item: KnowledgeItem | KnowledgeVersion) -> list[str]:
    """Return what an item is found by: its body, its title, and the utterances of its front matter.

    Raises Permanent("bad_request") for a front matter that cannot be read.
    """
    try:
        front, body = frontmatter.split(item.body)
    except Permanent as error:
        raise Permanent("bad_request", f"{item.id!r}: {error}") from None
    given: object = front.get("utterances") or []
    said = [text for text in cast(list[object], given) if isinstance(text, str)] if isinstance(given, list) else []
    if given != said:
        raise Permanent("bad_request", f"{item.id!r}: utterances must be a list of texts")
    return [body, item.title, *said]


def digest(body: str) -> str:
    """Return the SHA-256 of a body."""
    return hashlib.sha256(body.encode()).hexdigest()


def from_row(row: Mapping[str, Any]) -> KnowledgeVersion:
    """Return the version that a row of the table holds."""
    return KnowledgeVersion(**{name: row[name] for name in KnowledgeVersion.__slots__})
