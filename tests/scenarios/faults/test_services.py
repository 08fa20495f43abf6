"""Faults of services, budgets and switches: nothing happens that may not, and the run says which it was."""

from typing import Any

import pytest

from memory.errors import Temporary
from tests.conftest import Connection
from tests.graphs.stage import Stage, Stages, pay, plan, read
from tests.scenarios.faults.test_database import ending
from tools import kills


def away(stage: Stage, *, unsent: bool) -> None:
    """Let the next payment fail before anything happens, once and for ever."""

    async def fail() -> None:
        stage.shop.during = fail
        raise Temporary("tool_failed", "nobody answers", is_unsent=unsent)

    stage.shop.during = fail


@pytest.mark.parametrize(
    ("unsent", "status", "reason"),
    [(True, "failed", "step_failed"), (False, "stopped", "in_doubt")],
    ids=["the service refuses every connection", "the service fails and cannot be asked"],
)
async def test_a_service_that_is_away_has_no_effect(stages: Stages, unsent: bool, status: str, reason: str) -> None:
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    away(stage, unsent=unsent)
    assert (await ending(stage, run), stage.shop.payments) == ((status, reason), {})


async def test_a_service_that_knows_nothing_of_it_has_no_effect(stages: Stages) -> None:
    stage = stages()
    stage.shop.failures.add("a")
    run = await stage.start(plan=plan(pay("a")))
    assert (await ending(stage, run), stage.shop.payments) == (("failed", "step_failed"), {})


async def test_a_second_send_that_cannot_be_registered_is_not_made(stages: Stages, above: Connection) -> None:
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    away(stage, unsent=True)
    await above.execute("alter function register_send(jsonb) rename to away")
    try:
        status = await ending(stage, run)
    finally:
        await above.execute("alter function away(jsonb) rename to register_send")
    assert (status, stage.shop.payments, stage.shop.calls) == (("stopped", "record_refused"), {}, [])


@pytest.mark.parametrize("table", ["results", "result_rows"])
async def test_rows_that_cannot_be_kept_are_not_acted_upon(stages: Stages, above: Connection, table: str) -> None:
    stage = stages()
    run = await stage.start(plan=plan(read(), pay("a")))
    await above.execute(f"alter table {table} add constraint broken check (false) not valid".encode())
    try:
        status = await ending(stage, run)
    finally:
        await above.execute(f"alter table {table} drop constraint broken".encode())
    assert (status, stage.shop.payments) == (("failed", "step_failed"), {})


async def test_a_budget_for_one_call_pays_for_one(stages: Stages) -> None:
    stage = stages()
    run = await stage.start(plan=plan(pay("a"), pay("b"), budget={"calls": 1}))
    assert (await ending(stage, run), stage.shop.payments) == (("stopped", "budget_exceeded"), {"a": 100})


@pytest.mark.parametrize(
    ("reach", "name"),
    [("all", ""), ("agent", "executor"), ("tool", "shop.pay"), ("user", "alice"), ("run", None)],
    ids=lambda value: str(value or "-"),
)
async def test_a_pulled_switch_lets_nothing_happen(stages: Stages, reach: Any, name: str | None) -> None:
    """R125"""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    await kills.kill(stage.database, stage.access, reach, run if name is None else name, "a fault")
    assert (await ending(stage, run), stage.shop.payments) == (("stopped", "killed"), {})
