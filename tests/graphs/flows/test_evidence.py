"""Evidence that a governed run leaves: where each of its entries was written from, and verdicts to judge again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphs.deps import Deps
from graphs.execution.capabilities import Planner
from graphs.planning.proposal import Proposal
from graphs.state import Clarify, State
from memory.runs import records
from memory.runs.leases import Lease
from tests import exports
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, pay, pay_all, plan, read
from tools.gateway import Gateway
from tools.model import ModelCost
from tools.token_budget import TokenMeter

pytestmark = pytest.mark.anyio
RULES = POLICY + HOLD
HARD = """
@id("never") @layer("hard")
forbid (principal, action == Action::"shop.pay", resource) when { context.amount == 13 };
"""
NODE_KINDS = {
    *(
        "clarify",
        "recalled",
        "contract_violation",
        "model_call",
        "planned",
        "read",
        "kept",
        "proposed",
        "held",
        "permitted",
    ),
    *("outcome", "skipped", "audited", "denied", "ended"),
}


class Thinking(Stage):
    """A stage whose planner asks a model, then the requester, and then has a plan."""

    def deps(self) -> Deps:
        """Return the flow's parts."""
        gateway = Gateway(self.database, self.catalog, self.rules, self.shop, self.clock)
        return Deps.of(self.database, self.catalog, gateway, self.thinker)

    def thinker(self, lease: Lease) -> Planner:
        """Return the planner of a run, which pays for its thoughts."""

        async def propose(state: State) -> Proposal:
            meter = TokenMeter(self.database)
            await meter.reserve(lease, "planner", 100)
            await meter.settle(lease, "planner", ModelCost(100, 50, "d", "prompt", "answer"))
            if not state.get("answers"):
                question = Clarify(question="which?", candidates=[])
                return Proposal(clarify=question, violations=[{"role": "planner", "field": "json", "attempt": 1}])
            check = read("after", "shop.count", expect="result.paid == 7", audit=True)
            steps = plan(read(), pay("a"), pay("b"), check, pay("c", 13), source="runbook")
            return Proposal(plan=steps, clarify=None, recalled={"shown": ["m1"], "cited": []})

        return propose


async def places(stage: Stage, run: str) -> set[str]:
    """Return the ids of the run's checkpoints."""
    rows = await stage.database.rows(
        stage.access, "select checkpoint_id as id from checkpoints where thread_id = %s", run
    )
    return {row["id"] for row in rows}


async def test_every_entry_that_a_node_writes_names_the_checkpoint_its_step_started_from(
    stages: Stages, make_thinking: Callable[..., Thinking]
) -> None:
    stage = make_thinking(policy=RULES + HARD)
    earlier = await stage.run(plan(pay("a")))
    await stage.decide(earlier.id)
    await stage.drive(earlier.id)
    run = await stage.start("pay")
    await stage.drive(run)
    async with stage.database.transaction(stage.access) as connection:
        await records.answer(connection, run, "b")
    for _ in ("the payment", "the audit"):
        assert (await stage.drive(run)).status == "waiting"
        await stage.decide(run)
    assert (await stage.drive(run)).reason == "policy_denied"
    entries = [entry for entry in await stage.entries(run) if entry.kind in NODE_KINDS]
    assert {entry.kind for entry in entries} == NODE_KINDS
    ids = await places(stage, run)
    assert [(entry.seq, entry.kind) for entry in entries if entry.body.get("checkpoint") not in ids] == []
    assert not [
        entry.kind for entry in await stage.entries(run) if entry.kind == "requested" and "checkpoint" in entry.body
    ]


@pytest.fixture
def make_thinking(stages: Stages) -> Callable[..., Thinking]:
    """Return a factory of stages with a planner that thinks."""

    def make(policy: str) -> Thinking:
        stage = stages(policy=policy)
        return Thinking(stage.database, stage.clock, stage.people, policy=policy)

    return make


async def test_with_one_rule_changed_exactly_the_verdicts_of_that_rule_differ(stages: Stages, tmp_path: Path) -> None:
    """A real run: a read, a batch of payments by people's word, and a small one."""
    stage = stages(policy=RULES)
    row = await stage.run(plan(read(), pay_all(10), pay("small", 1)))
    while row.status == "waiting":
        await stage.decide(row.id)
        row = await stage.drive(row.id)
    assert row.status == "done"
    lines = await exports.lines_of(stage.database, stage.access)
    same = exports.again(lines, tmp_path)
    assert (same.ok, same.equal) == (True, len(exports.judged(lines)))
    freer = RULES.replace("when { context.exposure > 0 }", "when { context.exposure > 0 && context.amount > 1 }")
    result = exports.again(lines, tmp_path, {"test.cedar": freer})
    bodies = {line["seq"]: json.loads(line["body"]) for line in lines if line.get("run") == row.id and "body" in line}
    amounts = {
        entry.seq: entry.body["facts"]["amount"] for entry in await stage.entries(row.id) if "facts" in entry.body
    }
    small = {seq for seq, amount in amounts.items() if amount == 1 and bodies[seq]["verdict"] == "hold"}
    assert {difference.seq for difference in result.different} == small
    assert {difference.computed["verdict"] for difference in result.different} == {"allow"}
    assert result.equal == same.equal - len(small)
