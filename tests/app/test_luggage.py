"""Luggage of leases: how many statements a run takes, and what a death at any of them leaves to its successor."""

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import CheckpointTuple, get_checkpoint_id

from graphs.catalog import STEPS_LIMIT, FlowCatalog
from graphs.nodes.adoption import initial_state
from graphs.planning.proposal import Proposal
from graphs.state import State
from memory.evidence import check
from memory.postgres.roles import Urls
from memory.runs.checkpoints import Checkpoints, leading, reading
from memory.runs.leases import Luggage
from memory.runs.queue import Queue, RunStart
from memory.scope import Access, Principal
from memory.store import context
from tests.app.mortal import Death, Fate, MortalDatabase
from tests.bench.counting import count_statements
from tests.conftest import Connect, VirtualClock
from tests.fakes.shop import Shop
from tests.graphs.stage import BUDGET, HOLD, POLICY, Stage, pay, plan, trace
from tools import kills
from tools.model import ModelCost
from tools.token_budget import TokenMeter

pytestmark = pytest.mark.anyio

LOOK: dict[str, Any] = {"id": "look", "tool": "shop.count", "effect": "read", "args": {}, "expect": "result.paid >= 0"}
STATEMENTS = [
    "unload",
    "begin_read",
    "end_read",
    "unload, claim",
    "settle",
    "unload, run_story",
    "unload, end_run",
]
"""Statements of a run of one read and one write, after its start and its lease: nine in all."""
_IDS = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{64}")
KINDS = ["requested", "planned", "read look", "proposed pay_a", "permitted pay_a", "outcome pay_a", "audited", "ended"]


class Office:
    """A planner that counts, a shop, and processes that come and go."""

    def __init__(self, database: MortalDatabase, clock: VirtualClock, people: dict[str, Principal]) -> None:
        self.database, self.clock, self.people = database, clock, people
        self.shop, self.questions = Shop(), 0
        self.question = ""
        """What the planner asks instead of planning."""

    async def propose(self, state: State) -> Proposal:
        self.questions += 1
        if self.question:
            return {"clarify": {"question": self.question, "candidates": []}, "round": 1}
        return {"plan": plan(LOOK, pay(state.get("request", "")), source="runbook"), "round": 1, "note": ""}

    def stage(self, fate: Fate | None = None, policy: str = POLICY) -> Stage:
        """Return the system of a process with a fate."""
        self.database.fate = fate or Fate()
        return Stage(self.database, self.clock, self.people, shop=self.shop, policy=policy, planner=self.propose)


@pytest.fixture
async def office(urls: Urls, clock: VirtualClock, people: dict[str, Principal]) -> AsyncGenerator[Office]:
    database = await MortalDatabase.open(urls.app, size=2, worker_url=urls.worker)
    assert isinstance(database, MortalDatabase)
    yield Office(database, clock, people)
    await database.close()


async def history(stage: Stage, run: str) -> list[CheckpointTuple]:
    """Return a run's checkpoints, oldest first."""
    row = await stage.row(run)
    saver = stage.saver()
    return [one async for one in saver.alist(reading(stage.access, row.thread), filter={"run": run})][::-1]


def shape(checkpoints: list[CheckpointTuple], order: str) -> list[list[str]]:
    """Return what a history says, without ids, versions and the name of the order, which no two runs share."""
    ids = [get_checkpoint_id(one.config) for one in checkpoints]
    return [
        [
            _text(value).replace(order, "order")
            for value in (
                one.metadata,
                one.checkpoint["channel_values"],
                sorted(one.checkpoint["channel_versions"]),
                sorted(one.checkpoint["versions_seen"]),
                ids.index(get_checkpoint_id(one.parent_config)) if one.parent_config else None,
                [(channel, value) for _, channel, value in one.pending_writes or []],
            )
        ]
        for one in checkpoints
    ]


def _text(value: Any) -> str:
    return _IDS.sub("id", json.dumps(value, sort_keys=True, default=str))


async def test_a_governed_run_of_one_read_and_one_write_takes_nine_statements(office: Office) -> None:
    """Start and lease, and between them and the end nothing that is asked twice."""
    stage, run = office.stage(), str(uuid4())
    await stage.activate(stage.rules.version)
    driver, start = stage.driver(), RunStart(run, {"request": "a"}, run, BUDGET)
    fate = office.database.fate = Fate()
    with count_statements() as count:
        await Queue().accept(office.database, stage.access, start)
        await driver.drive(run)
    assert fate.statements == ["accept_run", *STATEMENTS]
    assert count.statements == 9
    assert trace(await stage.entries(run)) == KINDS
    assert (await context.last_outcomes(stage.database, stage.access, "test"))[0].provenance.run == run


async def test_a_run_that_people_agreed_to_goes_on_in_seven(office: Office) -> None:
    """Its lease, where it stands, what they decided, and then as ever; where it stands is read once."""
    stage = office.stage(policy=POLICY + HOLD)
    run = await stage.start("a")
    assert (await stage.drive(run)).status == "waiting"
    await stage.decide(run)
    fate = office.database.fate = Fate()
    with count_statements() as count:
        await stage.driver().drive(run)
    assert fate.statements == ["unload, claim", "settle", "unload, run_story", "unload, end_run"]
    assert (count.statements, office.shop.payments) == (7, {"a": 100})


