"""The way to a connection: enters first, leaves nothing behind, refuses powerful roles, says who is away."""

import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app.bootstrap import FUNCTIONS
from memory.errors import Permanent, Temporary
from memory.postgres.database import Database, entered
from memory.postgres.embedded import attach
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls
from memory.postgres.signing import admit
from memory.scope import Access, Principal, Scope
from tests.conftest import Connect

SETTINGS = "select current_tenant(), current_principal(), current_reads(), current_writes()"
CLEAN_SETTINGS: dict[str, object] = {
    "current_tenant": None,
    "current_principal": None,
    "current_reads": [],
    "current_writes": [],
}
PEOPLE = "select count(*) as n from principals"


@pytest.fixture
async def single(urls: Urls, anyio_backend: str) -> AsyncGenerator[Database]:
    """Return a pool of one connection, so that the next borrower gets the same one."""
    pool = await Database.open(urls.app, size=1)
    yield pool
    await pool.close()


async def test_transaction_works_for_the_access_that_it_was_given(database: Database, alice: Principal) -> None:
    access = Access(alice, (Scope("user", "alice"), Scope("run", 'a"b,c')), Scope("run", "r1"))
    async with database.transaction(access) as connection:
        row = await (await connection.execute(SETTINGS)).fetchone()
    assert row == {
        "current_tenant": alice.tenant,
        "current_principal": "alice",
        "current_reads": ["user:alice", 'run:a"b,c'],
        "current_writes": ["run:r1"],
    }


async def test_next_borrower_starts_with_nothing(single: Database, alice: Principal) -> None:
    """R92"""
    async with single.transaction(Access.of(alice)) as connection:
        await connection.execute(SETTINGS)
    await single.call(Access.of(alice), "current_tenant")
    async with single.system() as connection:
        assert await (await connection.execute(SETTINGS)).fetchone() == CLEAN_SETTINGS
        assert await (await connection.execute(PEOPLE)).fetchone() == {"n": 0}


