"""Bad days of a pool: sessions that the server ended, clocks that were set, a database that takes no writes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from memory.errors import Temporary
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from tests.conftest import Connect

pytestmark = pytest.mark.anyio
ACCESS = Access.of(Principal("t-bad-days", "alice"))
DAY = 86_400.0
POOL = 8
"""More than a pool would try one after the other: it pauses longer after each dead connection."""
END = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and usename = %s"


class SteppedClock:
    """A clock of a process that is set while the process lives."""

    def __init__(self) -> None:
        self.step = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.step


@pytest.fixture(scope="module")
def own(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of our own, whose sessions may be ended."""
    return clone(f"bad_days_{worker_id}")


@pytest.fixture
def clock_of_process() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def database(own: Urls, clock_of_process: SteppedClock, anyio_backend: str) -> AsyncGenerator[Database]:
    pool = await Database.open(own.app, size=POOL, monotonic=clock_of_process)
    yield pool
    await pool.close()


async def tenant_of_call(database: Database) -> object:
    return (await database.call(ACCESS, "current_tenant"))["current_tenant"]


async def tenant_of_rows(database: Database) -> object:
    return (await database.rows(ACCESS, "select current_tenant() as tenant"))[0]["tenant"]


async def tenant_of_transaction(database: Database) -> object:
    async with database.transaction(ACCESS) as connection:
        row = await (await connection.execute("select current_tenant() as tenant")).fetchone()
    return row and row["tenant"]


async def tenant_of_snapshot(database: Database) -> object:
    async with database.snapshot(ACCESS) as connection:
        row = await (await connection.execute("select current_tenant() as tenant")).fetchone()
    return row and row["tenant"]


WAYS = [tenant_of_call, tenant_of_rows, tenant_of_transaction, tenant_of_snapshot]
Way = Callable[[Database], "asyncio.Future[object]"]


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_notices_that_the_server_ended_sessions_at_rest(own: Urls, database: Database, way: Way) -> None:
    await asyncio.gather(*(database.rows(ACCESS, "select pg_sleep(0.05)::text") for _ in range(POOL)))
    async with await psycopg.AsyncConnection.connect(own.superuser, autocommit=True) as above:
        assert len(await (await above.execute(END, ["cs_app"])).fetchall()) > 4
    assert [await way(database) for _ in range(8)] == [ACCESS.principal.tenant] * 8


@pytest.mark.parametrize("step", [30.0, -30.0, 120.0, -120.0, DAY, -DAY])
@pytest.mark.parametrize("way", WAYS)
async def test_a_clock_that_is_set_stops_nothing(
    database: Database, clock_of_process: SteppedClock, way: Way, step: float
) -> None:
    """The clock of the process against that of the database: which of the two was set cannot be told apart."""
    assert await way(database) == ACCESS.principal.tenant
    clock_of_process.step = step
    assert await asyncio.gather(*(way(database) for _ in range(6))) == [ACCESS.principal.tenant] * 6
    clock_of_process.step = 0.0
    assert await way(database) == ACCESS.principal.tenant


async def test_sessions_that_took_later_entries_are_replaced(
    database: Database, clock_of_process: SteppedClock
) -> None:
    """As after a database's clock was set back: its sessions remember a time that is still to come."""
    await asyncio.gather(*(database.rows(ACCESS, "select pg_sleep(0.05)::text") for _ in range(POOL)))
    clock_of_process.step = 55.0
    await asyncio.gather(*(database.rows(ACCESS, "select pg_sleep(0.05)::text") for _ in range(POOL)))
    clock_of_process.step = -DAY
    assert [await tenant_of_call(database) for _ in range(8)] == [ACCESS.principal.tenant] * 8


async def test_what_an_entry_refused_for_its_time_carried_is_executed_once(
    own: Urls, database: Database, clock_of_process: SteppedClock
) -> None:
    name = f"t-{uuid4().hex[:12]}"
    async with await psycopg.AsyncConnection.connect(own.owner, autocommit=True) as owner:
        await owner.execute("insert into tenants (id) values (%s)", [name])
        await owner.execute("grant usage on sequence worker_numbers to cs_app")
    clock_of_process.step = DAY
    access = Access.of(Principal(name, "alice"))
    await database.call(access, "nextval", "worker_numbers")
    first = (await database.call(access, "nextval", "worker_numbers"))["nextval"]
    clock_of_process.step = -DAY
    assert (await database.call(access, "nextval", "worker_numbers"))["nextval"] == first + 1


async def test_a_read_only_database_is_said_as_that_and_is_well_again_by_itself(
    own: Urls, database: Database, superuser: Connect, clock_of_process: SteppedClock
) -> None:
    async with superuser() as above:
        set_read_only = sql.SQL("alter database {} set default_transaction_read_only = {}")
        name = sql.Identifier(str(conninfo_to_dict(own.app)["dbname"]))
        await above.execute(set_read_only.format(name, sql.SQL("on")))
        try:
            async with await psycopg.AsyncConnection.connect(own.superuser, autocommit=True) as other:
                await other.execute(END, ["cs_app"])
            for way in WAYS:
                with pytest.raises(Temporary, match="takes no writes") as refusal:
                    await way(database)
                assert refusal.value.code == "database_read_only"
        finally:
            await above.execute(set_read_only.format(name, sql.SQL("off")))
    # Sessions of that time are still in the pool, and would stay read-only for ever.
    clock_of_process.step = 2.0
    assert [await way(database) for way in WAYS] == [ACCESS.principal.tenant] * 4
