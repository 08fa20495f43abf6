"""Nobody sees another's memories: row security answers, whatever the statement forgot (R92)."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from memory.postgres.database import Connection, Database
from memory.scope import Access, Principal, Scope
from memory.store import search, write
from memory.store.models import Provenance

pytestmark = pytest.mark.anyio

SECRET = "alice keeps the canary word heliotrope"
HOSTILE = [
    "select * from memories",
    "select * from memories where true or scope = 'user:alice'",
    "select * from memories where scope = 'user:alice'",
    "select * from memories where body ilike '%heliotrope%'",
    "select * from memories order by embedding <=> (select embedding from memories limit 1) limit 10",
    "select a.* from memories a join memories b on a.scope <> b.scope",
    "select body from memories group by body having count(*) > 0",
    "select id from memories where id in (select id from memories where trust = 'human')",
    "with recursive r as (select body from memories union select body from r) select * from r",
    "select (select string_agg(body, ',') from memories) as body where exists (select 1 from memories)",
    "select max(id::text) from memories having count(*) > 0",
    "delete from memories returning *",
    "update memories set body = 'taken' returning *",
    "update memories set scope_id = 'bob' where scope_id = 'alice' returning *",
    "select * from results",
    "select * from result_rows",
    "select * from knowledge",
]


@pytest.fixture
async def session() -> Scope:
    return Scope("session", str(uuid4()))


@pytest.fixture
async def bobs(database: Database, alice: Principal, bob: Principal, session: Scope) -> AsyncGenerator[Connection]:
    """Lend a transaction entered as bob after alice wrote to her user and session scopes."""
    for scope in (Scope("user", "alice"), session):
        access = Access(alice, (scope,), scope)
        await write.remember(database, access, SECRET, trust="human", provenance=Provenance())
    async with database.transaction(Access.of(bob)) as connection:
        yield connection


@pytest.mark.parametrize("statement", HOSTILE)
async def test_hostile_statements_of_bob_reach_no_row_of_alice(bobs: Connection, statement: str) -> None:
    assert await (await bobs.execute(statement.encode())).fetchall() == []


@pytest.mark.parametrize("scope", ["user:alice", "user:*", "user:%", "agent:shared' or true --", "user:bob,user:alice"])
async def test_a_forged_scope_in_the_request_finds_nothing(
    database: Database, bob: Principal, bobs: Connection, scope: str
) -> None:
    answer = await search.recall(database, Access.of(bob), SECRET, scopes=[Scope.parse(scope)], relevance="any")
    assert (answer.hits, answer.unrelated_count, answer.expired_count, answer.superseded_count) == ((), 0, 0, 0)


async def test_a_forged_list_shows_nothing_either(
    database: Database, bob: Principal, bobs: Connection, session: Scope
) -> None:
    foreign_scopes = [Scope("user", "alice"), session]
    assert await search.ls(database, Access.of(bob), scopes=foreign_scopes) == []


@pytest.mark.parametrize("scope", ["alice", "shared"])
async def test_bob_cannot_write_into_a_scope_that_was_not_entered(bobs: Connection, scope: str) -> None:
    kind = "agent" if scope == "shared" else "user"
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        await bobs.execute(
            "insert into memories (id, scope_kind, scope_id, body, digest, embedder, embedding, trust, provenance) "
            "values (gen_random_uuid(), %s, %s, 'planted', repeat('0', 64), 'x', '[1]', 'human', '{}')",
            [kind, scope],
        )


async def test_bob_cannot_write_into_another_tenant(bobs: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        await bobs.execute(
            "insert into memories "
            "(tenant, id, scope_kind, scope_id, body, digest, embedder, embedding, trust, provenance) "
            "values ('other', gen_random_uuid(), 'user', 'bob', 'x', repeat('0', 64), 'x', '[1]', 'human', '{}')"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "alter table memories disable row level security",
        "drop policy reads on memories",
        "create policy open on memories using (true)",
        "truncate memories",
        "set role cs_system",
        "set role cs_owner",
        "insert into knowledge (id) values ('x')",
        "update knowledge set body = 'x'",
        "delete from result_rows",
        "update results set count = 0",
    ],
)
async def test_the_apps_role_cannot_change_the_rules(bobs: Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await bobs.execute(statement.encode())


async def test_without_a_scope_there_are_no_rows(database: Database, bobs: Connection) -> None:
    async with database.system() as plain:
        for table in ("memories", "results", "result_rows", "knowledge", "knowledge_phrases"):
            assert await (await plain.execute(f"select 1 from {table}".encode())).fetchall() == []


async def test_nothing_is_left_open_after_a_scoped_transaction(database: Database, alice: Principal) -> None:
    access = Access.of(alice)
    await write.remember(database, access, SECRET, trust="human", provenance=Provenance())
    pool = await Database.open(database.url, size=1)
    async with pool.transaction(access) as connection:
        inside = await (await connection.execute("select * from memories")).fetchall()
    async with pool.system() as connection:
        outside = await (await connection.execute("select * from memories")).fetchall()
    await pool.close()
    assert (len(inside), outside) == (1, [])


async def test_same_name_in_another_tenant_is_another_person(database: Database, alice: Principal) -> None:
    await write.remember(database, Access.of(alice), SECRET, trust="human", provenance=Provenance())
    namesake = Principal(f"t-{uuid4().hex[:12]}", "alice")
    assert (await search.recall(database, Access.of(namesake), SECRET)).hits == ()


async def test_the_rows_are_really_there(bobs: Connection, alice: Principal, superuser: Any) -> None:
    """Without this, every test above would also pass on an empty table."""
    async with superuser() as above:
        answer = await above.execute("select body from memories where tenant = %s", [alice.tenant])
        assert [row["body"] for row in await answer.fetchall()] == [SECRET, SECRET]
