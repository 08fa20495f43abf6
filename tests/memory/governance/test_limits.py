"""Limits per currency, and the currency that a tenant accounts in, which its records then hold it to."""

import psycopg
import pytest

from memory.errors import Permanent
from memory.governance import journal, limits
from memory.governance.limits import Limit
from memory.postgres.database import Connection, Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal

pytestmark = pytest.mark.anyio


async def test_limits_of_a_person_are_those_of_the_accounts_and_of_further_currencies(
    database: Database, urls: Urls, bob: Principal
) -> None:
    for limit in (Limit("bob", "JPY", 1_000, 2_000), Limit("bob", "CHF", 3, 4), Limit("bob", "EUR", 5, 6)):
        await limits.put(urls.owner, bob.tenant, limit)
    await limits.put(urls.owner, bob.tenant, Limit("bob", "JPY", 7, 8))
    assert await limits.ls(database, Access.of(bob), "bob") == [
        Limit("bob", "EUR", 5, 6),
        Limit("bob", "CHF", 3, 4),
        Limit("bob", "JPY", 7, 8),
    ]
    assert {limit.person for limit in await limits.ls(database, Access.of(bob))} >= {"alice", "carol"}


@pytest.mark.parametrize("limit", [Limit("nobody", "JPY", 1, 1), Limit("bob", "JPY", -1, 1)], ids=["nobody", "less"])
async def test_limit_of_nobody_or_below_nothing_is_refused(urls: Urls, bob: Principal, limit: Limit) -> None:
    with pytest.raises(Permanent, match="there is no person"):
        await limits.put(urls.owner, bob.tenant, limit)


async def test_only_the_owner_sets_limits(database: Database, bob: Principal) -> None:
    for call in ("put_limit('bob', 'JPY', 1, 1)", "account_in('JPY')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await database.rows(Access.of(bob), f"select * from {call}")


async def test_tenant_accounts_in_what_its_installation_says_until_records_say_otherwise(
    database: Database, owner: Connection, urls: Urls, bob: Principal
) -> None:
    await limits.account_in(urls.owner, bob.tenant, "JPY")
    await limits.check(database, Access.of(bob), "JPY")
    with pytest.raises(Permanent, match=r"accounts in JPY, not in EUR: .* COUNTERSIGN_ACCOUNTING_CURRENCY=JPY"):
        await limits.check(database, Access.of(bob), "EUR")
    await limits.put(urls.owner, bob.tenant, Limit("bob", "CHF", 1, 1))
    with pytest.raises(Permanent, match="accounts in JPY, not in EUR"):
        await limits.account_in(urls.owner, bob.tenant, "EUR")
    await limits.account_in(urls.owner, bob.tenant, "JPY")


async def test_limit_that_is_set_stands_in_the_journal(database: Database, urls: Urls, bob: Principal) -> None:
    await limits.put(urls.owner, bob.tenant, Limit("bob", "JPY", 7, 8))
    entry = (await journal.read(database, Access.of(bob), f"authority-{bob.tenant}"))[-1]
    change = {"limits": {"was": {}, "is": {"JPY": {"alone": 7, "joint": 8}}}}
    assert (entry.kind, entry.body["person"], entry.body["changed"]) == ("person_changed", "bob", change)
