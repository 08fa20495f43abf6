"""Faults of the database before a call: no effect, a code with a name, and one effect after the mending."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from memory.errors import Temporary
from memory.postgres.roles import Urls
from memory.runs import records
from memory.scope import Access
from tests.conftest import Connection
from tests.graphs.stage import Stage, Stages, pay, plan
from tests.scenarios.faults.table import AFTER_THE_CALL, BEFORE_THE_CALL, Fault

LOCK = "select pg_advisory_lock(7200, hashtext(%s))"


@asynccontextmanager
async def broken(above: Connection, fault: Fault, stage: Stage, run: str) -> AsyncGenerator[None]:
    """Break the database for the length of the block."""
    tenant = stage.access.principal.tenant
    await above.execute(fault.breaks.format(run=run, tenant=tenant).encode())
    try:
        yield
    finally:
        if fault.mends:
            await above.execute(fault.mends.encode())


async def ending(stage: Stage, run: str) -> tuple[str, str | None]:
    """Drive a run and return its status and reason; `unavailable` if its worker would end and leave it."""
    try:
        await stage.driver().drive(run)
    except Temporary as error:
        return str(error.code), None
    row = await stage.row(run)
    return row.status, row.reason


async def heal(stage: Stage, run: str, status: str) -> str:
    """Let the run go on as people and workers would; returns its status."""
    if status in ("unavailable", "database_full"):
        await stage.requeue(run)
    elif status == "stopped":
        await stage.activate(stage.rules.version)
        async with stage.database.transaction(Access.of(stage.people["bob"])) as connection:
            await records.resume(connection, run)
    await stage.driver().drive(run)
    return (await stage.row(run)).status


@pytest.mark.parametrize("fault", BEFORE_THE_CALL, ids=str)
async def test_a_run_that_meets_a_broken_database_has_no_effect_until_it_is_mended(
    stages: Stages, above: Connection, urls: Urls, fault: Fault
) -> None:
    """It ends with a code that says what to do, or waits; nothing ends as internal."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    async with await Connection.connect(urls.app, autocommit=True) as hostile, broken(above, fault, stage, run):
        if "lock" in fault.name:
            await hostile.execute(LOCK, [stage.access.principal.tenant])
        status = await ending(stage, run)
    assert (status, stage.shop.payments) == ((fault.status, fault.reason), {})
    if fault.heals:
        assert (await heal(stage, run, fault.status), stage.shop.payments) == ("done", {"a": 100})


@pytest.mark.parametrize("fault", AFTER_THE_CALL, ids=str)
async def test_what_happened_before_the_database_broke_is_not_repeated(
    stages: Stages, above: Connection, fault: Fault
) -> None:
    """It is not told as failed either: resumed after the mending, the run finds its effect."""
    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    async with broken(above, fault, stage, run):
        status = await ending(stage, run)
    assert (status, stage.shop.payments) == ((fault.status, fault.reason), {"a": 100})
    assert (await heal(stage, run, fault.status), stage.shop.payments) == ("done", {"a": 100})
    assert {body["state"] for body in await stage.bodies(run, "outcome")} == {"done"}
