"""Numbered files: applied once, together or not at all, and never on a database that is not fit."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from procrastinate import App, PsycopgConnector

from app.bootstrap import FUNCTIONS
from memory.errors import Permanent, Temporary
from memory.postgres.database import Database
from memory.postgres.embedded import Embedded, attach
from memory.postgres.migrate import migrate
from memory.postgres.roles import Urls, advice
from memory.postgres.sql_files import SCHEMA, functions, migrations
from memory.scope import Access, Principal
from tests.conftest import Connect, Connection

Folder = Callable[..., Path]


@pytest.fixture
async def blank(server: Embedded, superuser: Connect) -> AsyncGenerator[Urls]:
    """Return an empty database with owner and extension."""
    name = f"blank_{uuid4().hex[:8]}"
    urls = server.urls_of(name)
    async with superuser() as connection:
        await connection.execute(f"create database {name} owner cs_owner strategy wal_log".encode())
        async with await psycopg.AsyncConnection.connect(urls.superuser) as inside:
            await inside.execute("create extension vector")
        yield urls
        await connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a factory of migration folders: our first file and the given ones."""

    def make(**files: str) -> Path:
        first = SCHEMA / "0001_session.sql"
        (tmp_path / first.name).write_text(first.read_text())
        for name, text in files.items():
            (tmp_path / f"{name[1:]}.sql").write_text(text)
        return tmp_path

    return make


async def tables(url: str) -> list[str]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute(
            "select relname from pg_class where relkind = 'r' and relowner::regrole = 'cs_owner'::regrole"
        )
        return sorted(row[0] for row in await rows.fetchall())


async def test_each_file_is_applied_once(blank: Urls, folder: Folder) -> None:
    path = folder(_0002_more="create table more (n int); insert into more values (1)")
    assert await migrate(blank.owner, (), schema=path) == ("0001_session", "0002_more")
    assert await migrate(blank.owner, (), schema=path) == ()


async def test_later_file_is_applied_alone(blank: Urls, folder: Folder) -> None:
    await migrate(blank.owner, (), schema=folder())
    assert await migrate(blank.owner, (), schema=folder(_0002_more="create table more (n int)")) == ("0002_more",)


async def test_all_files_apply_to_an_empty_database_and_twice(blank: Urls) -> None:
    names = await migrate(blank.owner, FUNCTIONS)
    assert names == tuple(file.name for file in (*migrations(), *functions(FUNCTIONS)))
    assert await migrate(blank.owner, FUNCTIONS) == ()


async def test_several_at_once_apply_each_file_once(blank: Urls, folder: Folder) -> None:
    path = folder(_0002_more="create table more (n int)")
    results = await asyncio.gather(*(migrate(blank.owner, (), schema=path) for _ in range(4)))
    assert sorted(map(len, results)) == [0, 0, 0, 2]


async def test_changed_file_is_an_error(blank: Urls, folder: Folder) -> None:
    await migrate(blank.owner, (), schema=folder(_0002_more="create table more (n int)"))
    with pytest.raises(Permanent, match="'0002_more' changed after it was applied"):
        await migrate(blank.owner, (), schema=folder(_0002_more="create table more (m int)", _0003_new="select 1"))


async def test_newer_database_than_program_is_an_error(blank: Urls, folder: Folder) -> None:
    path = folder(_0002_more="create table more (n int)")
    await migrate(blank.owner, (), schema=path)
    (path / "0002_more.sql").unlink()
    with pytest.raises(Permanent, match="'0002_more', unknown here; use a newer release"):
        await migrate(blank.owner, (), schema=path)


async def test_failing_file_leaves_nothing_of_itself(blank: Urls, folder: Folder) -> None:
    path = folder(_0002_more="create table more (n int); create table more (n int)")
    with pytest.raises(Permanent, match="'0002_more' failed and left nothing"):
        await migrate(blank.owner, (), schema=path)
    assert "more" not in await tables(blank.superuser)


async def test_missing_extension_is_named_before_anything_is_written(blank: Urls) -> None:
    async with await psycopg.AsyncConnection.connect(blank.superuser) as connection:
        await connection.execute("drop extension vector")
    with pytest.raises(Permanent, match="'vector'") as refusal:
        await migrate(blank.owner, FUNCTIONS)
    assert "create extension if not exists vector;" in refusal.value.script.splitlines()
    assert await tables(blank.superuser) == []


async def test_only_the_plain_owner_may_migrate(blank: Urls) -> None:
    for url, name in ((blank.superuser, "postgres"), (blank.app, "cs_app")):
        with pytest.raises(Permanent, match=f"not as '{name}'.*DATABASE_OWNER_URL"):
            await migrate(url, FUNCTIONS)


