"""Pruning of a scope that is too full: a preview for people, then removal by them or by housekeeping.

Hygiene comes first: expired, superseded and repeated memories. Then the least worth leave, facts and episodes each from
their own room. Removals are recorded and kept in the archive for the retention; see `archive`.
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
"""Principal of pruning in the background."""
_RANK = ("untrusted", "model", "tool", "human")
_FORMULA = 2
"""Version of the computation of worth, a part of the policy's version."""


@dataclass(frozen=True, slots=True)
class PruningPolicy:
    """Room of a scope, and retention of what was pruned from it."""

    facts: int = 500
    """Most rows with a subject."""
    episodes: int = 2000
    """Most rows without one."""
    source_share: float = 0.25
    """Share of the room for episodes that one source may fill; its further ones leave first. People have no limit."""
    retention_days: int = 30

    @property
    def version(self) -> str:
        """Return the name of exactly these rules, as records cite it."""
        text = json.dumps([_FORMULA, asdict(self)], sort_keys=True)
        return f"memory-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


STANDARD = PruningPolicy()


@dataclass(frozen=True, slots=True)
class PruningCandidate:
    """The columns of a row on which pruning depends."""

    id: str
    key: str | None
    body: str
    terms: Sequence[str]
    trust: str
    provenance: Mapping[str, Any]
    uses: int
    is_pinned: bool
    is_expired: bool
    is_superseded: bool
    is_answer: bool = False
    """Whether it follows a question."""
    is_recent: bool = False
    """Whether it was written within the last ten minutes; older rows leave before it."""

    @property
    def source(self) -> str | None:
        """Return the run or principal whose quota the row counts against; None for what a person said."""
        origin = self.provenance
        return None if self.trust == "human" else str(origin.get("run") or origin.get("principal") or "")


@dataclass(frozen=True, slots=True)
class Removal:
    """A row that leaves; `worth` is its rank value if it left for want of room."""

    id: str
    body: str
    reason: PruningReason
    worth: float | None = None


@dataclass(frozen=True, slots=True)
class PruningPreview:
    """Choice of pruning at this moment; `digest` names exactly this choice under exactly this policy."""

    scope: Scope
    policy: str
    row_count: int
    removals: tuple[Removal, ...]

    @property
    def digest(self) -> str:
        """Return the digest to which a later `prune` can be bound."""
        choices = sorted((leaving.id, leaving.reason) for leaving in self.removals)
        return hashlib.sha256(json.dumps([str(self.scope), self.policy, choices]).encode()).hexdigest()

    @property
    def reasons(self) -> dict[str, int]:
        """Return the number of removals for each reason."""
        return dict(sorted(Counter(leaving.reason for leaving in self.removals).items()))


@dataclass(frozen=True, slots=True)
class PruningReport:
    """Effect of pruning: rows that left, and how many of them can be restored."""

    preview: PruningPreview
    removal_count: int
    archive_count: int


async def preview(database: Database, access: Access, policy: PruningPolicy = STANDARD) -> PruningPreview:
    """Return what `prune` would remove from the access's write scope, without removing it."""
    async with database.transaction(access) as connection:
        return await _preview(connection, access, policy)


async def prune(
    database: Database, access: Access, policy: PruningPolicy = STANDARD, *, expect: str | None = None
) -> PruningReport:
    """Prune the access's write scope and record it; with `expect`, only if the choice is still the one previewed.

    Raises Permanent: `conflict` if it is not, `forbidden` without a write scope.
    """
    async with database.transaction(access) as connection:
        # Two at once would choose the same rows; the second waits and sees the rest.
        await locks.hold_scope(connection, access.writes)
        current = await _preview(connection, access, policy)
        if expect is not None and current.digest != expect:
            raise Permanent("conflict", f"{str(current.scope)!r} changed since the preview; look at a new one")
        if not current.removals:
            return PruningReport(current, 0, 0)
        order = {
            "scope": str(current.scope),
            "policy": current.policy,
            "retention": f"{policy.retention_days} days",
            "leaving": {leaving.id: leaving.reason for leaving in current.removals},
        }
        cursor = await connection.execute("select * from prune_memories(%s)", [Jsonb(order)])
        row = await cursor.fetchone() or {}
    return PruningReport(current, row["gone"], row["kept"])


async def prune_overfull(database: Database, policy: PruningPolicy = STANDARD, *, limit: int = 20) -> int:
    """Prune up to `limit` scopes, of any tenants, that hold more than the policy allows; returns the rows removed."""
    async with database.worker() as connection:
        cursor = await connection.execute(
            "select * from crowded_scopes(%s, %s, %s)", [policy.facts, policy.episodes, limit]
        )
        scopes = await cursor.fetchall()
    return sum([await _prune_or_log(database, row["tenant"], Scope.parse(row["scope"]), policy) for row in scopes])


