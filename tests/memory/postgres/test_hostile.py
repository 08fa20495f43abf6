"""Hostile SQL as one person finds nothing of a colleague's or of another tenant, nor whether something exists.

All statements run with COUNTERSIGN_TEST_HOSTILE=all; otherwise a part of each sort, drawn by a fixed seed.
"""

import os
import random
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from memory.errors import Temporary
from memory.postgres.database import Connection, Database
from memory.runs.results import RunRows
from memory.scope import Access, Principal
from memory.store import erasure, search, write
from memory.store.models import Provenance
from tests.conftest import Connect
from tests.memory.postgres import hostile
from tests.memory.postgres.hostile import Prey
from tests.memory.postgres.test_row_security import lead
from tools.token_budget import TokenMeter

pytestmark = pytest.mark.anyio

_MOST = 10_000 if os.environ.get("COUNTERSIGN_TEST_HOSTILE") == "all" else 25
_COLUMNS = """
select c.relname as relation, a.attname as name from pg_class c join pg_attribute a on a.attrelid = c.oid
 where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
   and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e') order by 1, 2"""
_SAMPLED = """
select relation, name from ({}) x join pg_attribute a on a.attrelid = x.relation::regclass and a.attname = x.name
 where a.attstattarget is distinct from 0
   and format_type(a.atttypid, null) in ('text', 'uuid', 'bytea', 'jsonb', 'text[]', 'uuid[]', 'vector')"""
_LEAVE = (
    "insert into checkpoints (tenant, principal, thread_id, checkpoint_id, checkpoint) "
    "values (%(tenant)s, %(person)s, %(run)s, 'c', to_jsonb(%(text)s::text))",
    "insert into checkpoint_blobs (tenant, principal, thread_id, channel, version, type, blob) "
    "values (%(tenant)s, %(person)s, %(run)s, %(text)s::text, '1', 'json', %(text)s::text::bytea)",
    "insert into checkpoint_writes (tenant, principal, thread_id, checkpoint_id, task_id, idx, channel, blob) "
    "values (%(tenant)s, %(person)s, %(run)s, 'c', 't', 0, %(text)s::text, %(text)s::text::bytea)",
    "insert into transcripts (tenant, principal, thread, content, size, digest, retained_until) "
    "values (%(tenant)s, %(person)s, %(run)s, %(text)s::text::bytea, 1, %(text)s::text, now() + interval '1 day')",
    "update model_calls set prompt = %(text)s::text, answer = 'x' where run = %(run)s",
)
_FEW_VALUES = {"status", "kind", "state", "trust", "scope_kind", "embedder", "currency"}
_OF_NOBODY = {"schema_migrations", "schema_functions", "checkpoint_migrations"}


@dataclass(frozen=True)
class Ground:
    """What bob attacks: markers that he must not see, and the names of what exists."""

    bob: Access
    markers: tuple[str, ...]
    prey: tuple[Prey, ...]
    tables: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]


async def _plant(database: Database, person: Principal, marker: str) -> Prey:
    """Leave a marker wherever something is one person's alone."""
    access, text = Access.of(person), f"{marker} keeps the canary word"
    memory = await write.remember(database, access, text, trust="human", provenance=Provenance(), key=marker)
    await write.remember(database, access, f"again {text}", trust="human", provenance=Provenance())
    assert (await search.recall(database, access, marker)).hits
    lease = await lead(database, access)
    await TokenMeter(database).reserve(lease, "planner", 10)
    part = await RunRows(database, access, lease.run, "s1").keep("kept", _rows(f"row of {marker}"))
    async with database.transaction(access) as connection:
        await connection.execute(
            "insert into requests (key, route, hash, answer) values (%s, 'r', %s, to_jsonb(%s::text))",
            [marker, "0" * 64, text],
        )
    return Prey(person.tenant, person.id, lease.run, str(memory.id), part["handle"])


async def _rows(text: str) -> AsyncIterator[dict[str, str]]:
    yield {"text": text}


@pytest.fixture
async def ground(database: Database, people: dict[str, Principal], owner: Connection, superuser: Connect) -> Ground:
    zoe = Principal(f"z-{uuid4().hex[:12]}", "zoe")
    await owner.execute("insert into tenants (id) values (%s)", [zoe.tenant])
    await owner.execute("select enter(%s, 'zoe', '{}', '{}')", [zoe.tenant])
    async with superuser() as above:
        await above.execute("insert into principals (tenant, id) values (%s, 'zoe')", [zoe.tenant])
    colleague, stranger = f"heliotrope{uuid4().hex}", f"marigold{uuid4().hex}"
    prey = (await _plant(database, people["alice"], colleague), await _plant(database, zoe, stranger))
    async with superuser() as above:
        for victim, text in zip(prey, (colleague, stranger), strict=True):
            for statement in _LEAVE:
                values = {"tenant": victim.tenant, "person": victim.person, "run": victim.run, "text": text}
                await above.execute(statement.encode(), values)
        await above.execute("analyze")
        rows = await (await above.execute(_COLUMNS.encode())).fetchall()
    columns = tuple((str(row["relation"]), str(row["name"])) for row in rows)
    tables = tuple(sorted({table for table, _ in columns}))
    # A run's id and a tenant's name say nothing of a colleague, whose runs bob may see.
    markers = (colleague, prey[0].memory, stranger, prey[1].memory, prey[1].run)
    return Ground(Access.of(people["bob"]), markers, prey, tables, columns)


