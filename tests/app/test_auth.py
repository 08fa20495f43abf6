import pytest
from psycopg.errors import InsufficientPrivilege

from app.auth import demand, secret_of
from memory.errors import Permanent
from memory.governance import principals
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from tests.app.conftest import key_of
from tests.conftest import Connection


@pytest.fixture
def root(people: dict[str, Principal]) -> Access:
    return Access.of(people["root"])


async def test_a_key_becomes_its_person_with_groups_and_limits(
    database: Database, root: Access, bob: Principal
) -> None:
    key = await key_of(database, root, "bob")
    secret = secret_of([("authorization", f"bearer {key.secret}")])
    assert await principals.authenticate(database, secret) == bob


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "Basic x")],
        [("authorization", "")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer a"), ("x-api-key", "b")],
        [("authorization", "Bearer a"), ("authorization", "Bearer b")],
        [("authorization", "Bearer a"), ("authorization", "Basic a")],
        [("authorization", "Bearer "), ("x-api-key", "b")],
        [("authorization", "Basic x"), ("x-api-key", "b")],
        [("x-api-key", "a"), ("x-api-key", "b")],
    ],
)
def test_no_key_and_two_that_differ_are_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Permanent, match="key"):
        secret_of(headers)


def test_one_key_may_be_sent_twice() -> None:
    assert secret_of([("x-api-key", "a"), ("authorization", "Bearer a"), ("authorization", "bearer  a")]) == "a"


async def test_only_the_hash_of_a_key_is_stored(
    database: Database, root: Access, bob: Principal, owner: Connection
) -> None:
    key = await key_of(database, root, "bob")
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [bob.tenant])
        rows = await (await owner.execute("select * from keys where id = %s", [key.id])).fetchall()
    assert rows[0]["hash"] == principals.key_hash(key.secret)
    assert key.secret not in str(rows)


async def test_a_key_that_expired_is_refused_with_its_reason(database: Database, root: Access) -> None:
    key = await principals.issue(database, root, "root", days=-1)
    with pytest.raises(Permanent, match="expired"):
        await principals.authenticate(database, key.secret)


async def test_nobody_gets_a_key_for_a_stranger(database: Database, root: Access) -> None:
    with pytest.raises(Permanent, match="no person 'mallory'"):
        await principals.issue(database, root, "mallory")


async def test_a_key_of_another_tenant_cannot_be_revoked(
    database: Database, root: Access, bob: Principal, urls: Urls
) -> None:
    key = await key_of(database, root, "bob")
    other = Principal(f"{bob.tenant}-c", "eve", frozenset({"admin"}))
    await principals.create_tenant(urls.owner, other.tenant, [other])
    with pytest.raises(Permanent, match="no key"):
        await principals.revoke(database, Access.of(other), key.id)
    assert await principals.authenticate(database, key.secret) == bob


@pytest.mark.parametrize(
    "statement",
    [
        "select create_key('carol', sha256('mine'), '', null)",
        "select create_key('alice', sha256('mine'), '', null)",
        "select create_claim('bob', sha256('mine'), '', null)",
        "select revoke_key(id) from keys",
        "select put_principal('bob', '{admin}', 0, 0)",
        "update principals set groups = '{admin}'",
        "insert into keys (principal, hash) values ('root', sha256('mine'))",
        "select unkill('all', '')",
        "select activate_policy('mine')",
        "select resolve_effect('e', 'done', '')",
    ],
)
async def test_the_database_lets_nobody_do_what_their_groups_may_not(
    database: Database, root: Access, alice: Principal, statement: str
) -> None:
    """R92: also where somebody brought the application to run a statement of theirs."""
    await principals.issue(database, root, "carol")
    async with database.transaction(Access.of(alice)) as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_founding_twice_leaves_what_is_there(urls: Urls, tenant: str, database: Database) -> None:
    assert await principals.create_tenant(urls.owner, f"{tenant}-b", [Principal("", "eve", limit_alone=5)])
    assert not await principals.create_tenant(urls.owner, f"{tenant}-b", [Principal("", "eve", limit_alone=9)])
    key = await principals.bootstrap(urls.owner, f"{tenant}-b", "eve", "first")
    assert (await principals.authenticate(database, key.secret)).limit_alone == 5


def test_demand_names_the_groups_that_would_do(bob: Principal) -> None:
    demand(bob, "finance", "admin")
    with pytest.raises(Permanent, match="'ops' or 'admin'"):
        demand(bob, "ops", "admin")