async def _prune_or_log(database: Database, tenant: str, scope: Scope, policy: PruningPolicy) -> int:
    try:
        return (await prune(database, Access(Principal(tenant, KEEPER), (scope,), scope), policy)).removal_count
    except Temporary:
        raise
    except Exception:  # noqa: BLE001  # what is wrong with one scope must not keep housekeeping from all others
        _LOG.exception("scope %r of tenant %r could not be pruned", str(scope), tenant)
        return 0


async def cite(connection: Connection, access: Access, memories: Sequence[str]) -> int:
    """Count memories as used by the access's run, each once and only if it was shown them; returns how many."""
    seers = [str(scope) for scope in access.reads if scope.kind == "run"]
    cursor = await connection.execute("select cite_memories(%s, %s) as counted", [seers, list(memories)])
    return int((await cursor.fetchone() or {})["counted"])


def choose(rows: Sequence[PruningCandidate], policy: PruningPolicy = STANDARD) -> list[Removal]:
    """Return the removals among a scope's rows, given oldest first; a pinned row leaves only when it has expired."""
    removals = list(_hygiene(rows))
    removed_ids = {removal.id for removal in removals}
    overfull = _overfull([row for row in rows if row.id not in removed_ids], policy)
    rare = rarity(row.terms for row in rows) if overfull else {}
    for members, room, quota in overfull:
        removals += _without_room(members, room, quota, _worth(members, room, rare))
    return removals


def _overfull(rows: Sequence[PruningCandidate], policy: PruningPolicy) -> list[tuple[list[PruningCandidate], int, int]]:
    """Return facts and episodes, each if there are too many, with their room and the quota of one source."""
    facts = [row for row in rows if row.key is not None]
    episodes = [row for row in rows if row.key is None]
    quota = max(1, int(policy.episodes * policy.source_share))
    rooms = ((facts, policy.facts, policy.facts), (episodes, policy.episodes, quota))
    return [(members, room, quota) for members, room, quota in rooms if len(members) > room]


def _hygiene(rows: Sequence[PruningCandidate]) -> Iterator[Removal]:
    first: dict[str, PruningCandidate] = {}
    for row in rows:
        if row.is_expired:
            yield Removal(row.id, row.body, "expired")
        elif row.is_superseded and not row.is_pinned:
            yield Removal(row.id, row.body, "superseded")
        elif row.key is None and not row.is_superseded:
            digest = wording(row.body)
            other = first.get(digest)
            weaker, stronger = (row, other) if other and _precedence(other) >= _precedence(row) else (other, row)
            first[digest] = stronger or row
            if weaker and not weaker.is_pinned:
                yield Removal(weaker.id, weaker.body, "double")


def _precedence(row: PruningCandidate) -> tuple[bool, int, int]:
    return (row.is_pinned, _RANK.index(row.trust), row.uses)


def _worth(rows: Sequence[PruningCandidate], room: int, rare: Mapping[str, float]) -> dict[str, float]:
    """Return the worth of each row; the latest, as many as fill a quarter of the room, are new."""
    old = len(rows) - room // 4
    return {
        row.id: value(information(row.body, row.terms, rare, answers=row.is_answer), row.uses, new=position >= old)
        for position, row in enumerate(rows)
    }


def _without_room(
    rows: Sequence[PruningCandidate], room: int, quota: int, worths: Mapping[str, float]
) -> Iterator[Removal]:
    """Yield the rows that find no room: first those beyond their source's quota, then the least worth."""
    free = max(0, room - sum(row.is_pinned for row in rows))
    newest = {row.id: position for position, row in enumerate(rows)}
    candidates = sorted(
        (row for row in rows if not row.is_pinned),
        key=lambda row: (not row.is_recent, -worths[row.id], -newest[row.id]),
    )
    counts, within, beyond = Counter[str](), list[PruningCandidate](), list[PruningCandidate]()
    for row in candidates:
        counts[row.source or ""] += row.source is not None
        (within if counts[row.source or ""] <= quota else beyond).append(row)
    for row in (within + beyond)[free:]:
        yield Removal(row.id, row.body, "room", round(worths[row.id], 3))


async def _preview(connection: Connection, access: Access, policy: PruningPolicy) -> PruningPreview:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to prune here; work inside one")
    cursor = await connection.execute(
        """
        select id::text, key, body, terms, trust, provenance, uses, pinned as is_pinned, answers as is_answer,
               coalesce(expires <= clock_timestamp(), false) as is_expired,
               superseded_by is not null and covered_until is null as is_superseded,
               created > clock_timestamp() - interval '10 minutes' as is_recent
          from memories where scope = %s order by created, id
        """,
        [str(access.writes)],
    )
    rows = [PruningCandidate(**row) for row in await cursor.fetchall()]
    # In a thread: ranking ten thousand texts takes most of a second, in which others must be served.
    removals = await asyncio.to_thread(choose, rows, policy)
    return PruningPreview(access.writes, policy.version, len(rows), tuple(removals))