async def _outcome(database: Database, access: Access, statement: str) -> str:
    """Return everything that a person gets to see of a statement, rows and errors; what it did is undone."""
    answers = list[str]()
    try:
        async with database.transaction(access) as connection, connection.transaction(force_rollback=True):
            cursor = connection.cursor()
            if statement.startswith("copy"):
                async with cursor.copy(statement.encode()) as copy:
                    answers += [str(bytes(part)) async for part in copy]
                return "".join(answers)
            await cursor.execute(statement.encode())
            while True:
                if cursor.description:
                    answers += [str(row) for row in await cursor.fetchall()]
                if not cursor.nextset():
                    break
    except (psycopg.Error, Temporary) as error:
        answers.append(str(error))
    return "\n".join(answers)


def _drawn(statements: list[str]) -> list[str]:
    return statements if len(statements) <= _MOST else random.Random(7).sample(statements, _MOST)


async def test_hostile_statements_find_nothing_of_others(database: Database, ground: Ground) -> None:
    """R92: of at least 800 statements in at least 12 sorts, none shows a word, a name or an id of others."""
    sorts = (
        hostile.of_tables(ground.tables)
        | hostile.of_columns(ground.columns)
        | hostile.of_everything_else(ground.tables, ground.prey)
    )
    assert len(sorts) >= 12
    assert sum(map(len, sorts.values())) >= 800
    leaks = list[tuple[str, str]]()
    for sort, statements in sorts.items():
        for statement in _drawn(statements):
            outcome = await _outcome(database, ground.bob, statement)
            hidden = [marker for marker in ground.markers if marker not in statement]
            leaks += [(sort, statement) for marker in hidden if marker in outcome][:1]
    assert leaks == []


async def test_what_a_tenant_shares_is_found(database: Database, ground: Ground) -> None:
    """The same statements do find a run of a colleague, which is no secret."""
    statements = hostile.of_tables(["runs"])
    outcomes = {sort: await _outcome(database, ground.bob, text) for sort, (text,) in statements.items()}
    assert {sort for sort, outcome in outcomes.items() if ground.prey[0].run in outcome} >= {
        *("plain", "as json", "aggregated", "always true", "recursive", "copied", "by a cursor", "by a notice"),
    }


async def test_markers_are_really_there(ground: Ground, superuser: Connect) -> None:
    """Without this, empty tables would prove everything."""
    async with superuser() as above:
        for table in (
            *("memories", "model_calls", "requests", "memory_postings", "runs", "results", "result_rows"),
            *("checkpoints", "checkpoint_blobs", "checkpoint_writes", "transcripts"),
        ):
            query = sql.SQL("select 1 from {} t where t::text ~ %s limit 1").format(sql.Identifier(table))
            names = "|".join((*ground.markers, ground.prey[0].run))
            assert await (await above.execute(query, [names])).fetchone(), table


