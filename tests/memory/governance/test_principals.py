"""Keys and people: a key for somebody else waits for them, and every change of who may act leaves an entry."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege

from memory.errors import Permanent
from memory.governance import journal, principals
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from tests.conftest import Connect, Connection

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(people: dict[str, Principal]) -> Access:
    return Access.of(people["root"])


async def entries(database: Database, access: Access, word: str) -> list[Mapping[str, Any]]:
    """Return the bodies of the chain of authority whose kind begins with a word."""
    chain = f"authority-{access.principal.tenant}"
    story = await journal.read(database, access, chain)
    return [entry.body for entry in story if entry.kind.startswith(word)]


async def test_a_key_for_somebody_else_lets_nobody_in_before_its_person_took_it(
    database: Database, root: Access, bob: Principal
) -> None:
    code = await principals.issue(database, root, "bob")
    with pytest.raises(Permanent, match="keys claim") as refusal:
        await principals.authenticate(database, code.secret)
    assert refusal.value.code == "unauthenticated"
    key = await principals.claim(database, code.secret)
    assert (key.id, key.person) == (code.id, "bob")
    assert await principals.authenticate(database, key.secret) == bob
    with pytest.raises(Permanent, match="keys claim"):
        await principals.authenticate(database, code.secret)


async def test_a_second_claim_is_refused_told_and_journaled(database: Database, root: Access, bob: Principal) -> None:
    """P2"""
    code = await principals.issue(database, root, "bob")
    key = await principals.claim(database, code.secret)
    with pytest.raises(Permanent, match="somebody else acts in your name") as refusal:
        await principals.claim(database, code.secret)
    assert refusal.value.code == "key_claimed"
    story = await entries(database, root, "key_")
    assert [(entry["kind"], entry["person"], entry["by"]) for entry in story] == [
        ("key_created", "bob", "root"),
        ("key_claimed", "bob", "bob"),
        ("key_claim_refused", "bob", "bob"),
    ]
    (mine,) = await principals.keys_of(database, Access.of(bob))
    assert (mine.id, mine.maker, mine.refusals) == (key.id, "root", 1)


async def test_of_a_used_code_that_is_sent_for_ever_the_journal_holds_twenty_entries(
    database: Database, root: Access
) -> None:
    """Whoever has it needs no key for that; the key's row goes on counting."""
    code = await principals.issue(database, root, "bob")
    await principals.claim(database, code.secret)
    for _ in range(25):
        with pytest.raises(Permanent):
            await principals.claim(database, code.secret)
    assert len(await entries(database, root, "key_claim_refused")) == 20
    assert (await principals.keys(database, root))[0].refusals == 25


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("claim_until = clock_timestamp()", "expired"),
        ("expires = clock_timestamp()", "expired"),
        ("revoked = clock_timestamp()", "revoked"),
    ],
)
async def test_a_code_lapses(database: Database, root: Access, owner: Connection, change: str, problem: str) -> None:
    code = await principals.issue(database, root, "bob", days=30)
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [root.principal.tenant])
        await owner.execute(f"update keys set {change} where id = %s".encode(), [code.id])
    with pytest.raises(Permanent, match=problem) as refusal:
        await principals.claim(database, code.secret)
    assert refusal.value.code == "unauthenticated"


async def test_a_code_is_good_for_a_week(database: Database, root: Access) -> None:
    code = await principals.issue(database, root, "bob")
    (key,) = await principals.keys(database, root)
    assert code.claim_until is not None
    assert abs(code.claim_until - key.created_at - timedelta(days=7)) < timedelta(minutes=1)


async def test_nobody_claims_with_what_is_no_code(database: Database, root: Access, bob: Principal) -> None:
    own = await principals.issue(database, root, "root")
    for text in ("claim_none", own.secret, ""):
        with pytest.raises(Permanent, match="unknown"):
            await principals.claim(database, text)


