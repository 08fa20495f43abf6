"""Versions approved by another than their publisher: who may, what is recorded, when publishing is refused."""

import pytest

from memory.errors import Permanent
from memory.governance import journal
from memory.knowledge import versions
from memory.postgres.database import Database
from memory.scope import Access, Principal, Scope
from tests.conftest import Connection
from tests.memory.knowledge.test_versions import Publish, access, item, publish, shipping

__all__ = ["access", "publish", "shipping"]

pytestmark = pytest.mark.anyio
ID = "db.disk-full"


async def test_another_person_approves_a_version_once(
    database: Database, access: Access, carol: Principal, publish: Publish
) -> None:
    """And the chain of authority says who, of which text, and why."""
    await publish(item())
    assert await versions.approve(database, Access.of(carol), ID, 1, "read it")
    assert not await versions.approve(database, Access.of(carol), ID, 1, "again")
    standing = await versions.standing(database, access, ID, 1)
    assert (standing.publisher, standing.approvers, standing.is_countersigned) == ("bob", ("carol",), True)
    story = await journal.read(database, access, f"authority-{carol.tenant}")
    (entry,) = [entry.body for entry in story if entry.kind == "knowledge_approved"]
    assert (entry["by"], entry["person"], entry["id"], entry["version"]) == ("carol", "bob", ID, 1)
    assert (entry["reason"], entry["digest"]) == ("read it", (await versions.current(database, access, ID)).digest)


async def test_who_published_it_does_not_approve_it(database: Database, access: Access, publish: Publish) -> None:
    await publish(item())
    with pytest.raises(Permanent, match="ask another person") as refusal:
        await versions.approve(database, access, ID, 1)
    assert refusal.value.code == "author_excluded"
    assert not (await versions.standing(database, access, ID, 1)).is_countersigned


async def test_only_those_who_may_publish_approve(
    database: Database, alice: Principal, carol: Principal, publish: Publish
) -> None:
    """Neither support, nor the installation, nor anybody from inside a run."""
    await publish(item())
    in_a_run = Access(carol, (Scope("run", "r-1"),))
    for stranger in (Access.of(alice), Access.of(Principal(alice.tenant, "countersign")), in_a_run):
        with pytest.raises(Permanent) as refusal:
            await versions.approve(database, stranger, ID, 1)
        assert refusal.value.code == "forbidden"


async def test_what_is_not_there_is_not_found(database: Database, access: Access) -> None:
    for work in (versions.approve(database, access, ID, 1), versions.standing(database, access, ID, 1)):
        with pytest.raises(Permanent, match=r"there is no 'db\.disk-full' version 1"):
            await work


async def test_what_the_installation_ships_needs_no_approval(
    database: Database, access: Access, shipping: Access
) -> None:
    await versions.import_items(database, shipping, [item(version=1)])
    standing = await versions.standing(database, access, ID, 1)
    assert (standing.is_shipped, standing.is_countersigned) == (True, True)


async def test_where_nobody_could_approve_a_version_it_is_not_published(
    database: Database, access: Access, shipping: Access, owner: Connection, publish: Publish
) -> None:
    """Said before it is taken: its publisher would be an author for good. What asks nobody is published."""
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [access.principal.tenant])
        await owner.execute("update principals set groups = '{support}' where id <> 'bob'")
    with pytest.raises(Permanent, match="add somebody to 'ops', 'finance' or 'admin'") as refusal:
        await publish(item())
    assert (refusal.value.code, await versions.ls(database, access)) == ("no_approver_left", [])
    assert (await versions.publish(database, access, item(), attended=False)).is_new
    assert await versions.import_items(database, shipping, [item(ID, "Extend it by half.", version=2)])
