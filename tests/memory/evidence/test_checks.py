"""Scheduled checks: each tenant in turn, a break told once, and reading goes on."""

from collections.abc import Mapping

import pytest

from memory.evidence import checks, log
from memory.governance import journal
from memory.postgres.database import Connection, Database
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import Desk, act, open_desk

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


@pytest.fixture
async def lease(desk: Desk, tenant: str, superuser: Connect) -> Lease:
    """Return a run that the log knows, of the one tenant that nobody has checked."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    await log.extend(desk.database, tenant, None)
    async with superuser() as above:
        await above.execute(
            "insert into evidence_checks (tenant, began, ended, leaves) select id, now(), now(), 1000000 from tenants "
            "where id <> %s on conflict (tenant) do update set began = now(), ended = now(), leaves = 1000000",
            [tenant],
        )
    return lease


async def check_all(database: Database, tenant: str) -> checks.CheckStanding:
    """Check whatever is due, and return how it stands with one tenant."""
    while await checks.check_due(database):
        pass
    return next(standing for standing in await checks.standings(database) if standing.tenant == tenant)


async def hurry(above: Connection, tenant: str) -> None:
    """Let an hour pass since the last check of a tenant."""
    await above.execute(
        "update evidence_checks set began = began - interval '2 h', ended = ended - interval '2 h' where tenant = %s",
        [tenant],
    )


async def alerts(desk: Desk, tenant: str) -> list[Mapping[str, object]]:
    entries = await journal.read(desk.database, desk.access("bob"), f"authority-{tenant}")
    return [entry.body for entry in entries if entry.kind == "alert"]


async def test_a_journal_that_holds_is_told_once_it_was_checked(desk: Desk, lease: Lease, tenant: str) -> None:
    standing = await check_all(desk.database, tenant)
    assert (standing.problems, standing.broken, standing.first, standing.held is not None) == (0, None, "", True)
    assert await alerts(desk, tenant) == []


async def test_nothing_is_due_twice(desk: Desk, lease: Lease, tenant: str) -> None:
    await check_all(desk.database, tenant)
    assert await checks.check_due(desk.database) is None


async def test_a_break_is_an_alert_once_and_its_end_another(
    desk: Desk, lease: Lease, tenant: str, superuser: Connect
) -> None:
    await check_all(desk.database, tenant)
    async with superuser() as above:
        await above.execute("update effects set amount = amount + 1 where run = %s", [lease.run])
        await hurry(above, tenant)
        await check_all(desk.database, tenant)
        await hurry(above, tenant)
        standing = await check_all(desk.database, tenant)
        assert (standing.problems, standing.held is not None, standing.broken is not None) == (1, True, True)
        assert '"table": "effects"' in standing.first
        assert [alert["code"] for alert in await alerts(desk, tenant)] == ["journal_broken"]
        await above.execute("update effects set amount = amount - 1 where run = %s", [lease.run])
        await hurry(above, tenant)
        assert (await check_all(desk.database, tenant)).broken is None
    assert [alert["code"] for alert in await alerts(desk, tenant)] == ["journal_broken", "journal_holds"]


async def test_whoever_took_a_check_and_died_is_not_waited_for_long(
    desk: Desk, lease: Lease, tenant: str, superuser: Connect
) -> None:
    await check_all(desk.database, tenant)
    async with superuser() as above:
        await above.execute(
            "update evidence_checks set began = clock_timestamp() - interval '11 min', ended = null where tenant = %s",
            [tenant],
        )
    result = await checks.check_due(desk.database)
    assert result is not None
    assert result.ok


async def test_people_note_no_checks(desk: Desk, lease: Lease) -> None:
    with pytest.raises(Exception, match="only the installation may"):
        await desk.database.call(desk.access("root"), "note_check", {"problems": 0})


@pytest.mark.parametrize("columns", ["ended", "began", "began, ended", "held, ended"])
@pytest.mark.parametrize("time", ["clock_timestamp() + interval '9 years'", "'infinity'"])
async def test_times_in_the_future_silence_no_check(
    desk: Desk, lease: Lease, tenant: str, superuser: Connect, *, columns: str, time: str
) -> None:
    await check_all(desk.database, tenant)
    async with superuser() as above:
        values = ", ".join(f"{column} = {time}" for column in columns.split(", "))
        await above.execute(f"update evidence_checks set {values} where tenant = %s".encode(), [tenant])
        forged = next(row for row in await checks.standings(desk.database) if row.tenant == tenant)
        assert (forged.checked is None, (forged.held or 0) >= 0) == ("ended" in columns, True)
        assert await checks.check_due(desk.database) is not None
        assert await checks.check_due(desk.database) is None
    standing = await check_all(desk.database, tenant)
    assert standing.checked is not None


async def test_a_check_that_is_said_to_have_lasted_for_ever_is_followed_by_another(
    desk: Desk, lease: Lease, tenant: str, superuser: Connect
) -> None:
    await check_all(desk.database, tenant)
    async with superuser() as above:
        await above.execute("update evidence_checks set seconds = 'infinity', leaves = 0 where tenant = %s", [tenant])
        assert await checks.check_due(desk.database) is None
        await hurry(above, tenant)
    assert await checks.check_due(desk.database) is not None


async def test_a_break_that_is_said_to_come_is_told_as_of_now(
    desk: Desk, lease: Lease, tenant: str, superuser: Connect
) -> None:
    await check_all(desk.database, tenant)
    async with superuser() as above:
        await above.execute("update effects set amount = amount + 1 where run = %s", [lease.run])
        await above.execute(
            "update evidence_checks set broken = 'infinity', ended = 'infinity' where tenant = %s", [tenant]
        )
    standings = await checks.standings(desk.database)
    assert [standing.broken for standing in standings if standing.tenant == tenant] == [0]
    broken = (await check_all(desk.database, tenant)).broken
    assert broken is not None
    assert broken > 0