async def test_failed_transaction_leaves_neither_rows_nor_settings(
    single: Database, people: dict[str, Principal]
) -> None:
    root = Access.of(people["root"])

    async def fail() -> None:
        async with single.transaction(root) as connection:
            await connection.execute("select create_key('root', sha256('lost'), '', null)")
            await connection.execute("select 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await fail()
    async with single.system() as connection:
        assert await (await connection.execute(SETTINGS)).fetchone() == CLEAN_SETTINGS
    assert await single.rows(root, "select id from keys") == []


async def test_call_enters_before_the_function_runs_also_with_a_kept_plan(
    database: Database, owner: psycopg.AsyncConnection, people: dict[str, Principal]
) -> None:
    """Ten times, because the sixth execution of a prepared statement may switch to a generic plan."""
    access = Access.of(people["bob"])
    rows = [await database.call(access, "current_tenant") for _ in range(10)]
    assert rows == [{"current_tenant": access.principal.tenant}] * 10


async def test_plan_of_a_call_scans_the_function_below_the_entry(database: Database) -> None:
    async with database.system() as connection:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        query = "explain (format text) " + entered("current_reads()")
        plan = [row["QUERY PLAN"] for row in await (await connection.execute(query.encode(), ["", b""])).fetchall()]
        await connection.execute("reset plan_cache_mode")
    assert plan[0].startswith("Nested Loop")
    outer, inner = (next(i for i, line in enumerate(plan) if name in line) for name in ("CTE Scan", "Function Scan"))
    assert outer < inner
    assert any("One-Time Filter: (entry.tenant IS NOT NULL)" in line for line in plan[outer:inner])


async def test_rows_are_those_of_the_entered_tenant_in_their_order(
    database: Database, people: dict[str, Principal]
) -> None:
    """R92"""
    query = "select id from principals where id <> %s order by id desc"
    answers = [await database.rows(Access.of(people["bob"]), query, "carol") for _ in range(10)]
    assert answers == [[{"id": "root"}, {"id": "dave"}, {"id": "bob"}, {"id": "alice"}]] * 10
    stranger = Access.of(Principal(f"t-{uuid4().hex[:12]}", "mallory"))
    assert await database.rows(stranger, query, "carol") == []


async def test_call_without_a_tenant_never_runs_the_function(database: Database) -> None:
    no_access = Access(Principal("", "x"), ())
    assert await database.call(no_access, "revoke_key", "none") == {}


async def test_call_commits_and_returns_the_row(database: Database, people: dict[str, Principal]) -> None:
    root = Access.of(people["root"])
    row = await database.call(root, "create_key", "root", b"\0" * 32, "", None)
    assert await database.rows(root, "select id from keys") == [row]


async def test_mappings_travel_as_json(database: Database, alice: Principal) -> None:
    assert await database.call(Access.of(alice), "jsonb_typeof", {"a": 1}) == {"jsonb_typeof": "object"}


@pytest.mark.parametrize("name", ["enter(); drop table runs", "A", "", "pg_sleep(1)", "a.b", "a\n"])
async def test_function_name_that_is_no_plain_name_is_refused(database: Database, alice: Principal, name: str) -> None:
    with pytest.raises(ValueError, match="is no function name"):
        await database.call(Access.of(alice), name)


async def test_people_of_other_tenants_are_invisible(database: Database, alice: Principal) -> None:
    """R92: no WHERE at all, and still nobody of another tenant."""
    stranger = Access.of(Principal(f"t-{uuid4().hex[:12]}", "mallory"))
    async with database.transaction(stranger) as connection:
        assert await (await connection.execute(PEOPLE)).fetchone() == {"n": 0}


async def test_owner_is_bound_by_row_security_too(owner: psycopg.AsyncConnection, alice: Principal) -> None:
    assert await (await owner.execute(PEOPLE)).fetchone() == {"n": 0}


@pytest.mark.parametrize("role", ["owner", "superuser"])
async def test_role_above_row_security_is_refused(urls: Urls, role: str) -> None:
    with pytest.raises(Permanent, match=r"stands above row security.*'cs_app'") as refusal:
        await Database.open(getattr(urls, role))
    assert refusal.value.code == "configuration"


async def test_role_that_may_bypass_row_security_is_refused(urls: Urls, superuser: Connect) -> None:
    role = f"bypass_{uuid4().hex[:8]}"
    async with superuser() as connection:
        await connection.execute(f"create role {role} login bypassrls password 'x'".encode())
        try:
            with pytest.raises(Permanent, match="bypasses"):
                await Database.open(make_conninfo(urls.app, user=role, password="x"))
        finally:
            await connection.execute(f"drop role {role}".encode())


async def test_app_role_owns_nothing_and_cannot_become_another(database: Database) -> None:
    async with database.system() as connection:
        for statement_ in (
            "set role cs_owner",
            "set role cs_system",
            "set session_replication_role = replica",
            "alter table runs disable row level security",
            "create table public.mine (n int)",
            "create temporary table mine (n int)",
            "delete from schema_migrations",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement_.encode())


async def test_unreachable_database_is_named_without_its_password(run_folder: Path) -> None:
    with pytest.raises(Temporary, match="'countersign' on host") as refusal:
        await Database.open(f"postgresql://cs_app:hunter2@/countersign?host={run_folder}&port=1")
    assert refusal.value.code == "unavailable"
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("change", [{"password": "hunter2"}, {"dbname": "nowhere"}, {"user": "nobody_here"}])
async def test_refused_login_is_a_configuration_error(urls: Urls, change: dict[str, str]) -> None:
    with pytest.raises(Permanent, match="check DATABASE_URL") as refusal:
        await Database.open(make_conninfo(urls.app, **change))
    assert "hunter2" not in str(refusal.value)


async def test_malformed_url_is_refused_without_quoting_it() -> None:
    with pytest.raises(Permanent, match="write postgresql://") as refusal:
        await Database.open("postgresql://cs_app:hunter2@host:port:wrong/x?sslmode")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.slow
async def test_pool_works_again_after_the_server_died(run_folder: Path) -> None:
    folder = run_folder / f"own-{uuid4().hex[:8]}"
    with attach(folder) as server:
        await migrate(server.urls.owner, FUNCTIONS)
        await admit(server.urls.owner, server.urls.app)
        database = await Database.open(server.urls.app, size=2)
        psutil.Process(server.pid).send_signal(signal.SIGKILL)
        with attach(folder):
            access = Access.of(Principal("t1", "alice"))
            assert await database.call(access, "current_tenant") == {"current_tenant": "t1"}
            await database.close()