async def test_codes_and_keys_are_stored_hashed(database: Database, root: Access, owner: Connection) -> None:
    code = await principals.issue(database, root, "bob")
    key = await principals.claim(database, code.secret)
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [root.principal.tenant])
        rows = await (await owner.execute("select * from keys")).fetchall()
    assert (rows[0]["claim"], rows[0]["hash"]) == (principals.key_hash(code.secret), principals.key_hash(key.secret))
    assert not [secret for secret in (code.secret, key.secret) if secret in str(rows)]


async def test_the_database_makes_no_key_that_works_at_once_for_somebody_else(
    database: Database, root: Access, alice: Principal
) -> None:
    """Also where the application was brought to ask; and nobody claims what was made for another."""
    async with database.transaction(root) as connection:
        with pytest.raises(InsufficientPrivilege, match="a code that they claim"):
            await connection.execute("select create_key('bob', sha256('mine'), '', null)")
    code = await principals.issue(database, root, "bob")
    row = await database.call(Access.of(alice), "claim_key", principals.key_hash(code.secret), b"mine")
    assert row["code"] == "not_found"


async def test_the_first_keys_are_claimed_for_their_people_and_the_journal_says_so(
    database: Database, root: Access, urls: Urls
) -> None:
    """P1"""
    key = await principals.bootstrap(urls.owner, root.principal.tenant, "bob", "first")
    assert (await principals.authenticate(database, key.secret)).id == "bob"
    story = await entries(database, root, "key_")
    assert [(entry["kind"], entry["by"], entry["channel"], entry["status"]) for entry in story] == [
        ("key_created", "founder", "cs_owner", "claim"),
        ("key_claimed", "founder", "cs_owner", "usable"),
    ]


async def test_revoking_is_journaled(database: Database, root: Access) -> None:
    key = await principals.issue(database, root, "root")
    await principals.revoke(database, root, key.id)
    await principals.revoke(database, root, key.id)
    story = await entries(database, root, "key_")
    assert [(entry["kind"], entry["id"], entry["by"]) for entry in story] == [
        ("key_created", key.id, "root"),
        ("key_revoked", key.id, "root"),
    ]


async def test_people_groups_and_limits_are_journaled_with_what_they_were(
    database: Database, root: Access, superuser: Connect
) -> None:
    """P1: also where somebody above all rules writes to the table directly."""
    async with superuser() as connection:
        where = [root.principal.tenant]
        await connection.execute("update principals set limit_alone = 7 where id = 'bob' and tenant = %s", where)
        await connection.execute("update principals set groups = '{admin}' where id = 'dave' and tenant = %s", where)
        await connection.execute("update principals set groups = groups where tenant = %s", where)
        await connection.execute("delete from principals where id = 'carol' and tenant = %s", where)
    story = await entries(database, root, "person_")
    assert [
        (entry["kind"], entry["person"], entry["changed"]) for entry in story if entry["channel"] == "postgres"
    ] == [
        ("person_changed", "bob", {"limit_alone": {"was": 50_000, "is": 7}}),
        ("person_changed", "dave", {"groups": {"was": ["finance"], "is": ["admin"]}}),
        ("person_removed", "carol", story[-1]["changed"]),
    ]
    assert story[-1]["changed"]["groups"] == {"was": ["finance"], "is": None}


async def test_founders_are_journaled(database: Database, urls: Urls, tenant: str) -> None:
    """P1"""
    eve = Principal(f"{tenant}-b", "eve", frozenset({"ops"}), limit_alone=5)
    await principals.create_tenant(urls.owner, eve.tenant, [eve])
    (entry,) = await entries(database, Access.of(eve), "person_")
    assert (entry["kind"], entry["person"], entry["by"], entry["channel"]) == (
        "person_added", "eve", "founder", "cs_owner"
    )  # fmt: skip
    assert entry["changed"]["groups"] == {"was": None, "is": ["ops"]}


@pytest.mark.parametrize("kind", ["key_created", "key_claimed", "person_added", "person_changed", "knowledge_approved"])
async def test_nobody_tells_such_a_story_from_elsewhere(database: Database, root: Access, kind: str) -> None:
    with pytest.raises(Permanent, match="written by the gateway alone"):
        await journal.append(database, root, f"authority-{root.principal.tenant}", {"kind": kind})
