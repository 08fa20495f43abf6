"""Outcome of a finished run for the whole tenant, and its summary in the requester's own scope.

Written by `endings`, read by planners and by the API. Never a transcript: a later run reads status, duration, tools,
cost and where to look; `transcripts` holds the rest for people.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.runs.models import EndStatus
from memory.scope import Access, Principal, Scope
from memory.store import erasure, write
from memory.store.context import SHARED_SCOPE
from memory.store.models import Memory, Note, Provenance

TEXT_LIMIT = 300
"""Characters of an outcome or a summary, so that ten of them fit into any prompt."""
_REQUEST_LIMIT = 120
_POINTERS = 20

StepStatus = Literal["done", "failed", "unverified", "in_doubt", "compensated", "skipped", "denied"]
_STEP_STATUSES: tuple[StepStatus, ...] = get_args(StepStatus)


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended; counts and names only, no words of its requester, since the whole tenant may read it."""

    run: str
    subject: str
    """Id of the plan or runbook."""
    status: EndStatus
    reason: str = ""
    millis: int = 0
    tools: Mapping[str, int] = field(default_factory=dict[str, int])
    """Number of calls by tool name."""
    tokens: int = 0
    micros: int = 0
    pointers: tuple[str, ...] = ()
    """Handles and effect ids that are worth a look."""
    is_glance: bool = False
    """A person called one tool that only reads."""

    @classmethod
    def of(
        cls, run: str, story: Sequence[Mapping[str, Any]], moment: datetime, *, status: EndStatus, reason: str = ""
    ) -> "RunOutcome":
        """Return how a run ends at this moment, from the bodies of its journal."""
        request = _last(story, "requested")
        entry = _last(story, "planned")
        plan: Mapping[str, Any] = entry.get("document") or entry
        calls = [body for body in story if body["kind"] in ("read", "outcome")]
        effects = dict.fromkeys(str(body["effect"]) for body in calls if body.get("effect"))
        only_reads = all(step["effect"] == "read" for step in plan.get("steps", ()))
        asked: Mapping[str, Any] = request.get("input") or request
        begin = datetime.fromisoformat(request["at"]) if "at" in request else moment
        tokens, micros, *_ = next((body["spent"] for body in reversed(story) if "spent" in body), (0, 0))
        return cls(
            run,
            str(plan.get("id", "request")),
            status,
            reason,
            millis=round((moment - begin).total_seconds() * 1000),
            tools=Counter(str(body["tool"]) for body in calls),
            tokens=tokens,
            micros=micros,
            pointers=tuple(effects)[:_POINTERS],
            is_glance=bool(plan) and only_reads and asked.get("tool_call") is True,
        )

    @property
    def head(self) -> str:
        """Return what was tried, how it ended and under which id it can be looked up."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.subject} {self.status}{reason} in {self.millis / 1000:.1f} s, run {self.run}"[: TEXT_LIMIT - 60]

    @property
    def text(self) -> str:
        """Return the outcome as people and prompts read it."""
        cost = f"; cost {sum(self.tools.values())} calls, {self.tokens} tokens, {self.micros} micros"
        return f"{self.head}{cost}{self._tool_counts(TEXT_LIMIT - len(self.head) - len(cost))}"[:TEXT_LIMIT]

    @property
    def facts(self) -> dict[str, Any]:
        """Return the figures of the run as they are kept beside the text."""
        return {
            "subject": self.subject,
            "status": self.status,
            "duration": self.millis,
            "tools": dict(self.tools),
            "cost": {"calls": sum(self.tools.values()), "tokens": self.tokens, "micros": self.micros},
            "pointers": list(self.pointers),
        }

    def summary(self, request: str) -> str:
        """Return what was asked and what came of it, for the requester's own runs to come."""
        words = " ".join(request.replace("\0", " ").encode(errors="replace").decode().split())
        return f"asked {words[:_REQUEST_LIMIT]!r}: {self.head}"[:TEXT_LIMIT]

    def _tool_counts(self, room: int) -> str:
        text = "; tools"
        for tool, count in sorted(self.tools.items(), key=lambda item: (-item[1], item[0])):
            if len(text) + len(tool) + 10 > room:
                break
            text += f" {tool}×{count}"
        return text if text != "; tools" else ""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What came of one step of a run, its batches taken together."""

    step: str
    tool: str
    status: StepStatus
    """What went wrong with any of its batches, if something did."""
    duration: int
    """Milliseconds in calls."""
    cost: Mapping[str, int]
    pointers: tuple[str, ...]
    """The effects that it had, or the checkpoint that it read from."""


def _last(story: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """Return the body of the last entry of a kind; empty if there is none."""
    empty: Mapping[str, Any] = {}
    return next((body for body in reversed(story) if body["kind"] == kind), empty)


def closing_access(principal: Principal, run: str) -> Access:
    """Return the access with which a run is ended: it erases its own memory and leaves notes in both scopes."""
    reads = (*principal.reads, Scope("run", run))
    return Access(principal, reads, SHARED_SCOPE, (Scope("user", principal.id),))


def notes_of(principal: Principal, outcome: RunOutcome, request: str) -> list[tuple[Access, Note]]:
    """Return what a run leaves: its outcome for everybody and a summary for its requester, with the scope of each.

    The summary quotes the request, which may be pasted from anywhere: no later run takes orders from it.
    """
    provenance = Provenance(run=outcome.run, principal=principal.id, facts=outcome.facts)
    # Read only in the shared scope: whatever the run was shown, its end is news.
    shared = Access(principal, (SHARED_SCOPE,), SHARED_SCOPE)
    return [
        (shared, Note(outcome.text, "tool", provenance, key=f"run:{outcome.run}")),
        (Access.of(principal), Note(outcome.summary(request), "untrusted", provenance)),
    ]


async def conclude(connection: Connection, access: Access, outcome: RunOutcome) -> Memory:
    """Erase the run's working memory and leave its outcome, in a transaction entered with `closing`.

    A run that was resumed and ends again supersedes its earlier outcome.
    """
    await erasure.erase_run(connection, outcome.run)
    shared, note = notes_of(access.principal, outcome, "")[0]
    return await write.add(connection, shared, note)


async def summarise(connection: Connection, access: Access, outcome: RunOutcome, request: str) -> Memory:
    """Leave a summary in the requester's own scope, entered to write, in place of an earlier one of the run."""
    await connection.execute(
        "delete from memories where scope = %s and summary_of = %s",
        [str(access.writes), outcome.run],
    )
    own, note = notes_of(access.principal, outcome, request)[1]
    return await write.add(connection, own, note)


async def steps(database: Database, access: Access, run: str) -> list[StepOutcome]:
    """Return what came of each step of a run that was begun, in their order; also while it is under way."""
    rows = await database.rows(
        access,
        "select step, tool, status, duration, cost, pointers from step_outcomes where run = %s order by first",
        run,
    )
    return [_outcome(row) for row in rows]


def _outcome(row: Mapping[str, Any]) -> StepOutcome:
    return StepOutcome(
        row["step"],
        row["tool"],
        member(_STEP_STATUSES, row["status"], "step_outcomes"),
        row["duration"],
        cost=row["cost"],
        pointers=tuple(row["pointers"]),
    )
