import pytest

from app.auth import authenticate, demand, secret_of
from memory import principals
from memory.database import Database
from memory.errors import Permanent
from memory.roles import Urls
from memory.scope import Access, Principal
from tests.conftest import Connection


async def test_a_key_becomes_its_person_with_groups_and_limits(database: Database, bob: Principal) -> None:
    issued = await principals.issue(database, Access.of(bob), "bob")
    assert await authenticate(database, {"authorization": f"bearer {issued.secret}"}) == bob


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Basic x"}, {"authorization": "Bearer "}, {"authorization": "Bearer a", "x-api-key": "b"}],
)
def test_none_or_two_keys_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Permanent, match="key"):
        secret_of(headers)


async def test_only_the_hash_of_a_key_is_stored(database: Database, bob: Principal, owner: Connection) -> None:
    issued = await principals.issue(database, Access.of(bob), "bob")
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [bob.tenant])
        rows = await (await owner.execute("select * from keys where id = %s", [issued.id])).fetchall()
    assert rows[0]["hash"] == principals.hashed(issued.secret)
    assert issued.secret not in str(rows)


async def test_a_key_that_expired_is_refused_with_its_reason(database: Database, bob: Principal) -> None:
    issued = await principals.issue(database, Access.of(bob), "bob", days=-1)
    with pytest.raises(Permanent, match="expired"):
        await principals.authenticate(database, issued.secret)


async def test_nobody_gets_a_key_for_a_stranger(database: Database, bob: Principal) -> None:
    with pytest.raises(Permanent, match="no person 'mallory'"):
        await principals.issue(database, Access.of(bob), "mallory")


async def test_a_key_of_another_tenant_cannot_be_revoked(
    database: Database, bob: Principal, owner: Connection, urls: Urls
) -> None:
    issued = await principals.issue(database, Access.of(bob), "bob")
    elsewhere = Access.of(Principal("elsewhere", "root", frozenset({"admin"})))
    with pytest.raises(Permanent, match="no key"):
        await principals.revoke(database, elsewhere, issued.id)
    assert await principals.authenticate(database, issued.secret) == bob


async def test_founding_twice_leaves_what_is_there(urls: Urls, tenant: str, database: Database) -> None:
    assert await principals.found(urls.owner, f"{tenant}-b", [Principal("", "eve", limit_alone=5)])
    assert not await principals.found(urls.owner, f"{tenant}-b", [Principal("", "eve", limit_alone=9)])
    issued = await principals.bootstrap(urls.owner, f"{tenant}-b", "eve", "first")
    assert (await principals.authenticate(database, issued.secret)).limit_alone == 5


def test_demand_names_the_groups_that_would_do(bob: Principal) -> None:
    demand(bob, "finance", "admin")
    with pytest.raises(Permanent, match="'ops' or 'admin'"):
        demand(bob, "ops", "admin")
