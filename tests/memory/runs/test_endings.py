"""Ends of runs: something to remember where something happened, nothing where somebody looked."""

from datetime import UTC, datetime
from typing import Any

import pytest

from memory.postgres.database import Database
from memory.runs import endings
from memory.runs.outcomes import RunOutcome
from memory.scope import Access, Principal, Scope
from memory.store import search, write
from memory.store.models import Provenance

pytestmark = pytest.mark.anyio
MOMENT = datetime.now(UTC)


def row(source: str, *effects: str) -> dict[str, Any]:
    plan = {"id": "call.x", "source": source, "steps": [{"effect": effect} for effect in effects]}
    return {"id": "r-1", "plan": plan, "created": MOMENT, "spent_tokens": 0, "spent_micros": 0}


@pytest.mark.parametrize(
    ("source", "effects", "glance"),
    [("given", ["read"], True), ("given", ["write"], False), ("runbook", ["read"], False)],
)
def test_only_a_read_that_a_person_called_is_a_glance(source: str, effects: list[str], *, glance: bool) -> None:
    outcome = RunOutcome.of(row(source, *effects), [], MOMENT, status="done")
    assert outcome.is_glance is glance


def test_a_run_without_a_plan_is_no_glance() -> None:
    assert RunOutcome.of({**row("given"), "plan": None}, [], MOMENT, status="cancelled").is_glance is False


async def test_a_glance_leaves_nothing_to_remember(database: Database, alice: Principal) -> None:
    """R91: its working memory goes like that of any run."""
    own, scope = Access.of(alice), Scope("run", "r-1")
    working = Access(alice, (*own.reads, scope), scope)
    await write.remember(database, working, "half way", trust="untrusted", provenance=Provenance(source="x"))
    async with database.transaction(own) as connection:
        await endings.close(database, connection, alice, RunOutcome("r-1", "call.x", "done", is_glance=True), "call x")
    assert await search.ls(database, working) == []
