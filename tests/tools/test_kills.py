"""Stop switches: their reach, no claim after them, and the right continuation of a stopped run."""

import asyncio
from typing import Any

import psycopg
import pytest

from memory.errors import Halt, LeaseLost, Permanent, Temporary
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import records
from memory.runs.leases import Lease
from tests.conftest import Connect
from tests.tools.support import Desk, act
from tools import effects, kills
from tools.kills import Reach

pytestmark = pytest.mark.anyio

LANES = 8


@pytest.mark.parametrize(
    ("reach", "name"), [("all", ""), ("run", None), ("agent", "executor"), ("tool", "shop.charge"), ("user", "alice")]
)
async def test_a_switch_stops_what_it_names(desk: Desk, reach: Any, name: str | None) -> None:
    """R125"""
    lease = await desk.run()
    await kills.kill(desk.database, desk.access("bob"), reach, lease.run if name is None else name, "too many")
    with pytest.raises(Halt) as halt:
        await desk.gateway.perform(lease, act(lease))
    assert (halt.value.code, desk.shop.calls, (await desk.story(lease))[-1]["code"]) == ("killed", 0, "killed")


@pytest.mark.parametrize(
    ("reach", "name"), [("run", "other"), ("agent", "researcher"), ("tool", "shop.undo"), ("user", "bob")]
)
async def test_a_switch_spares_what_it_does_not_name(desk: Desk, reach: Any, name: str, superuser: Connect) -> None:
    """R125"""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    admission, decision = desk.judge(act(lease, "b"))
    await effects.claim(desk.database, lease, effects.request(lease, admission, decision))
    await kills.kill(desk.database, desk.access("bob"), reach, name)
    async with superuser() as connection:
        cursor = await connection.execute("select jti from permits.permit where run = %s", [lease.run])
        assert len(await cursor.fetchall()) == 1
    assert (await desk.gateway.perform(lease, act(lease, "c"))).state == "done"


async def test_no_claim_commits_after_the_switch_did(desk: Desk) -> None:
    """R125"""
    busy = asyncio.Event()

    async def lane(lease: Lease) -> int:
        for n in range(10_000):
            admission, decision = desk.judge(act(lease, f"{lease.run}-{n}"))
            claim = await effects.claim(desk.database, lease, effects.request(lease, admission, decision))
            if claim.code == "killed":
                return n
            if n == 10:
                busy.set()
        raise AssertionError("the switch was never felt")

    async def pull() -> int:
        await busy.wait()
        await kills.kill(desk.database, desk.access("bob"), "all")
        return await desk.count("effects")

    count, *claims = await asyncio.gather(pull(), *[lane(await desk.run()) for _ in range(LANES)])
    assert count == await desk.count("effects") == sum(claims)


async def test_a_call_stopped_on_its_way_goes_on_after_release_without_asking_again(desk: Desk) -> None:
    """R125"""
    lease = await desk.run()
    refund = act(lease, tool="shop.refund", checkpoint="c1")
    await desk.decide(await desk.ask(lease, refund), "bob")

    async def stop() -> None:
        await kills.kill(desk.database, desk.access("bob"), "all")
        raise Permanent("tool_failed", "permit_invalid")

    desk.shop.before = stop
    with pytest.raises(Halt, match="stopped on its way"):
        await desk.gateway.perform(lease, refund)
    await desk.end(lease, "stopped", "killed")
    await kills.unkill(desk.database, desk.access("bob"), "all")
    desk.shop.before = None
    outcome = await desk.gateway.perform(await desk.resume(lease.run), refund)
    assert (outcome.state, desk.shop.effects, await desk.count("approvals")) == ("done", ["shop:a"], 1)
    attempts = [body for body in await desk.story(lease) if body["kind"] in {"interrupted", "outcome"}]
    assert [(body["kind"], body["checkpoint"]) for body in attempts] == [("interrupted", "c1"), ("outcome", "c1")]


@pytest.mark.parametrize("reach", ["all", "tool"])
async def test_nothing_is_sent_again_after_the_switch_and_a_resume_looks_first(desk: Desk, reach: Reach) -> None:
    """R125: the reply was lost before the switch; whether the service acted is found out, not tried."""
    lease = await desk.run()

    async def stop() -> None:
        await kills.kill(desk.database, desk.access("bob"), reach, "" if reach == "all" else "shop.charge")
        raise Temporary("tool_failed", "the connection was dropped")

    desk.shop.before = stop
    with pytest.raises(Halt, match="looks first"):
        await desk.gateway.perform(lease, act(lease))
    assert desk.shop.calls == 1
    await desk.end(lease, "stopped", "killed")
    await kills.unkill(desk.database, desk.access("bob"), reach, "" if reach == "all" else "shop.charge")
    desk.shop.before, desk.shop.effects = None, ["shop:a"]
    outcome = await desk.gateway.perform(await desk.resume(lease.run), act(lease))
    assert (outcome.state, desk.shop.calls) == ("done", 1)


async def test_a_cancelled_run_sends_nothing_again(desk: Desk) -> None:
    lease = await desk.run()

    async def cancel() -> None:
        async with desk.database.transaction(desk.access("bob")) as connection:
            await records.cancel(connection, lease.run, "enough")
        raise Temporary("tool_failed", "nobody there", is_unsent=True)

    desk.shop.before = cancel
    with pytest.raises(Halt, match="before anything was sent"):
        await desk.gateway.perform(lease, act(lease))
    assert desk.shop.calls == 1