async def test_unreachable_database_is_temporary(run_folder: Path) -> None:
    with pytest.raises(Temporary, match="check its URL") as refusal:
        await migrate(f"postgresql://cs_owner:hunter2@/countersign?host={run_folder}&port=1", FUNCTIONS)
    assert "hunter2" not in str(refusal.value)


@pytest.fixture
def foreign(run_folder: Path) -> Generator[Embedded]:
    """Return a server of its own, whose roles may be changed."""
    with attach(run_folder / f"own-{uuid4().hex[:8]}") as server:
        yield server


@pytest.mark.slow
async def test_missing_roles_are_named_with_sql_that_makes_them(foreign: Embedded) -> None:
    urls = foreign.urls
    async with await psycopg.AsyncConnection.connect(urls.superuser, autocommit=True) as administrator:
        await administrator.execute("drop role cs_world, cs_system")
        with pytest.raises(Permanent, match="'cs_world', 'cs_system' are missing") as refusal:
            await migrate(urls.owner, FUNCTIONS)
        assert refusal.value.script == advice("countersign", ("cs_world", "cs_system"))
        for line in refusal.value.script.splitlines():
            if not line.startswith("\\"):
                await administrator.execute(line.encode())
    assert await migrate(urls.owner, FUNCTIONS)


@pytest.mark.slow
async def test_owner_that_inherits_the_system_role_is_refused(foreign: Embedded) -> None:
    """It would fall under the policies of the system role and see every tenant."""
    async with await psycopg.AsyncConnection.connect(foreign.urls.superuser, autocommit=True) as administrator:
        await administrator.execute("grant cs_system to cs_owner with inherit true")
    with pytest.raises(Permanent, match="may set, but not inherit, 'cs_system'"):
        await migrate(foreign.urls.owner, FUNCTIONS)


async def test_every_function_names_only_what_exists(superuser: Connect) -> None:
    """Bodies are not checked while files apply, since a later one may bring the table; so they are checked here."""
    async with superuser() as connection:
        rows = await connection.execute(
            "select pg_get_functiondef(p.oid) as text from pg_proc p join pg_language l on l.oid = p.prolang"
            " where l.lanname in ('sql', 'plpgsql') and p.prokind <> 'a' and pg_get_userbyid(p.proowner) like 'cs_%'"
        )
        definitions = [row["text"] for row in await rows.fetchall()]
        async with connection.transaction(force_rollback=True):
            for definition in definitions:
                await connection.execute(definition.encode())
    assert definitions


async def test_tables_with_a_tenant_force_row_security(superuser: Connect) -> None:
    """R92"""
    async with superuser() as connection:
        rows = await connection.execute(
            "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'"
            " where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace"
            " and not (c.relrowsecurity and c.relforcerowsecurity)"
        )
        assert await rows.fetchall() == []


async def test_job_joins_the_transaction_that_defers_it(urls: Urls, database: Database, alice: Principal) -> None:
    """The queue works for the workers' role, in our transaction and in its own pool."""
    messages: list[str] = []
    connector = PsycopgConnector(
        conninfo=urls.worker, kwargs={"options": "-c search_path=queue,public"}, min_size=1, max_size=3
    )
    app = App(connector=connector)

    @app.task(name=f"look-{alice.tenant}", queue=alice.tenant)
    async def look(run: str) -> None:
        messages.append(run)

    async def defer(run: str) -> None:
        async with database.worker_transaction(Access.of(alice)) as connection:
            await connection.execute("set local search_path = public, queue")
            await look.configure(connection=connection, lock="thread").defer_async(run=run)
            await connection.execute("select 1 / %s", [int(run == "kept")])

    async with app.open_async():
        with pytest.raises(psycopg.errors.DivisionByZero):
            await defer("undone")
        await defer("kept")
        await app.run_worker_async(
            queues=[alice.tenant], wait=False, delete_jobs="successful", install_signal_handlers=False
        )
        async with database.worker() as connection:
            assert await job_count(connection, alice.tenant) == 0
    assert messages == ["kept"]


async def job_count(connection: Connection, queue: str) -> int:
    rows = await connection.execute("select count(*) as n from queue.procrastinate_jobs where queue_name = %s", [queue])
    row = await rows.fetchone()
    assert row is not None
    return row["n"]


async def test_world_may_make_its_schemas_and_sees_none_of_ours(urls: Urls) -> None:
    name = f"world_{uuid4().hex[:8]}"
    async with await psycopg.AsyncConnection.connect(urls.world) as connection:
        await connection.execute(f"create schema {name}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select * from public.runs")
