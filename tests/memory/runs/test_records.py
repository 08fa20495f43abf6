"""Runs: one open per thread, one leader each, parked and woken without loss, ended once per attempt."""

import asyncio
from collections.abc import Mapping
from uuid import uuid4

import pytest

from memory.errors import Halt, LeaseLost, Permanent
from memory.governance import journal
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.runs.models import COLUMNS, run_of
from memory.scope import Access, Principal, Scope
from tests.conftest import VirtualClock
from tests.tools.support import PLENTY, WORKER, Desk, act, open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


async def start(desk: Desk, thread: str, person: str = "alice", **options: str) -> str:
    name = f"r-{uuid4().hex[:12]}"
    request_body = {"text": "hi"}
    async with desk.database.transaction(desk.access(person)) as connection:
        await records.start(
            connection, id=name, thread=thread, input=request_body, correlation="c1", budget=PLENTY, **options
        )
    return name


async def test_a_started_run_is_queued_and_its_request_recorded(desk: Desk) -> None:
    """R104 R110"""
    name = await start(desk, "t1")
    row = await records.get(desk.database, desk.access("alice"), name)
    entry = (await journal.read(desk.database, desk.access("alice"), name))[0].body
    assert (row.status, row.requester, row.input, row.correlation) == (
        "queued",
        "alice",
        {"text": "hi"},
        "c1",
    )
    assert (entry["kind"], entry["user"], entry["correlation"]) == ("requested", "alice", "c1")


async def test_a_thread_has_one_open_run_however_many_start(desk: Desk) -> None:
    results = await asyncio.gather(*(start(desk, "t1") for _ in range(8)), return_exceptions=True)
    runs = [result for result in results if isinstance(result, str)]
    busy = [error for error in results if isinstance(error, Permanent)]
    assert (len(runs), len(busy)) == (1, 7)
    assert {error.code for error in busy} == {"busy"}
    assert runs[0] in str(busy[0])


async def test_one_of_many_workers_gets_the_lease(desk: Desk) -> None:
    name = await start(desk, "t1")
    leases = await asyncio.gather(*(records.lease(desk.database, name, worker) for worker in range(1, 9)))
    winners = [lease for lease in leases if lease]
    assert ([lease.fence for lease in winners], winners[0].thread, winners[0].input) == ([1], "t1", {"text": "hi"})


async def test_a_lease_sees_its_requester_session_and_working_memory_only(desk: Desk) -> None:
    """R92"""
    lease = await desk.lease(await start(desk, "t1"))
    own = Scope("run", lease.run)
    assert lease.access.writes == own
    assert set(lease.access.reads) == {
        Scope("user", "alice"),
        Scope("agent", "shared"),
        Scope("session", "alice/t1"),
        own,
    }


async def test_runs_of_a_dead_worker_are_queued_again_and_its_fence_is_spent(desk: Desk) -> None:
    """R127"""
    lease = await desk.lease(await start(desk, "t1"))
    new = await desk.retake(lease)
    assert new.fence == lease.fence + 1
    with pytest.raises(LeaseLost):
        await journal.append(desk.database, lease.access, lease.run, {"kind": "note"}, fence=lease.fence)
    with pytest.raises(LeaseLost):
        await records.park(desk.database, lease, "clarify")
    with pytest.raises(LeaseLost):
        await desk.end(lease)


async def test_a_swept_run_is_nobodys_until_it_is_leased_again(desk: Desk) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    async with desk.database.worker() as connection:
        await records.sweep(connection)
    budget = {"tokens": 1, "micros": 1, "calls": 1}
    with pytest.raises(LeaseLost):
        await records.adopt(desk.database, lease, plan={}, plan_hash="p", budget=budget, facts={})
    with pytest.raises(LeaseLost):
        await desk.gateway.perform(lease, act(lease))


async def test_runs_of_a_living_worker_stay_unless_it_hangs(desk: Desk) -> None:
    """R127"""
    async with desk.database.system() as alive:
        await alive.execute("select pg_advisory_lock(7100, %s)", [WORKER])
        lease = await desk.lease(await start(desk, "t1"))
        async with desk.database.worker() as connection:
            assert lease.run not in await records.sweep(connection)
            await records.beat(connection, WORKER)
            assert lease.run in await records.sweep(connection, silent_seconds=0)
        await alive.execute("select pg_advisory_unlock(7100, %s)", [WORKER])


async def test_a_run_is_taken_only_by_those_who_know_its_flow(desk: Desk) -> None:
    name = await start(desk, "t1", flow="nightly")
    assert await records.lease(desk.database, name, WORKER, ("governed", "other")) is None
    lease = await records.lease(desk.database, name, WORKER, ("governed", "nightly"))
    row = await records.get(desk.database, desk.access("alice"), name)
    assert lease is not None
    assert (lease.flow, lease.fence, row.flow) == ("nightly", 1, "nightly")


async def test_an_adopted_plan_is_journaled_once_and_brings_its_budget(desk: Desk) -> None:
    """R3 R107"""
    lease = await desk.lease(await start(desk, "t1"))
    for _ in range(2):
        budget = {"tokens": 5, "micros": 6, "calls": 7}
        await records.adopt(desk.database, lease, plan={"a": 1}, plan_hash="p1", budget=budget, facts={"source": "x"})
    row = await records.get(desk.database, lease.access, lease.run)
    assert (row.plan, row.plan_hash, row.tokens.limit, row.calls.limit) == ({"a": 1}, "p1", 5, 7)
    assert (await desk.kinds(lease)).count("planned") == 1


