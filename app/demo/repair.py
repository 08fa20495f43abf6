"""Second act: one chat message, two approvers, a runbook that changes, a killed worker, and an end."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.demo.figures import Repair
from app.demo.people import Person, StoryEvent
from app.demo.stage import Stage
from app.demo.telling import Teller
from app.up import PROMPT

RUNBOOK = "billing.double-charge"
_KILL_AT = 37
_AMENDMENT = (
    "\n\nAmended during the incident: say in the customer message that the refund needs up to three bank days.\n"
)


@dataclass(slots=True)
class Act:
    """What the act remembers while events come in."""

    stage: Stage
    people: Mapping[str, Person]
    tell: Teller
    kill: Callable[[], None]
    run: str = ""
    void_count: int = 0
    decision_count: int = 0
    approvals: set[str] = field(default_factory=set[str])
    killed_at: datetime | None = None

    async def see(self, event: StoryEvent) -> None:
        """React to one event, as the people of the story would."""
        kind = event.data.get("kind")
        if event.name == "run":
            self.run = event.data["run"]
        elif kind == "planned":
            self.tell.line(_plan(event.data))
        elif kind == "held":
            await self._gate(event.data)
        elif kind == "approval" and event.data["status"] == "void":
            self.void_count += 1
            self.tell.line(
                f"The open approval is void ({event.data['reason']}): nobody can decide on yesterday's text."
            )
        elif event.name == "progress":
            self._progress(event.data)

    async def _gate(self, data: Mapping[str, Any]) -> None:
        approval = data["approval"]
        self.approvals.add(approval)
        view = await self.people["bob"].get(f"/api/approvals/{approval}")
        self.tell.gate(view)
        # The first approval of refunds stays undecided until the runbook it rests on has changed.
        if "billing.refund_batch" in view["tools"] and not self.void_count:
            await self._publish()
            return
        for name in ("bob", "carol")[: view["need"]]:
            status = await self.people[name].approves(approval, "read and agreed")
            self.tell.line(f"{name.capitalize()} countersigns: {status}.")
        self.decision_count += 1

    async def _publish(self) -> None:
        """Publish the next version of the runbook while the question is open."""
        carol = self.people["carol"]
        item = await carol.get(f"/api/knowledge/{RUNBOOK}")
        version = item["version"] + 1
        body = re.sub(r"(?m)^version: \d+$", f"version: {version}", item["body"], count=1) + _AMENDMENT
        fields = {name: item[name] for name in ("id", "kind", "title", "owner", "review_by")}
        await carol.post("/api/knowledge", {**fields, "body": body, "version": version, "note": "customers asked when"})
        # Her words now; until somebody else has read them, she does not decide what they ask.
        await self.people["bob"].post(f"/api/knowledge/{RUNBOOK}/versions/{version}/approve", {"reason": "read"})
        self.tell.line(f"Meanwhile Carol publishes version {version} of the runbook, and Bob approves it.")

    def _progress(self, data: Mapping[str, Any]) -> None:
        self.tell.progress(data)
        if not self.killed_at and data["step"] == "refund" and data["batch"] >= _kill_at(data["of"]):
            self.killed_at = datetime.now(UTC)
            self.kill()
            self.tell.line(f"The worker is killed after batch {data['batch']} of {data['of']}.")


async def repair(stage: Stage, tell: Teller, kill: Callable[[], None]) -> Repair:
    """Let Alice ask, Bob and Carol decide, and misfortune happen; returns the run as its journal tells it."""
    async with (
        Person("alice", stage.keys["alice"], stage.api) as alice,
        Person("bob", stage.keys["bob"], stage.api) as bob,
        Person("carol", stage.keys["carol"], stage.api) as carol,
    ):
        act = Act(stage, {"alice": alice, "bob": bob, "carol": carol}, tell, kill)
        tell.line(f'Alice, support lead: "{PROMPT}"')
        async with alice.says(PROMPT) as events:
            async for event in events:
                await act.see(event)
        row = await alice.get(f"/api/runs/{act.run}")
        approvals = {"asked": len(act.approvals), "voided": act.void_count, "decided": act.decision_count}
        return Repair(
            run=act.run,
            status=row["status"],
            message=row["message"],
            entries=await alice.journal(act.run),
            approvals=approvals,
            kills=int(act.killed_at is not None and row["status"] == "done"),
            killed_at=act.killed_at,
        )


def _kill_at(batches: int) -> int:
    return _KILL_AT if batches > _KILL_AT else max(1, batches // 3)


def _plan(data: Mapping[str, Any]) -> str:
    subject = data["id"] if data.get("type") == "repair" else "to look first"
    return f"The planner proposes {subject} ({str(data.get('plan', ''))[:8]}); it holds no means to act."
