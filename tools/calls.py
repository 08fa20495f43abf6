"""Calls of tools: each bound to its role, run, permit and key, made, and confirmed by a look at the target.

The gateway makes them between its claim and its settlement; nothing else holds the services.
"""

import time
from dataclasses import dataclass, replace
from typing import Literal

from memory.clock import Clock
from memory.embeddings.embedder import Embedder
from memory.postgres.database import Database
from memory.runs.leases import Lease
from memory.runs.results import RunRows
from tools import answers, effects
from tools.action import Cost, Json
from tools.admission import AdmittedAction
from tools.confirmation import Confirmation, confirm
from tools.effects import Claim
from tools.handles import Handles
from tools.resilience import Attempt, call_tool
from tools.tool import Call, ServiceBinder

_UNCHECKED = Confirmation("unchecked")


@dataclass(frozen=True, slots=True)
class Performance:
    """What came of one call: its attempts, what it cost, and for a write what the world says of it."""

    attempt: Attempt
    cost: Cost
    confirmation: Confirmation = _UNCHECKED

    @property
    def state(self) -> Literal["done", "failed", "unverified", "in_doubt"]:
        """Return the state in which a write is settled."""
        if self.attempt.state == "done" and self.confirmation.verdict == "contradicted":
            return "unverified"
        return "in_doubt" if self.attempt.state == "unknown" else self.attempt.state

    @property
    def outcome(self) -> dict[str, Json]:
        """Return the outcome of a write as it is recorded and replayed."""
        message = self.attempt.message or (self.confirmation.message if self.state == "unverified" else "")
        outcome: dict[str, Json] = {"result": self.attempt.result, "message": answers.plain(message)}
        if self.state in ("done", "unverified"):
            outcome["checked"] = self.confirmation.is_checked
        return outcome | ({"is_key_dead": True} if self.attempt.is_key_dead else {})

    @property
    def sends(self) -> dict[str, Json]:
        """Return what the settled entry says of the attempts."""
        entry: dict[str, Json] = {"number": self.attempt.attempts, "read_back": self.attempt.read_back}
        if self.attempt.stopped_by:
            entry["stopped_by"] = self.attempt.stopped_by
        if self.attempt.read_back:
            entry["retry_suppressed"] = "original_succeeded"
        return entry

    @property
    def check(self) -> dict[str, Json]:
        """Return what the settled entry says of the look at the target."""
        if self.attempt.state != "done":
            return {}
        return {"checked": self.confirmation.is_checked, "check": self.confirmation.as_json()}


class Calls:
    """Calls of one gateway."""

    def __init__(self, database: Database, services: ServiceBinder, clock: Clock, embedder: Embedder) -> None:
        self._database = database
        self._services = services
        self._clock = clock
        self._embedder = embedder

    async def read(self, lease: Lease, admission: AdmittedAction) -> Performance:
        """Make a read."""
        began = time.monotonic()
        attempt = await call_tool(admission.tool, admission.arguments, self._bind(lease, admission), self._clock)
        return _performance(admission, attempt, began)

    async def write(self, lease: Lease, admission: AdmittedAction, claim: Claim, *, first_look: bool) -> Performance:
        """Make a claimed write, and look whether what it reports is so."""
        call, began = self._bind(lease, admission, claim), time.monotonic()

        async def may_send() -> str | None:
            return await effects.register_send(self._database, lease, claim)

        attempt = await call_tool(
            admission.tool, admission.arguments, call, self._clock, first_look=first_look, may_send=may_send
        )
        performance = _performance(admission, attempt, began)
        if attempt.state != "done":
            return performance
        report = performance.attempt.result
        confirmation = await confirm(admission.tool, admission.arguments, call, self._clock, report)
        return replace(performance, confirmation=confirmation)

    async def look(self, lease: Lease, admission: AdmittedAction, claim: Claim) -> Confirmation:
        """Look whether an effect that was done before is still so.

        A state is set anew if it is not, so nothing is lost by looking now; an event's absence is given time.
        """
        tool = replace(admission.tool, settles_within=None) if admission.tool.sets_state else admission.tool
        call = self._bind(lease, admission, claim)
        return await confirm(tool, admission.arguments, call, self._clock, claim.report)

    def _bind(self, lease: Lease, admission: AdmittedAction, claim: Claim | None = None) -> Call:
        action = admission.action
        permit, key = (claim.permit, claim.send_key) if claim else (None, None)
        name = f"{action.plan_hash[:16]}.{action.step}"
        rows = RunRows(
            self._database, lease.access, lease.run, name, embedder=self._embedder, checkpoint=action.checkpoint
        )
        return Call(
            key=key or "",
            run=lease.run,
            step=action.step,
            user=action.user,
            role=action.role,
            services=self._services.bind(action.role, lease.correlation, permit=permit, key=key),
            rows=Handles(rows),
        )


def _performance(admission: AdmittedAction, attempt: Attempt, began: float) -> Performance:
    millis = round((time.monotonic() - began) * 1000)
    return Performance(answers.small(attempt), replace(admission.tool.cost, millis=millis))
