"""Nobody becomes another by SQL: entries are signed, sealed to their session and transaction, and good once."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from memory.errors import Permanent
from memory.postgres.database import Connection, Database
from memory.postgres.roles import Urls
from memory.postgres.signing import Signer, admit, key
from memory.scope import Access, Principal, Scope
from memory.store import write
from memory.store.models import Provenance

pytestmark = pytest.mark.anyio

SCOPES = 63
FORGE = "select set_config('countersign.entry', %s, %s)"
SETTINGS = ("countersign.tenant", "countersign.principal", "countersign.reads", "countersign.writes")
VISIBLE_SCOPES = "select tenant, scope from memories"
HOSTILE = (
    VISIBLE_SCOPES,
    f"{VISIBLE_SCOPES} where scope = 'user:u0' or true",
    f"{VISIBLE_SCOPES} where body ilike '%secret%' and length(body) > 0",
    f"{VISIBLE_SCOPES} order by embedding <=> (select embedding from memories limit 1) limit 50",
    "select b.tenant, b.scope from memories a join memories b on true limit 2000",
    "select tenant, scope from memories group by tenant, scope",
    "with recursive r as (select tenant, scope from memories union select tenant, scope from r) select * from r",
    "select m.tenant, m.scope from memories m where m.tenant <> current_tenant() or m.scope <> all (current_reads())",
    "delete from memories where scope <> 'user:u0' or true returning tenant, scope",
    "update memories set uses = uses + 1 returning tenant, scope",
    "update memories set scope_id = 'u1' where tenant <> current_tenant() returning tenant, scope",
)
"""None of them filters on what the reader may see."""


@dataclass(frozen=True)
class Crowd:
    """Many people of three tenants, each with secrets of their own."""

    database: Database
    people: list[Principal]

    def access(self, number: int) -> Access:
        """Return what one of them may do."""
        scope = Scope("user", self.people[number].id)
        return Access(self.people[number], (scope,), scope)


@pytest.fixture(scope="module")
async def crowd(urls: Urls, anyio_backend: str) -> AsyncGenerator[Crowd]:
    """Return the crowd on a pool of one connection, so that each meets what the one before left behind."""
    database = await Database.open(urls.app, size=1, worker_url=urls.worker)
    tenants = [f"t-{uuid4().hex[:12]}" for _ in range(3)]
    crowd = Crowd(database, [Principal(tenants[n % 3], f"u{n}") for n in range(SCOPES)])
    for number in range(SCOPES):
        text = f"secret {number} of nobody else"
        await write.remember(database, crowd.access(number), text, trust="human", provenance=Provenance())
    yield crowd
    await database.close()


async def test_a_thousand_hostile_statements_of_many_scopes_see_no_foreign_row(crowd: Crowd) -> None:
    """R92: each statement runs as entered, and again after the role has rewritten its own settings."""
    statements = foreign = own = 0
    for number in range(SCOPES):
        access, victim = crowd.access(number), crowd.access((number + 1) % SCOPES)
        own_scope = (access.principal.tenant, f"user:{access.principal.id}")
        for statement in HOSTILE:
            for forgery in (False, True):
                rows = await _rolled_back(crowd.database, access, statement, victim if forgery else None)
                statements += 1
                foreign += sum((row["tenant"], row["scope"]) != own_scope for row in rows)
                own += len(rows)
    assert (statements >= 1000, foreign, own > 0) == (True, 0, True)


async def _rolled_back(database: Database, access: Access, statement: str, victim: Access | None) -> list[DictRow]:
    async with database.transaction(access) as connection, connection.transaction(force_rollback=True):
        if victim:
            await _pretend(connection, victim)
        return await (await connection.execute(statement.encode())).fetchall()


async def _pretend(connection: Connection, victim: Access) -> None:
    """Write every setting that could name the victim, with a beginning of the length that a real entry has."""
    entry = str(Signer("guessed").sign(victim, connection.info.backend_pid)[0])
    await connection.execute(FORGE, [str(uuid4()) + entry, True])
    values = (victim.principal.tenant, victim.principal.id, "{user:u1}", "{user:u1}")
    for name, value in zip(SETTINGS, values, strict=True):
        await connection.execute("select set_config(%s, %s, true)", [name, value])


@pytest.mark.parametrize("local", [True, False])
async def test_an_entry_copied_in_one_transaction_is_worth_nothing_in_the_next(crowd: Crowd, local: bool) -> None:
    """R92: not even in the same session, which still holds the seals."""
    async with crowd.database.transaction(crowd.access(0)) as connection:
        row = await (await connection.execute("select current_setting('countersign.entry') as it")).fetchone()
    assert row
    async with crowd.database.system() as connection:
        async with connection.transaction():
            await connection.execute(FORGE, [row["it"], local])
            assert await (await connection.execute(VISIBLE_SCOPES)).fetchall() == []
        await connection.execute("reset countersign.entry")


async def test_stepping_back_behind_a_later_entry_leaves_nobody(crowd: Crowd) -> None:
    """R92: the setting returns with the savepoint, the seals do not."""
    async with crowd.database.worker_transaction(crowd.access(0)) as connection:
        await connection.execute("savepoint before")
        await connection.execute("select * from expire_approvals()")
        await connection.execute("rollback to before")
        assert await (await connection.execute(VISIBLE_SCOPES)).fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "select enter('t', 'u1', '{user:u1}', '{user:u1}')",
        "select take_entry('{}')",
        "select * from entry_key",
        "update entry_key set inner_pad = outer_pad",
        "insert into entry_key values (true, '', '')",
        "select setval('entry_seal_high', 1)",
        "select nextval('entry_seal_low')",
        "alter sequence entry_seal_high restart",
        "select setval('entry_last', 1)",
        "create or replace function entered() returns jsonb language sql return '{}'::jsonb",
        "alter table memories no force row level security",
        "alter role cs_owner password 'x'",
        "set role cs_owner",
    ],
)
async def test_the_apps_role_can_neither_enter_unsigned_nor_seal(crowd: Crowd, statement: str) -> None:
    """R92"""
    async with crowd.database.system() as connection:
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReservedName)):
            await connection.execute(statement.encode())


async def test_a_mark_of_another_key_is_refused(crowd: Crowd) -> None:
    async with crowd.database.system() as connection:
        forgery = Signer("guessed").sign(crowd.access(1), connection.info.backend_pid)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not bear the mark"):
            await connection.execute("select enter(%s, %s)", forgery)


async def test_a_changed_entry_loses_its_mark(crowd: Crowd) -> None:
    async with crowd.database.system() as connection:
        entry, mark = _signer(connection).sign(crowd.access(0), connection.info.backend_pid)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="does not bear the mark"):
            await connection.execute("select enter(%s, %s)", [str(entry).replace('"u0"', '"u1"'), mark])


async def test_an_entry_counts_once(crowd: Crowd) -> None:
    async with crowd.database.system() as connection:
        entry = _signer(connection).sign(crowd.access(0), connection.info.backend_pid)
        await connection.execute("select enter(%s, %s)", entry)
        with pytest.raises(psycopg.DatabaseError, match="used before"):
            await connection.execute("select enter(%s, %s)", entry)


async def test_an_entry_for_another_session_is_refused(crowd: Crowd) -> None:
    async with crowd.database.system() as connection:
        entry = _signer(connection).sign(crowd.access(0), 1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="another session"):
            await connection.execute("select enter(%s, %s)", entry)


@pytest.mark.parametrize("offset", [-90.0, 90.0])
async def test_an_entry_for_another_time_is_refused(crowd: Crowd, offset: float) -> None:
    async with crowd.database.system() as connection:
        entry = _signer(connection, offset).sign(crowd.access(0), connection.info.backend_pid)
        with pytest.raises(psycopg.DatabaseError, match="another time"):
            await connection.execute("select enter(%s, %s)", entry)


def _signer(connection: Connection, offset: float = 0.0) -> Signer:
    return Signer(connection.info.password, offset)


@pytest.fixture(scope="module")
def shut(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of our own, made before a loop runs."""
    return clone(f"shut_{worker_id}")


async def test_a_process_that_was_never_admitted_is_told_what_to_do(shut: Urls) -> None:
    async with await AsyncConnection.connect(shut.owner, autocommit=True) as owner:
        await owner.execute("delete from entry_key")
    with pytest.raises(Permanent, match="run `countersign migrate`"):
        await Database.open(shut.app)
    await admit(shut.owner, shut.app)
    await (await Database.open(shut.app, size=1)).close()


def test_without_a_password_there_is_no_key() -> None:
    with pytest.raises(Permanent, match="logs in without a password"):
        key("")
