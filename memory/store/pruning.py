"""What leaves a scope that is too full, and why; people look at it first, housekeeping and people then do it.

Hygiene goes first: what expired, was superseded, or says what another row says. Then the least worth leave, facts and
episodes each from their own room. What leaves is recorded, and kept for the retention; see `shelf`.
"""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from psycopg.types.json import Jsonb

from memory.errors import Permanent, Temporary
from memory.postgres import locks
from memory.postgres.database import Connection, Database
from memory.scope import Access, Principal, Scope
from memory.store.fingerprints import wording
from memory.store.salience import information, rarity, value

_LOG = logging.getLogger(__name__)
PruningReason = Literal["expired", "superseded", "double", "room"]
KEEPER = "housekeeping"
"""Who prunes when nobody asked for it."""
_RANK = ("untrusted", "model", "tool", "human")
_FORMULA = 2
"""Grows when the worth of a text is computed in another way."""


@dataclass(frozen=True, slots=True)
class PruningPolicy:
    """How much a scope holds, and how long what left can be taken back."""

    facts: int = 500
    """Rows with a subject."""
    episodes: int = 2000
    """Rows without one."""
    source_share: float = 0.25
    """The part of the room for episodes beyond which those of one source, unless it is a person, leave first."""
    retention_days: int = 30

    @property
    def version(self) -> str:
        """Return the name of exactly these rules, as records cite it."""
        text = json.dumps([_FORMULA, asdict(self)], sort_keys=True)
        return f"memory-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


STANDARD = PruningPolicy()


@dataclass(frozen=True, slots=True)
class PruningCandidate:
    """One row of a scope, as far as its fate depends on it."""

    id: str
    key: str | None
    body: str
    terms: Sequence[str]
    trust: str
    provenance: Mapping[str, Any]
    uses: int
    pinned: bool
    expired: bool
    superseded: bool
    answers: bool = False
    """Whether it followed a question."""
    fresh: bool = False
    """Whether it was written within the last ten minutes; what is not leaves before."""

    @property
    def source(self) -> str | None:
        """Return whose quota the row counts against; what a person said counts against none."""
        given = self.provenance
        return None if self.trust == "human" else str(given.get("run") or given.get("principal") or "")


@dataclass(frozen=True, slots=True)
class Removal:
    """A row that leaves; `worth` is what it was ranked by, if it competed for room."""

    id: str
    body: str
    reason: PruningReason
    worth: float | None = None


@dataclass(frozen=True, slots=True)
class PruningPreview:
    """What pruning would do now; `digest` names exactly this choice under exactly this policy."""

    scope: Scope
    policy: str
    row_count: int
    removals: tuple[Removal, ...]

    @property
    def digest(self) -> str:
        """Return what a later `prune` can be bound to."""
        chosen = sorted((leaving.id, leaving.reason) for leaving in self.removals)
        return hashlib.sha256(json.dumps([str(self.scope), self.policy, chosen]).encode()).hexdigest()

    @property
    def reasons(self) -> dict[str, int]:
        """Return how many leave for each reason."""
        return dict(sorted(Counter(leaving.reason for leaving in self.removals).items()))


@dataclass(frozen=True, slots=True)
class PruningReport:
    """What pruning did: rows that left, and how many of them can be taken back."""

    preview: PruningPreview
    removal_count: int
    archive_count: int


async def preview(database: Database, access: Access, policy: PruningPolicy = STANDARD) -> PruningPreview:
    """Return what `prune` would do in the access's write scope, without doing it."""
    async with database.transaction(access) as connection:
        return await _look(connection, access, policy)


async def prune(
    database: Database, access: Access, policy: PruningPolicy = STANDARD, *, expect: str | None = None
) -> PruningReport:
    """Prune the access's write scope and record it; with `expect`, only if the choice is still the one previewed.

    Raises Permanent: `conflict` if it is not, `forbidden` without a write scope.
    """
    async with database.transaction(access) as connection:
        # Two at once would choose the same rows; the second shall see what the first has left.
        await locks.hold_scope(connection, access.writes)
        found = await _look(connection, access, policy)
        if expect is not None and found.digest != expect:
            raise Permanent("conflict", f"{str(found.scope)!r} changed since the preview; look at a new one")
        if not found.removals:
            return PruningReport(found, 0, 0)
        order = {
            "scope": str(found.scope),
            "policy": found.policy,
            "retention": f"{policy.retention_days} days",
            "leaving": {leaving.id: leaving.reason for leaving in found.removals},
        }
        done = await connection.execute("select * from prune_memories(%s)", [Jsonb(order)])
        row = await done.fetchone() or {}
    return PruningReport(found, row["gone"], row["kept"])


async def prune_crowded(database: Database, policy: PruningPolicy = STANDARD, *, limit: int = 20) -> int:
    """Prune scopes of any tenant that hold more than the policy allows, at most `limit`; returns how many rows left."""
    async with database.system() as connection:
        found = await connection.execute(
            "select * from crowded_scopes(%s, %s, %s)", [policy.facts, policy.episodes, limit]
        )
        crowded = await found.fetchall()
    return sum([await _tidied(database, row["tenant"], Scope.parse(row["scope"]), policy) for row in crowded])


