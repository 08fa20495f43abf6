"""Row security holds in every table that there is, also in those that will be added: the catalogue lists them (R92)."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import date
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from memory.evidence import log
from memory.evidence.signing_key import SigningKey, draw
from memory.knowledge import versions
from memory.knowledge.models import KnowledgeItem
from memory.postgres.database import Connection, Database
from memory.runs import records, transcripts
from memory.runs.checkpoints import Checkpoints, leading
from memory.runs.leases import Lease
from memory.runs.results import RunRows
from memory.scope import Access, Principal, Scope
from memory.store import archive, erasure, pruning, search, write
from memory.store.models import Provenance, Utterance
from memory.store.pruning import PruningPolicy
from tests.conftest import Connect
from tests.memory.runs.test_checkpoints import story
from tools import kills
from tools.token_budget import TokenMeter

pytestmark = pytest.mark.anyio

ROW_COUNTS = {
    *("memories", "memory_postings", "memory_marks", "memory_links", "memory_seen", "memory_archive"),
    *("memory_secrets", "memory_tombstones", "transcripts", "model_calls", "knowledge", "knowledge_phrases"),
    *("checkpoints", "checkpoint_blobs", "checkpoint_writes", "results", "result_rows", "requests", "kills"),
    *("runs", "journal", "principals", "log_leaves", "log_heads", "signing_keys", "journal_news"),
}
"""Tables that hold something of the victim; of an empty one a search proves nothing."""
BY_SCOPE = {
    "memories",
    "memory_postings",
    "memory_marks",
    "memory_links",
    "memory_archive",
    "memory_seen",
    "requests",
    "model_calls",
}
"""Tables that hold something of one person, which a colleague of the same tenant must not see either."""
OPEN = {"schema_migrations", "schema_functions", "checkpoint_migrations"}
"""Tables that hold nothing of anybody."""
HOSTILE = (
    "select t.* from {} t",
    "select t.* from {} t where true or t.ctid is not null",
    "select a.* from {0} a join {0} b on true limit 1000",
    "select t::text from {} t group by t::text",
    "with recursive r as (select t::text as x from {} t union select x from r) select * from r",
    "select max(t::text) from {} t having count(*) > 0",
    "delete from {} returning *",
    "update {} set tenant = tenant returning *",
    "copy {} to stdout",
)
_REFUSALS = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedColumn,
    # Views are not written to, and have neither places nor copies.
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.WrongObjectType,
)
TABLES = """
select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'm', 'v') and n.nspname = 'public' order by 1
"""


async def lead(database: Database, access: Access) -> Lease:
    """Return a run of theirs that a worker leads."""
    run = str(uuid4())
    budget = {"tokens": 10_000, "micros": 10, "calls": 10}
    async with database.transaction(access) as connection:
        await records.start(connection, id=run, thread=run, input={"request": ""}, correlation=run, budget=budget)
    lease = await records.lease(database, run, 1)
    assert lease
    return lease


async def work(database: Database, access: Access) -> None:
    """Leave what runs leave: checkpoints, results, prompts and a transcript."""
    for asks in (False, True):
        lease = await lead(database, access)
        await TokenMeter(database).reserve(lease, "planner", 100)
        await story(Checkpoints(database), asks=asks).ainvoke(
            {"lines": ["x"]}, leading(lease, fresh=True), context=lease
        )
        await RunRows(database, access, lease.run, "s1").keep("kept", _rows())
    lease = await lead(database, access)
    await story(Checkpoints(database)).ainvoke({"lines": ["x"]}, leading(lease, fresh=True), context=lease)
    async with database.transaction(access) as connection:
        await records.finish(connection, lease, status="done", reason=None, message="", body={})
        await connection.execute(
            "insert into requests (key, route, hash, answer) values ('k', 'r', %s, %s)", ["0" * 64, Jsonb({})]
        )
    assert await transcripts.transcribe(database, access, lease.thread)


async def _rows() -> AsyncIterator[dict[str, str]]:
    yield {"text": "a row"}


async def remember(database: Database, access: Access) -> None:
    """Leave what memory leaves: links, what was seen, an archive, and the tombstones of somebody else."""
    person = access.principal
    for person_id in (person.id, "dave", person.id):
        provenance = Provenance(principal=person_id)
        await write.remember(database, access, "keeps a red bicycle", trust="human", provenance=provenance)
    await write.remember(database, access, "x", trust="human", provenance=Provenance(), turn=Utterance("Ann"))
    within = Access(person, (*access.reads, Scope("run", "r1")))
    assert (await search.recall(database, within, "bicycle")).hits
    await write.remember(database, access, "gone soon", trust="human", provenance=Provenance(), key="k")
    await pruning.prune(database, access, PruningPolicy(facts=0))
    assert await archive.ls(database, access)
    dave = Principal(person.tenant, "dave")
    await write.remember(database, Access.of(dave), "forget me", trust="human", provenance=Provenance())
    await erasure.forget_person(database, dave, requester="dave")


@pytest.fixture
async def victim(database: Database, alice: Principal, bob: Principal) -> Access:
    """Return alice's access, after she has left something in every table that can hold something."""
    access = Access.of(alice)
    await remember(database, access)
    await work(database, access)
    await log.extend(database, alice.tenant, SigningKey.of(draw()))
    await kills.kill(database, access, "user", "carol", "why")
    item = KnowledgeItem(
        "db.port", "fact", "Port of the database", "The database listens on port 5432.", "ops", date(2030, 1, 1)
    )
    await versions.publish(database, Access.of(bob), item)
    return access


