"""Who may have a person forgotten, what happens at the same moment, and what stays of their words in others' runs."""

import asyncio
from uuid import uuid4

import pytest

from memory.errors import Permanent
from memory.evidence.check import check
from memory.governance import journal
from memory.postgres.database import Connection, Database
from memory.runs import records
from memory.scope import Access, Principal
from memory.store import erasure, search, write
from memory.store.models import Note, Provenance
from tests.conftest import Connect
from tests.scenarios.waiting import until

pytestmark = pytest.mark.anyio
BICYCLE = Note("keeps a red bicycle in Porto", "tool", Provenance())
_REFUSAL = {"code": "forbidden", "about": None, "counts": None}


@pytest.fixture
async def own_access(database: Database, alice: Principal) -> Access:
    """Return alice's access, with one memory."""
    access = Access.of(alice)
    async with database.transaction(access) as connection:
        await write.add(connection, access, BICYCLE)
    return access


async def test_only_the_person_and_administrators_may_forget_whatever_sql_asks_for_it(
    database: Database, own_access: Access, bob: Principal, owner: Connection
) -> None:
    """R102: the function looks at who entered, not at what it is told."""
    with pytest.raises(Permanent, match="'bob' may not forget 'alice'") as refusal:
        await erasure.forget_person(database, own_access.principal, requester="bob")
    assert refusal.value.code == "forbidden"
    for person in ("alice", "nobody"):
        assert await database.call(Access.of(bob), "forget_person", person) == _REFUSAL
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [bob.tenant])
        await owner.execute("select put_principal('root', '{admin}', 0, 0)")
    receipt = await erasure.forget_person(database, own_access.principal, requester="root")
    assert receipt.counts["memories"] == 1


async def test_forgetting_twice_at_once_forgets_once(database: Database, own_access: Access) -> None:
    """R102: the second finds nothing left, and leaves a receipt of its own."""
    receipts = await asyncio.gather(
        *(erasure.forget_person(database, own_access.principal, requester="alice") for _ in range(2))
    )
    assert sorted(receipt.counts.get("memories", 0) for receipt in receipts) == [0, 1]
    story = await journal.read(database, own_access, f"authority-{own_access.principal.tenant}")
    assert [entry.kind for entry in story].count("forgotten") == 2


async def test_a_run_that_is_being_started_is_seen(database: Database, own_access: Access, superuser: Connect) -> None:
    """R102: forgetting waits for it, and then says that it is open."""
    run = str(uuid4())
    async with database.transaction(own_access) as connection:
        await begin(connection, run)
        forgetting_them = asyncio.create_task(erasure.forget_person(database, own_access.principal, requester="alice"))
        await waiting(superuser, "%forget_person%")
    with pytest.raises(Permanent, match=run):
        await forgetting_them


async def begin(connection: Connection, run: str) -> None:
    budget = {"tokens": 10, "micros": 10, "calls": 10}
    await records.start(connection, id=run, thread=run, input={"request": ""}, correlation=run, budget=budget)


async def test_what_is_being_extracted_meanwhile_is_forgotten_too(
    database: Database, own_access: Access, superuser: Connect
) -> None:
    """R102: neither before nor after, but never in between."""
    async with database.transaction(own_access) as connection:
        await write.add(connection, own_access, Note("has a blue boat in Faro", "tool", Provenance()))
        forgetting_them = asyncio.create_task(erasure.forget_person(database, own_access.principal, requester="alice"))
        await waiting(superuser, "%forget_person%")
    assert (await forgetting_them).counts["memories"] == 2
    assert await search.ls(database, own_access) == []


async def waiting(connect: Connect, statement: str) -> None:
    """Wait until a session with such a statement waits for a lock."""
    async with connect() as above:

        async def is_waiting() -> bool:
            cursor = await above.execute(
                "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like %s", [statement]
            )
            return await cursor.fetchone() is not None

        await until(is_waiting, f"a wait of {statement}")


async def test_what_somebody_said_in_a_colleagues_run_goes_and_the_colleagues_words_stay(
    database: Database, own_access: Access, bob: Principal
) -> None:
    """R102: each chain still verifies, and says which entries are empty."""
    run = str(uuid4())
    async with database.transaction(own_access) as connection:
        await begin(connection, run)
    await database.call(Access.of(bob), "cancel_run", run, "bob says heliotrope")
    await erasure.forget_person(database, bob, requester="bob")
    request_entry, cancel, *_, receipt = await journal.read(database, own_access, run)
    assert (request_entry.words is None, cancel.is_forgotten, cancel.body.get("reason")) == (False, True, None)
    assert (receipt.kind, receipt.body["entries"], receipt.body["by"]) == ("forgotten", [cancel.seq], "bob")
    async with database.snapshot(own_access) as connection:
        assert (await check(connection, run)).problems == ()
