"""Knowledge: versions that never change, published by people, found by what people say."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from memory.errors import Permanent
from memory.knowledge import versions
from memory.knowledge.models import KnowledgeItem, PublicationResult
from memory.postgres.database import Database
from memory.scope import Access, Principal

pytestmark = pytest.mark.anyio
Publish = Callable[..., Awaitable[PublicationResult]]

UTTERANCES = {
    "billing.double-charge": ["customers say they were billed twice", "duplicate charges after the invoice run"],
    "billing.single-refund": ["a customer wants their money back", "refund one payment"],
    "db.disk-full": ["the database disk is almost full", "no space left on device"],
    "svc.rollback-deploy": ["roll back the last deployment", "errors started after the release"],
}


def item(id: str = "db.disk-full", body: str = "Extend the volume first.", **changes: Any) -> KnowledgeItem:
    """Return a runbook as a person would publish it."""
    return replace(KnowledgeItem(id, "runbook", id.replace(".", " "), body, "platform", date(2027, 1, 1)), **changes)


def runbook(id: str, **changes: Any) -> KnowledgeItem:
    """Return a runbook with its utterances in the front matter."""
    lines = "".join(f"- {text}\n" for text in UTTERANCES[id])
    return item(id, f"---\nid: {id}\nutterances:\n{lines}---\nRead the figures before acting on {id}.\n", **changes)


@pytest.fixture
def access(bob: Principal) -> Access:
    return Access.of(bob)


@pytest.fixture
def shipping(tenant: str) -> Access:
    """Return what the installation itself works with."""
    return Access.of(Principal(tenant, "countersign"))


@pytest.fixture
def publish(database: Database, access: Access) -> Publish:
    async def act(publication: KnowledgeItem, publisher: Access = access) -> PublicationResult:
        return await versions.publish(database, publisher, publication)

    return act


async def test_versions_count_up_and_the_newest_is_current(
    database: Database, access: Access, publish: Publish
) -> None:
    numbers = [(await publish(item(body=f"Extend the volume by {n}."))).version for n in (1, 2, 3)]
    newest = await versions.current(database, access, "db.disk-full")
    assert (numbers, newest.version, newest.published_by) == ([1, 2, 3], 3, "bob")


async def test_an_old_run_shows_the_exact_text_that_it_used(
    database: Database, access: Access, publish: Publish
) -> None:
    """R95, R118: by id and version, after three later edits."""
    first = "Extend the volume first.\n\tKeep  the spaces — and ünïcode.\r\n"
    for body in (first, "Edited once more.", "Edited twice more.", "Edited three times."):
        await publish(item(body=body))
    assert (await versions.show(database, access, "db.disk-full", 1)).body == first


async def test_publishing_the_same_again_changes_nothing(database: Database, access: Access, publish: Publish) -> None:
    first = await publish(item())
    again, pin = await publish(item()), await publish(item(version=1))
    assert [(p.version, p.is_new) for p in (first, again, pin)] == [(1, True), (1, False), (1, False)]


async def test_a_version_never_gets_another_text(publish: Publish) -> None:
    await publish(item(version=1))
    with pytest.raises(Permanent, match="exists with another text") as refusal:
        await publish(item(version=1, body="Drop a table instead."))
    assert refusal.value.code == "conflict"


async def test_a_release_may_ship_an_older_version_later_without_making_it_current(
    database: Database, access: Access, shipping: Access
) -> None:
    items = [item(version=3), item(version=2, body="Drop a table if nothing else helps.")]
    await versions.import_items(database, shipping, items)
    assert (await versions.current(database, access, "db.disk-full")).version == 3
    listing = await versions.ls(database, access, id="db.disk-full")
    assert [version_row.version for version_row in listing] == [3, 2]


async def test_two_publishers_at_once_get_two_versions(database: Database, carol: Principal, bob: Principal) -> None:
    async def act(publisher: Principal, n: int) -> PublicationResult:
        return await versions.publish(
            database, Access.of(publisher), item(body=f"Advice number {n} of {publisher.id}.")
        )

    results = await asyncio.gather(*(act(publisher, n) for n in range(4) for publisher in (carol, bob)))
    assert sorted(publication.version for publication in results) == list(range(1, 9))


async def test_several_processes_import_the_same_items_once(database: Database, access: Access) -> None:
    items = [runbook(id, version=1) for id in UTTERANCES]
    results = await asyncio.gather(*(versions.import_items(database, access, items) for _ in range(4)))
    assert sum(publication.is_new for batch in results for publication in batch) == len(UTTERANCES)
    assert await versions.import_items(database, access, items) == []


async def test_an_import_keeps_what_people_published_under_that_version(
    database: Database, shipping: Access, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(item(body="What the night shift learnt."))
    assert await versions.import_items(database, shipping, [item(version=1)]) == []
    assert "'db.disk-full' version 1 was published here" in caplog.text


async def test_published_rows_cannot_be_changed_even_by_a_stronger_hand(publish: Publish, superuser: Any) -> None:
    await publish(item())
    async with superuser() as above:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="publish a new one"):
            await above.execute("update knowledge set body = 'x', digest = repeat('0', 64)")


@pytest.fixture
def waiting(superuser: Any, alice: Principal) -> Callable[[str], Awaitable[str]]:
    """Return a factory of runs that wait for an approval resting on version 1 of an item."""

    async def park(citation: str) -> str:
        run, approval = str(uuid4()), str(uuid4())
        async with superuser() as above:
            await above.execute(
                "insert into runs (tenant, id, thread, requester, status, input, correlation, head, limit_tokens, "
                "limit_micros, limit_calls, waits_for) "
                "values (%s, %s, %s, 'alice', 'waiting', '{}', 'c', '', 0, 0, 0, %s)",
                [alice.tenant, run, run, approval],
            )
            await above.execute(
                "insert into approvals (tenant, id, run, round, requester, need, groups, requester_excluded, nonce, "
                "exposure, step, plan_hash, policy, rules, pins, shown, expires) values (%s, %s, %s, 1, 'alice', 1, "
                "'{}', true, 'n', 0, 's', 'h', 'p', '[]', %s, '{}', now() + interval '1 hour')",
                [alice.tenant, approval, run, Jsonb([{"id": citation, "version": 1}])],
            )
        return run

    return park


async def test_a_new_version_voids_the_open_approvals_that_pin_the_old_one(
    database: Database, access: Access, publish: Publish, waiting: Callable[[str], Awaitable[str]]
) -> None:
    """R77: in the publishing transaction; questions that rest on other items stay open."""
    await publish(item())
    stale, other = await waiting("db.disk-full"), await waiting("db.slow-query")
    assert (await publish(item(body="Extend the volume by half."))).runs == [stale]
    async with database.transaction(access) as connection:
        cursor = await connection.execute("select run, status, reason from approvals")
        assert {row["run"]: (row["status"], row["reason"]) for row in await cursor.fetchall()} == {
            stale: ("void", "stale_knowledge"),
            other: ("open", None),
        }


async def test_an_older_version_published_late_voids_nothing(
    database: Database, shipping: Access, waiting: Callable[[str], Awaitable[str]]
) -> None:
    await versions.import_items(database, shipping, [item(version=3)])
    await waiting("db.disk-full")
    (late,) = await versions.import_items(database, shipping, [item(version=2, body="Drop a table if nothing helps.")])
    assert late.runs == []


async def test_items_are_listed_page_by_page(database: Database, access: Access, publish: Publish) -> None:
    for number in range(5):
        await publish(item(f"fact.{number}", f"The number of it is {number}.", kind="fact"))
    await publish(item("fact.2", "The number of it is two.", kind="fact"))
    pages, after = list[str](), None
    while cursor := await versions.ls(database, access, limit=2, after=after):
        pages += [f"{version_row.id} {version_row.version}" for version_row in cursor]
        after = (cursor[-1].id, cursor[-1].version)
    assert pages == ["fact.0 1", "fact.1 1", "fact.2 2", "fact.3 1", "fact.4 1"]
    (older,) = await versions.ls(database, access, id="fact.2", after=("fact.2", 2))
    assert older.version == 1


async def test_publishing_is_journaled(database: Database, access: Access, publish: Publish) -> None:
    await publish(item())
    await publish(item())
    async with database.transaction(access) as connection:
        cursor = await connection.execute("select body::jsonb as body from journal where kind = 'knowledge'")
        entries = [row["body"] for row in await cursor.fetchall()]
    assert [(e["id"], e["version"], e["by"]) for e in entries] == [("db.disk-full", 1, "bob")]


async def test_an_unknown_item_is_not_found(database: Database, access: Access, publish: Publish) -> None:
    await publish(item())
    for id, version in (("nothing", None), ("db.disk-full", 9)):
        with pytest.raises(Permanent) as missing:
            await versions.show(database, access, id, version)
        assert missing.value.code == "not_found"


async def test_another_tenant_knows_nothing_of_it(database: Database, publish: Publish) -> None:
    await publish(runbook("db.disk-full"))
    stranger = Access.of(Principal(f"t-{uuid4().hex[:12]}", "alice"))
    assert await versions.ls(database, stranger) == []
    assert await versions.find(database, stranger, "disk full") == []


@pytest.mark.parametrize(
    ("text", "expectation"),
    [
        ("customers say they were billed twice on Friday night, fix it", "billing.double-charge"),
        ("one customer wants the money back", "billing.single-refund"),
        ("there is no space left on the database disk", "db.disk-full"),
        ("please roll back the deployment of noon", "svc.rollback-deploy"),
    ],
)
async def test_requests_find_their_runbook_clearly(
    database: Database, access: Access, text: str, expectation: str
) -> None:
    await versions.import_items(database, access, [runbook(id, version=1) for id in UTTERANCES])
    first, second, _ = await versions.find(database, access, text)
    assert (first.id, first.score >= 0.25, first.score - second.score >= 0.05) == (expectation, True, True)


@pytest.mark.parametrize("text", ["write me a poem about ships", "what is the weather tomorrow", "?!", ""])
async def test_other_requests_stay_below_the_threshold(database: Database, access: Access, text: str) -> None:
    await versions.import_items(database, access, [runbook(id, version=1) for id in UTTERANCES])
    assert all(0 <= hit.score < 0.18 for hit in await versions.find(database, access, text))


async def test_only_the_current_version_is_found(database: Database, access: Access, publish: Publish) -> None:
    await publish(item(body="Drop a table to win space."))
    await publish(item(body="Extend the volume instead."))
    (hit,) = await versions.find(database, access, "drop a table to win space")
    assert (hit.version, hit.score < 0.3) == (2, True)


async def test_facts_are_found_as_facts(database: Database, access: Access, publish: Publish) -> None:
    await publish(item("refund.window", "Refunds are possible for thirty days.", kind="fact", title="Refund window"))
    assert await versions.find(database, access, "refund window") == []
    (hit,) = await versions.find(database, access, "refund window", "fact")
    assert (hit.id, hit.score > 0.5) == ("refund.window", True)