@pytest.fixture
async def tables(superuser: Connect) -> list[str]:
    async with superuser() as above:
        return [row["name"] for row in await (await above.execute(TABLES)).fetchall()]


async def test_the_rows_are_really_there(victim: Access, superuser: Connect, tables: list[str]) -> None:
    assert set(tables) >= ROW_COUNTS | OPEN
    async with superuser() as above:
        for table in ROW_COUNTS:
            count = sql.SQL("select count(*) as n from {} where tenant = %s").format(sql.Identifier(table))
            row = await (await above.execute(count, [victim.principal.tenant])).fetchone()
            assert row, table
            assert row["n"] > 0, table


@pytest.fixture
async def stranger(database: Database, victim: Access) -> AsyncGenerator[Connection]:
    """Lend a transaction of another tenant, with scopes of the same names."""
    namesake = Principal(f"t-{uuid4().hex[:12]}", "alice")
    async with database.transaction(Access.of(namesake)) as connection:
        yield connection


async def test_no_table_shows_another_tenants_rows_to_any_statement(stranger: Connection, tables: list[str]) -> None:
    """R92: knowledge, checkpoints, archives, secrets, whatever has a tenant; refused or nothing."""
    counts = {table: await visible_rows(stranger, table) for table in tables if table not in OPEN}
    assert {table: rows for table, rows in counts.items() if rows} == {}
    assert len(counts) * len(HOSTILE) > 250


async def test_no_table_of_personal_things_shows_a_colleagues_rows(
    database: Database, victim: Access, carol: Principal
) -> None:
    """R92: the same tenant, another person."""
    async with database.transaction(Access.of(carol)) as connection:
        for table in BY_SCOPE:
            assert await visible_rows(connection, table) == 0, table


async def test_without_an_entry_there_is_nothing_in_any_table(
    database: Database, victim: Access, tables: list[str]
) -> None:
    """R92"""
    async with database.system() as connection, connection.transaction():
        assert {table for table in tables if table not in OPEN and await visible_rows(connection, table)} == set()


async def test_the_queue_holds_ids_of_runs_and_nothing_else(database: Database, victim: Access) -> None:
    """R92: it has no tenants, so nothing of theirs may stand in it."""
    async with database.worker() as connection:
        jobs = await (await connection.execute("select args from queue.procrastinate_jobs")).fetchall()
    assert {name for job in jobs for name in job["args"]} <= {"run"}


async def visible_rows(connection: Connection, table: str) -> int:
    """Return how many rows hostile statements get of a table; one that is refused gets none."""
    count = 0
    for statement in HOSTILE:
        try:
            async with connection.transaction(force_rollback=True):
                count += await _rows_of(connection, sql.SQL(statement).format(sql.Identifier(table)))
        except _REFUSALS:
            continue
    return count


async def _rows_of(connection: Connection, query: sql.Composed) -> int:
    if not query.as_string().startswith("copy"):
        return len(await (await connection.execute(query)).fetchall())
    async with connection.cursor().copy(query) as copying:
        return len([row async for row in copying])
