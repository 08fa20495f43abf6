"""Ends of runs: something to remember where something happened, nothing where somebody looked."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from memory.postgres.database import Database
from memory.runs import endings, records
from memory.runs.outcomes import RunOutcome
from memory.scope import Access, Principal, Scope
from memory.store import search, write
from memory.store.models import Provenance
from tests.memory.runs.conftest import BUDGET

BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("tool_call", "effects", "glance"), [(True, ["read"], True), (True, ["write"], False), (False, ["read"], False)]
)
def test_only_a_read_that_a_person_called_is_a_glance(effects: list[str], *, tool_call: bool, glance: bool) -> None:
    plan = {"id": "call.x", "steps": [{"effect": effect} for effect in effects]}
    story = [{"kind": "requested", "input": {"tool_call": tool_call}}, {"kind": "planned", "document": plan}]
    assert RunOutcome.of("r-1", story, BEGIN, status="done").is_glance is glance


def test_a_run_without_a_plan_is_no_glance() -> None:
    story = [{"kind": "requested", "input": {"tool_call": True}}]
    assert RunOutcome.of("r-1", story, BEGIN, status="cancelled").is_glance is False


async def test_a_glance_leaves_nothing_to_remember(database: Database, alice: Principal) -> None:
    """R91: its working memory goes like that of any run."""
    own, scope = Access.of(alice), Scope("run", "r-1")
    working = Access(alice, (*own.reads, scope), scope)
    await write.remember(database, working, "half way", trust="untrusted", provenance=Provenance(source="x"))
    async with database.transaction(own) as connection:
        await endings.close(database, connection, alice, RunOutcome("r-1", "call.x", "done", is_glance=True), "call x")
    assert await search.ls(database, working) == []


@pytest.mark.parametrize(("effect", "notes"), [("read", 0), ("write", 2)])
async def test_a_call_by_hand_that_is_cancelled_while_it_waits_counts_by_what_it_called(
    database: Database, alice: Principal, effect: str, notes: int
) -> None:
    """Entries tell it, with their words."""
    run, own = str(uuid4()), Access.of(alice)
    asked = {"request": "call x", "tool_call": True}
    async with database.transaction(own) as connection:
        await records.start(connection, id=run, thread=run, input=asked, correlation=run, budget=BUDGET)
    lease = await records.lease(database, run, 1)
    assert lease is not None
    plan = {"id": "call.x", "steps": [{"effect": effect}]}
    await records.adopt(database, lease, plan=plan, plan_hash="p", budget=BUDGET, facts={"id": "call.x"})
    await records.put_back(database, lease)
    async with database.transaction(own) as connection:
        await endings.cancel(database, connection, own, run, "enough")
    assert len(await search.ls(database, own)) == notes