async def test_a_clarifying_question_waits_for_the_requesters_answer(desk: Desk) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    assert await records.park(desk.database, lease, "clarify", answers=0) == "waiting"
    with pytest.raises(Permanent, match="there is no run"):
        await answer(desk, lease, "bob")
    await answer(desk, lease, "alice")
    row = await records.get(desk.database, lease.access, lease.run)
    assert (row.status, row.answers) == ("queued", ("the second one",))
    new = await desk.lease(lease.run)
    assert await records.park(desk.database, new, "clarify", answers=0) == "queued"


async def test_nobody_answers_a_run_that_did_not_ask(desk: Desk) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    with pytest.raises(Permanent) as error:
        await answer(desk, lease, "alice")
    assert error.value.code == "conflict"


async def test_a_run_ends_once_per_attempt(desk: Desk) -> None:
    """R107"""
    lease = await desk.lease(await start(desk, "t1"))
    await desk.end(lease, "stopped", "killed")
    with pytest.raises(LeaseLost):
        await desk.end(lease)
    again = await desk.resume(lease.run)
    await desk.end(again)
    endings = [entry for entry in await desk.story(lease) if entry["kind"] == "ended"]
    assert [(entry["status"], entry["key"]) for entry in endings] == [("stopped", "ended:1"), ("done", "ended:2")]


@pytest.mark.parametrize("status", ["done", "failed", "denied", "cancelled"])
async def test_only_stopped_runs_are_resumed(desk: Desk, status: str) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    await desk.end(lease, status)
    with pytest.raises(Permanent, match=f"is {status}: only stopped"):
        await desk.resume(lease.run)


async def test_a_run_is_not_resumed_beside_another_of_its_thread(desk: Desk) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    await desk.end(lease, "stopped")
    await start(desk, "t1")
    with pytest.raises(Permanent) as error:
        await desk.resume(lease.run)
    assert error.value.code == "busy"


async def test_a_resume_and_a_start_at_once_leave_one_open_run(desk: Desk) -> None:
    for n in range(10):
        lease = await desk.lease(await start(desk, f"t{n}"))
        await desk.end(lease, "stopped")
        results = await asyncio.gather(start(desk, f"t{n}"), resume(desk, lease), return_exceptions=True)
        assert [error.code for error in results if isinstance(error, Permanent)] == ["busy"]
        assert len([error for error in results if isinstance(error, BaseException)]) == 1


async def test_a_running_run_is_cancelled_before_its_next_call(desk: Desk) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    assert await cancel(desk, lease) == "running"
    with pytest.raises(Halt) as halt:
        await desk.gateway.perform(lease, act(lease))
    assert (halt.value.code, desk.shop.calls) == ("cancelled", 0)


async def test_a_cancelled_run_cannot_be_cancelled_again(desk: Desk) -> None:
    lease = await desk.lease(await start(desk, "t1"))
    await records.park(desk.database, lease, "clarify")
    assert await cancel(desk, lease) == "cancelled"
    with pytest.raises(Permanent, match="is cancelled: it has ended already"):
        await cancel(desk, lease)
    assert (await desk.kinds(lease))[-1] == "ended"


async def test_runs_of_another_tenant_do_not_exist(desk: Desk) -> None:
    """R92"""
    name = await start(desk, "t1")
    stranger = Access.of(Principal("elsewhere", "alice"))
    assert await records.ls(desk.database, stranger) == []
    with pytest.raises(Permanent, match="there is no run"):
        await records.get(desk.database, stranger, name)
    async with desk.database.transaction(stranger) as connection:
        with pytest.raises(Permanent, match="there is no run"):
            await records.resume(connection, name)
        with pytest.raises(Permanent, match="there is no run"):
            await records.cancel(connection, name, "")


async def test_runs_are_listed_newest_first_and_paged(desk: Desk) -> None:
    names = [await start(desk, f"t{n}") for n in range(3)]
    access = desk.access("alice")
    newest = await records.ls(desk.database, access, limit=2)
    older = await records.ls(desk.database, access, before=(newest[-1].created_at, newest[-1].id))
    assert [row.id for row in [*newest, *older]] == names[::-1]


async def answer(desk: Desk, lease: Lease, person: str) -> None:
    async with desk.database.transaction(desk.access(person)) as connection:
        await records.answer(connection, lease.run, "the second one")


async def cancel(desk: Desk, lease: Lease) -> str:
    async with desk.database.transaction(desk.access("alice")) as connection:
        return await records.cancel(connection, lease.run, "enough")


async def resume(desk: Desk, lease: Lease) -> None:
    async with desk.database.transaction(desk.access("bob")) as connection:
        await records.resume(connection, lease.run)


async def test_a_status_that_is_not_listed_goes_no_further(desk: Desk) -> None:
    name = await start(desk, "t1")
    async with desk.database.transaction(desk.access("alice")) as connection:
        cursor = await connection.execute(f"select {COLUMNS} from runs where id = %s".encode(), [name])
        row = await cursor.fetchone() or {}
    with pytest.raises(Permanent, match="'asleep'"):
        run_of({**row, "status": "asleep"})
