"""What stays of a finished run: one concise outcome in the shared agent scope; used where runs end and by planners.

Never a transcript: a later run reads status, duration, tools, cost and where to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from memory import store
from memory.database import Connection, Database
from memory.remembered import Hit, Memory, Note, Provenance
from memory.scope import Access, Principal, Scope

SHARED = Scope("agent", "shared")
TEXT_LIMIT = 300
"""Characters of an outcome, so that ten of them fit into any prompt."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended; counts and names only, no words of its requester, since the whole tenant may read it."""

    run: str
    subject: str
    """Id of the plan or runbook."""
    status: str
    reason: str = ""
    millis: int = 0
    tools: Mapping[str, int] = field(default_factory=dict[str, int])
    """Number of calls by tool name."""
    tokens: int = 0
    micros: int = 0
    pointers: tuple[str, ...] = ()
    """Handles and effect ids that are worth a look."""

    @property
    def text(self) -> str:
        """Return the outcome as people and prompts read it."""
        reason = f" ({self.reason})" if self.reason else ""
        head = f"{self.subject} {self.status}{reason} in {self.millis / 1000:.1f} s, run {self.run}"[: TEXT_LIMIT - 60]
        cost = f"; cost {sum(self.tools.values())} calls, {self.tokens} tokens, {self.micros} micros"
        return f"{head}{cost}{self._most_used(TEXT_LIMIT - len(head) - len(cost))}"[:TEXT_LIMIT]

    def _most_used(self, room: int) -> str:
        text = "; tools"
        for tool, count in sorted(self.tools.items(), key=lambda item: (-item[1], item[0])):
            if len(text) + len(tool) + 10 > room:
                break
            text += f" {tool}×{count}"
        return text if text != "; tools" else ""


def closing(principal: Principal, run: str) -> Access:
    """Return the access with which the transaction that ends a run is entered."""
    return Access(principal, (*principal.reads, Scope("run", run)), SHARED)


async def conclude(connection: Connection, access: Access, ended: Ended) -> Memory:
    """Erase the run's working memory and leave its outcome, in a transaction entered with `closing`.

    A run that was resumed and ends again supersedes its earlier outcome.
    """
    await store.erase_run(connection, ended.run)
    facts = {
        "status": ended.status,
        "duration": ended.millis,
        "tools": dict(ended.tools),
        "cost": {"calls": sum(ended.tools.values()), "tokens": ended.tokens, "micros": ended.micros},
        "pointers": list(ended.pointers),
    }
    provenance = Provenance(run=ended.run, principal=access.principal.id, facts=facts)
    return await store.add(connection, access, Note(ended.text, "tool", provenance, key=f"run:{ended.run}"))


async def similar(database: Database, access: Access, text: str, *, limit: int = 3) -> list[Hit]:
    """Return the outcomes of earlier runs that resemble `text`, such as a runbook's id."""
    found = await store.recall(database, access, text, limit=limit * 4, scopes=[SHARED])
    return [hit for hit in found.hits if (hit.memory.key or "").startswith("run:")][:limit]