_EXPLAIN = "set local enable_seqscan = off; explain (analyze, costs off, timing off, summary off, buffers off)"
_DIFFERENTIAL = (
    "insert into memory_links (scope, memory, digest, trust, provenance) "
    "values ('user:bob', '{memory}', 'x', 'human', '{{}}')",
    "insert into memory_seen (seer, memory) values ('user:bob', '{memory}')",
    "insert into memory_marks (scope, mark, memory) values ('user:bob', 'x', '{memory}')",
    "update memories set superseded_by = '{memory}' where id = '{memory}'",
    "select * from show_memories(array['{memory}'::uuid])",
    "select * from pin_memory('{memory}', true, 10)",
    "select * from unshelve_memory('{memory}')",
    "select * from hold_memory('{memory}', true)",
    "select * from archive_of('{memory}', 10)",
    "explain select * from memories where id = '{memory}'",
    f"{_EXPLAIN} select * from memory_postings where lexeme = '{{memory}}'",
    f"{_EXPLAIN} select * from memory_marks where mark = '{{memory}}'",
    f"{_EXPLAIN} select * from result_rows where handle = '{{handle}}'",
    "insert into result_rows (handle, ord, amount, row) values ('{handle}', 0, 0, '{{}}') returning ord",
    "insert into results (handle, run, name, count, total, digest, shape) "
    "values ('{handle}', 'x', 's1/kept', 0, 0, repeat('0', 64), '{{}}') returning *",
    "select * from sample_of_question('{handle}', 9)",
    "select * from alike('user:alice', '[\"{memory}\"]')",
    "select mark_memory('user:alice', '{memory}', '[\"x\"]')",
)
_OF_RUNS = (
    "select wake_run('{run}')",
    "select * from cancel_run('{run}', 'x')",
    "select * from answer_run('{run}', 'x')",
    "select * from resume_run('{run}')",
    "select put_run_back('{run}', 1)",
    "select * from park_run('{run}', 1, 'clarify', 0)",
    "select * from adopt_plan('{run}', 1, '{{}}')",
    "select * from finish_run('{run}', 1, 'done', null, '', '{{}}')",
    "select * from append('{run}', 1, '{{\"kind\":\"note\"}}')",
    "insert into model_calls (tenant, run, role, reserved) values (current_tenant(), '{run}', 'x', 1)",
    "insert into results (handle, run, name, count, total, digest, shape) "
    "values ('{handle}', '{run}', 's1/kept', 0, 0, repeat('0', 64), '{{}}')",
    "explain select * from runs where id = '{run}'",
    "explain select * from journal where run = '{run}'",
    "select * from related_runs('{run}')",
    "select * from governed_rows('{run}')",
)
_OF_TENANTS = (
    "select count(*) from tenants where id = '{tenant}'",
    "explain select * from principals where tenant = '{tenant}'",
    "explain select * from journal where tenant = '{tenant}'",
    "explain select * from memories where tenant = '{tenant}'",
    "insert into requests (tenant, principal, key, route, hash, answer) "
    "values ('{tenant}', 'bob', 'k', 'r', repeat('0', 64), '{{}}')",
)


@pytest.mark.parametrize("statement", [*_DIFFERENTIAL, *_OF_RUNS, *_OF_TENANTS])
async def test_what_exists_looks_like_what_was_invented(database: Database, ground: Ground, statement: str) -> None:
    victims = ground.prey if statement in _DIFFERENTIAL else ground.prey[1:]
    for victim in victims:
        invented = Prey(f"z-{uuid4().hex[:12]}", "zoe", str(uuid4()), str(uuid4()), f"h_{uuid4().hex[:24]}")
        outcomes = set[str]()
        for names in (victim, invented):
            text = statement.format(**asdict(names))
            outcome = await _outcome(database, ground.bob, text)
            for name in (names.tenant, names.run, names.memory, names.handle):
                outcome = outcome.replace(name, "NAME")
            outcomes.add(outcome)
        assert len(outcomes) == 1, outcomes


async def test_nobody_learns_what_a_colleague_had_said_and_forgot(
    database: Database, people: dict[str, Principal], ground: Ground
) -> None:
    dave = people["dave"]
    await write.remember(database, Access.of(dave), "a sentence", trust="human", provenance=Provenance())
    await erasure.forget_person(database, dave, requester="dave")
    for place in ("user:dave", "by:dave"):
        outcome = await _outcome(database, ground.bob, f"select is_forgotten(array['{place}'], 'a~b')")
        assert "True" not in outcome


async def test_columns_that_say_who_or_what_are_not_sampled(superuser: Connect) -> None:
    async with superuser() as above:
        rows = await (await above.execute(_SAMPLED.format(_COLUMNS).encode())).fetchall()
    names = {(row["relation"], row["name"]) for row in rows}
    assert {(table, name) for table, name in names if table not in _OF_NOBODY and name not in _FEW_VALUES} == set()


async def test_what_workers_do_is_refused_to_the_app(database: Database, ground: Ground) -> None:
    """A request's SQL takes no run, reads no job and asks for no other tenant's scopes."""
    statements = hostile.of_everything_else(ground.tables, ground.prey)["as a worker"]
    outcomes = {statement: await _outcome(database, ground.bob, statement) for statement in statements}
    assert {text: outcome for text, outcome in outcomes.items() if "permission denied" not in outcome} == {}


async def test_nobody_wakes_a_run_of_another_tenant(database: Database, ground: Ground, superuser: Connect) -> None:
    async with superuser() as above:
        await above.execute("listen runs")
        notices = list[int]()
        for victim in ground.prey:
            async with database.transaction(ground.bob) as connection:
                await connection.execute("select wake_run(%s)", [victim.run])
            notices.append(len([notice async for notice in above.notifies(timeout=0.2)]))
    assert notices == [1, *(0 for _ in ground.prey[1:])]