async def test_history_is_that_of_a_run_whose_checkpoints_go_one_by_one(office: Office) -> None:
    """Checkpoint by checkpoint, with what each task wrote."""
    stage = office.stage()
    led, plain = await stage.start("order_1"), await stage.start("order_2")
    await stage.driver().drive(led)
    office.shop.payments.clear()
    deps, lease = stage.deps(), await stage.lease(plain)
    flow = FlowCatalog.discover().get("governed").compile(deps, Checkpoints(office.database, single_task=True))
    config = {**leading(lease, fresh=True, copies=False), "recursion_limit": STEPS_LIMIT}
    first = await initial_state(lease, deps.adopt, deps.cards)
    await flow.ainvoke(first, config, context=lease, durability="sync")
    assert shape(await history(stage, led), "order_1") == shape(await history(stage, plain), "order_2")


@pytest.mark.parametrize("window", ["before", "after"])
@pytest.mark.parametrize("number", range(1, len(STATEMENTS) + 1), ids=str)
async def test_a_death_at_any_statement_leaves_one_run(office: Office, number: int, window: Any) -> None:
    """Paid once, planned again only if no plan was saved, the same entries, one line of checkpoints."""
    stage = office.stage(Fate())
    run = await stage.start("a")
    stage = office.stage(Fate(number, window))
    with pytest.raises(Death):
        await stage.driver().drive(run)
    successor = office.stage()
    if (number, window) != (len(STATEMENTS), "after"):
        await successor.requeue(run)
        await successor.driver().drive(run)
    assert (await successor.row(run)).status == "done"
    assert office.shop.payments == {"a": 100}
    assert office.questions == (2 if (number, window) == (1, "before") else 1)
    lines = trace(await successor.entries(run))
    assert [line for line in lines if line.partition(" ")[0] not in ("retaken", "resent")] == KINDS
    checkpoints = await history(successor, run)
    parents = Counter(get_checkpoint_id(one.parent_config) for one in checkpoints if one.parent_config)
    assert max(parents.values()) == 1
    async with office.database.snapshot(successor.access) as connection:
        report = await check.check(connection, run)
    assert report.ok, report


async def test_a_question_of_the_planner_is_not_thought_of_twice(office: Office) -> None:
    """It is saved with its step before anything else happens, though nobody has parked the run yet."""
    office.question = "which order?"
    stage = office.stage()
    run = await stage.start("a")
    office.database.fate = Fate(2)
    with pytest.raises(Death):
        await stage.driver().drive(run)
    assert office.database.fate.statements == ["unload", "unload, park_run"]
    successor = office.stage()
    await successor.requeue(run)
    assert ((await successor.drive(run)).status, office.questions) == ("waiting", 1)
    assert trace(await successor.entries(run)) == ["requested", "clarify"]


async def test_what_a_model_said_is_saved_with_its_step_at_once(office: Office) -> None:
    """In whatever node it was asked: the tokens are spent."""
    stage = office.stage()
    lease = replace(await stage.lease(await stage.start("a")), luggage=Luggage())
    meter = TokenMeter(office.database)
    await meter.reserve(lease, "planner", 10)
    await meter.settle(lease, "planner", ModelCost(10, 5, "0" * 64, "a prompt", "an answer"))
    assert lease.luggage is not None
    assert lease.luggage.is_due


async def test_a_lease_lost_between_a_step_and_its_ride_does_nothing_more(office: Office) -> None:
    """Trap 4: the fence is looked at before the claim that the checkpoint travels with."""
    stage = office.stage()
    run = await stage.start("a")

    async def take_over() -> None:
        await stage.requeue(run)
        await stage.lease(run, 2)

    office.database.fate = Fate(at={"unload, claim": take_over})
    await stage.driver().drive(run)
    assert (office.shop.calls, office.database.fate.statements[-1]) == ([], "unload, claim")
    assert [one.metadata.get("step") for one in await history(stage, run)] == [-1, 0, 1]
    assert trace(await stage.entries(run)) == KINDS[:3]


@pytest.mark.parametrize("stop", ["cancel", "kill"])
async def test_a_stop_between_two_steps_is_seen_by_the_claim(office: Office, stop: str) -> None:
    """What waited is saved all the same, and the run ends on record."""
    stage = office.stage()
    run = await stage.start("a")

    async def pull() -> None:
        if stop == "cancel":
            return await stage.cancel(run)
        await kills.kill(stage.database, Access.of(office.people["bob"]), "run", run, reason="stop")

    office.database.fate = Fate(at={"unload, claim": pull})
    row = await stage.drive(run)
    assert (row.status, office.shop.calls) == ({"cancel": "cancelled", "kill": "stopped"}[stop], [])
    assert [one.metadata.get("step") for one in await history(stage, run)] == [-1, 0, 1, 2]


async def test_checkpoints_that_were_deleted_meanwhile_end_the_run_by_name(office: Office, superuser: Connect) -> None:
    """The payment that the checkpoint travelled with does not happen."""
    stage = office.stage()
    run = await stage.start("a")

    async def delete() -> None:
        async with superuser() as above:
            await above.execute("update runs set checkpoints_deleted = clock_timestamp() where id = %s", [run])

    office.database.fate = Fate(at={"unload, claim": delete})
    row = await stage.drive(run)
    assert (row.status, row.reason, office.shop.calls) == ("failed", "conflict", [])