async def _tidied(database: Database, tenant: str, scope: Scope, policy: PruningPolicy) -> int:
    try:
        return (await prune(database, Access(Principal(tenant, KEEPER), (scope,), scope), policy)).removal_count
    except Temporary:
        raise
    except Exception:  # noqa: BLE001  # what is wrong with one scope must not keep housekeeping from all others
        _LOG.exception("scope %r of tenant %r could not be pruned", str(scope), tenant)
        return 0


async def cite(connection: Connection, access: Access, memories: Sequence[str]) -> int:
    """Count memories as used by the run of an access, each once and only if it was shown them; returns how many."""
    seers = [str(scope) for scope in access.reads if scope.kind == "run"]
    found = await connection.execute("select cite_memories(%s, %s) as counted", [seers, list(memories)])
    return int((await found.fetchone() or {})["counted"])


def choose(rows: Sequence[PruningCandidate], policy: PruningPolicy = STANDARD) -> list[Removal]:
    """Return what leaves among the rows of one scope, oldest first; a pinned row leaves only when it has expired."""
    leaving = list(_hygiene(rows))
    out = {gone.id for gone in leaving}
    crowded = _crowded([row for row in rows if row.id not in out], policy)
    rare = rarity(row.terms for row in rows) if crowded else {}
    for held, room, quota in crowded:
        leaving += _without_room(held, room, quota, _worth(held, room, rare))
    return leaving


def _crowded(rows: Sequence[PruningCandidate], policy: PruningPolicy) -> list[tuple[list[PruningCandidate], int, int]]:
    """Return facts and episodes, each if there are too many, with their room and the quota of one source."""
    facts, episodes = ([row for row in rows if (row.key is None) == plain] for plain in (False, True))
    quota = max(1, int(policy.episodes * policy.source_share))
    rooms = ((facts, policy.facts, policy.facts), (episodes, policy.episodes, quota))
    return [room for room in rooms if len(room[0]) > room[1]]


def _hygiene(rows: Sequence[PruningCandidate]) -> Iterator[Removal]:
    first: dict[str, PruningCandidate] = {}
    for row in rows:
        if row.expired:
            yield Removal(row.id, row.body, "expired")
        elif row.superseded and not row.pinned:
            yield Removal(row.id, row.body, "superseded")
        elif row.key is None and not row.superseded:
            told = wording(row.body)
            other = first.get(told)
            weaker, stronger = (row, other) if other and _standing(other) >= _standing(row) else (other, row)
            first[told] = stronger or row
            if weaker and not weaker.pinned:
                yield Removal(weaker.id, weaker.body, "double")


def _standing(row: PruningCandidate) -> tuple[bool, int, int]:
    return (row.pinned, _RANK.index(row.trust), row.uses)


def _worth(rows: Sequence[PruningCandidate], room: int, rare: Mapping[str, float]) -> dict[str, float]:
    """Return the worth of each row; those that would fill a quarter of the room are new."""
    old = len(rows) - room // 4
    return {
        row.id: value(information(row.body, row.terms, rare, answers=row.answers), row.uses, new=place >= old)
        for place, row in enumerate(rows)
    }


def _without_room(
    rows: Sequence[PruningCandidate], room: int, quota: int, told: Mapping[str, float]
) -> Iterator[Removal]:
    """Yield as many as find no room: the least worth, but first of all what a source has beyond its quota."""
    free = max(0, room - sum(row.pinned for row in rows))
    newest = {row.id: place for place, row in enumerate(rows)}
    ranked = sorted(
        (row for row in rows if not row.pinned), key=lambda row: (not row.fresh, -told[row.id], -newest[row.id])
    )
    counts, within, beyond = Counter[str](), list[PruningCandidate](), list[PruningCandidate]()
    for row in ranked:
        counts[row.source or ""] += row.source is not None
        (within if counts[row.source or ""] <= quota else beyond).append(row)
    for row in (within + beyond)[free:]:
        yield Removal(row.id, row.body, "room", round(told[row.id], 3))


async def _look(connection: Connection, access: Access, policy: PruningPolicy) -> PruningPreview:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to prune here; work inside one")
    found = await connection.execute(
        """
        select id::text, key, body, terms, trust, provenance, uses, pinned, answers,
               coalesce(expires <= clock_timestamp(), false) as expired,
               superseded_by is not null and covered_until is null as superseded,
               created > clock_timestamp() - interval '10 minutes' as fresh
          from memories where scope = %s order by created, id
        """,
        [str(access.writes)],
    )
    rows = [PruningCandidate(**row) for row in await found.fetchall()]
    # Ranking ten thousand texts takes most of a second, in which others shall be served.
    leaving = await asyncio.to_thread(choose, rows, policy)
    return PruningPreview(access.writes, policy.version, len(rows), tuple(leaving))
