"""Clock of the database, set back: what was written before it lies in a time to come, and stops nothing."""

from uuid import uuid4

import psycopg
import pytest

from memory.postgres.roles import Urls
from memory.runs import leases, queue, records
from tests.conftest import Connect
from tests.tools.support import PLENTY, WORKER, Desk, act

pytestmark = pytest.mark.anyio
BEATS = "update runs set beat = clock_timestamp() + interval '1 day' where id = %s"
EXPIRIES = """
update permits.permit set expires = clock_timestamp() + make_interval(secs => %s) where jti = %s
returning jti, tool, args_hash
"""


async def start(desk: Desk) -> str:
    name = f"r-{uuid4().hex[:12]}"
    async with desk.database.transaction(desk.access("alice")) as connection:
        await records.start(connection, id=name, thread=name, input={}, correlation=name, budget=PLENTY)
    return name


async def test_a_hung_worker_is_noticed_after_its_time_and_a_living_one_stays(desk: Desk, superuser: Connect) -> None:
    async with desk.database.system() as alive, superuser() as above:
        await alive.execute("select pg_advisory_lock(7100, %s)", [WORKER])
        lease = await desk.lease(await start(desk))
        await above.execute(BEATS, [lease.run])
        async with desk.database.worker() as connection:
            assert lease.run not in await records.sweep(connection, silent_seconds=60)
            assert lease.run in await records.sweep(connection, silent_seconds=0)
        await alive.execute("select pg_advisory_unlock(7100, %s)", [WORKER])


async def test_a_run_that_was_queued_at_a_time_to_come_is_taken(desk: Desk, superuser: Connect) -> None:
    name = await start(desk)
    async with superuser() as above:
        await above.execute(BEATS, [name])
    lent = await queue.take(desk.database, WORKER, [leases.DEFAULT_FLOW], 1000)
    assert name in [lease.run for lease in lent]


@pytest.mark.parametrize(("seconds", "sqlstate"), [(-1, "CS401"), (86_400, "CS401"), (200, None)])
async def test_a_permit_does_not_live_on_for_a_day(
    desk: Desk, urls: Urls, superuser: Connect, seconds: int, sqlstate: str | None
) -> None:
    lease = await desk.run()
    codes: list[str | None] = []
    async with await psycopg.AsyncConnection.connect(urls.world, autocommit=True) as world, superuser() as above:

        async def consume() -> None:
            cursor = await above.execute(EXPIRIES, [seconds, desk.shop.permits[-1]])
            permit = await cursor.fetchone() or {}
            try:
                values = [permit["jti"], permit["tool"], permit["args_hash"]]
                await world.execute("select permits.consume(%s, %s, %s)", values)
                codes.append(None)
            except psycopg.Error as error:
                codes.append(error.sqlstate)

        desk.shop.before = consume
        await desk.gateway.perform(lease, act(lease))
    assert codes == [sqlstate]