async def test_who_lost_the_lease_sends_nothing_again(desk: Desk) -> None:
    lease = await desk.run()

    async def lose() -> None:
        await desk.retake(lease)
        raise Temporary("tool_failed", "the connection was dropped")

    desk.shop.before = lose
    with pytest.raises(LeaseLost):
        await desk.gateway.perform(lease, act(lease))
    assert desk.shop.calls == 1


async def test_the_switch_names_what_is_on_its_way(desk: Desk) -> None:
    lease = await desk.run()
    reports: list[kills.KillReport] = []

    async def stop() -> None:
        reports.append(await kills.kill(desk.database, desk.access("bob"), "run", lease.run))

    desk.shop.before = stop
    await desk.gateway.perform(lease, act(lease))
    (claim,) = reports[0].open
    assert (claim.run, claim.tool, claim.attempts, reports[0].sessions) == (lease.run, "shop.charge", 1, ())
    assert await kills.open_claims(desk.database, desk.access("bob"), "run", lease.run) == ()


@pytest.mark.parametrize("lock", ["pg_advisory_xact_lock", "pg_advisory_lock", "pg_advisory_lock_shared"])
async def test_the_switch_answers_though_hostile_sql_holds_the_lock_of_all_claims(
    desk: Desk, urls: Urls, tenant: str, lock: str
) -> None:
    """Whoever holds it after half a second is ended, in a transaction and at session level."""
    async with await psycopg.AsyncConnection.connect(urls.app, autocommit="xact" not in lock) as hostile:
        await hostile.execute(f"select {lock}(7200, hashtext(%s))".encode(), [tenant])
        async with asyncio.timeout(20):
            report = await kills.kill(desk.database, desk.access("bob"), "all")
        assert report.sessions == ()
        with pytest.raises(psycopg.OperationalError):
            await hostile.execute("select 1")
    lease = await desk.run()
    with pytest.raises(Halt, match="killed"):
        await desk.gateway.perform(lease, act(lease))


async def test_a_session_that_may_not_be_ended_is_named(desk: Desk, superuser: Connect, tenant: str) -> None:
    async with superuser() as above:
        row = await (await above.execute("select pg_backend_pid() as pid")).fetchone()
        await above.execute("select pg_advisory_lock(7200, hashtext(%s))", [tenant])
        report = await kills.kill(desk.database, desk.access("bob"), "all")
        await above.execute("select pg_advisory_unlock_all()")
    assert row is not None
    assert report.sessions == (row["pid"],)
    lease = await desk.run()
    with pytest.raises(Halt, match="killed"):
        await desk.gateway.perform(lease, act(lease))


async def test_what_was_in_flight_and_happened_is_recorded(desk: Desk) -> None:
    """R125"""
    lease = await desk.run()

    async def stop() -> None:
        await kills.kill(desk.database, desk.access("bob"), "all")

    desk.shop.before = stop
    assert (await desk.gateway.perform(lease, act(lease))).state == "done"
    assert (await desk.kinds(lease))[-1] == "outcome"


async def test_permits_that_were_not_used_are_void_with_the_switch(desk: Desk, urls: Urls, superuser: Connect) -> None:
    """R43 R125"""
    lease = await desk.run()
    admission, decision = desk.judge(act(lease))
    await effects.claim(desk.database, lease, effects.request(lease, admission, decision))
    await kills.kill(desk.database, desk.access("bob"), "tool", "shop.charge")
    async with superuser() as connection:
        cursor = await connection.execute("select 1 from permits.permit where run = %s", [lease.run])
        assert await cursor.fetchall() == []


async def test_switches_are_listed_with_who_pulled_them_and_why(desk: Desk) -> None:
    access = desk.access("bob")
    await kills.kill(desk.database, access, "tool", "shop.undo", "wrong sums")
    switches = [(row.kind, row.name, row.by, row.reason) for row in await kills.ls(desk.database, access)]
    assert switches == [("tool", "shop.undo", "bob", "wrong sums")]
    await kills.unkill(desk.database, access, "tool", "shop.undo")
    assert await kills.ls(desk.database, access) == []


async def test_a_switch_that_is_not_pulled_cannot_be_released(desk: Desk) -> None:
    with pytest.raises(Permanent, match="nothing of kind 'user' named 'eve'"):
        await kills.unkill(desk.database, desk.access("bob"), "user", "eve")


async def test_the_switch_is_written_though_another_transaction_keeps_one_of_its_own_open(
    desk: Desk, database: Database
) -> None:
    """SQL that got into a session of ours pulls the switch and never commits: it waits for nobody, and is ended."""
    async with database.transaction(desk.access("alice")) as hostile:
        await hostile.execute("select * from kill('all', '', 'mine')")
        async with asyncio.timeout(20):
            report = await kills.kill(desk.database, desk.access("bob"), "all", "", "ours")
        assert report.sessions == ()
        with pytest.raises(psycopg.OperationalError):
            await hostile.execute("select 1")
    assert [switch.reason for switch in await kills.ls(desk.database, desk.access("bob"))] == ["ours"]


async def test_a_switch_does_not_wait_for_a_service_that_is_using_a_permit(desk: Desk, urls: Urls) -> None:
    lease = await desk.run()

    async def stop() -> None:
        async with await psycopg.AsyncConnection.connect(urls.superuser) as service:
            query = "select jti from permits.permit where run = %s for update"
            assert await (await service.execute(query, [lease.run])).fetchone()
            async with asyncio.timeout(20):
                report = await kills.kill(desk.database, desk.access("bob"), "run", lease.run)
        assert [claim.run for claim in report.open] == [lease.run]

    desk.shop.before = stop
    assert (await desk.gateway.perform(lease, act(lease))).state == "done"
