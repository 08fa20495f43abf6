"""Export and import: one open form, the same answers afterwards, and nobody else's rows."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.scope import Access, Principal
from memory.store import archive, erasure, pruning, search, transfer, versions, write
from memory.store.models import Memory, Note, Provenance, Utterance
from memory.store.pruning import PruningPolicy

pytestmark = pytest.mark.anyio
Remember = Callable[..., Awaitable[Memory]]
TEXTS = (
    "the ledger of the Berlin office closes on Fridays at noon",
    "Ann keeps the spare key of the archive",
    "the archive moved to Porto in May 2023",
    "refunds above 100 need a second pair of eyes",
)


@pytest.fixture
def own_access(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def target_access(alice: Principal) -> Access:
    """Return the same person's access in a fresh tenant, as a fresh install would have."""
    return Access.of(Principal(f"{alice.tenant}-new", alice.id))


@pytest.fixture
def remember(database: Database, own_access: Access) -> Remember:
    async def keep(body: str, **options: Any) -> Memory:
        return await write.remember(database, own_access, body, trust="human", provenance=Provenance(), **options)

    return keep


async def lines(database: Database, access: Access) -> list[str]:
    return [line async for line in transfer.export(database, access)]


async def test_a_fresh_install_gives_the_same_search_results(
    database: Database, own_access: Access, target_access: Access, remember: Remember
) -> None:
    """R101: ids, order and scores; what was superseded goes along as history."""
    for text in TEXTS:
        await remember(text)
    for owner in ("Ann", "Ben"):
        await remember(f"owner of billing is {owner}", key="owner")
    assert await transfer.import_lines(database, target_access, await lines(database, own_access)) == (6, 0)
    for query in ("when does the ledger close", "archive", "who owns billing"):
        assert await search.recall(database, target_access, query) == await search.recall(database, own_access, query)
    assert (await search.recall(database, target_access, "billing")).superseded_count == 1


@pytest.fixture(scope="module")
def elsewhere(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of its own, made before a loop runs."""
    return clone(f"fresh_{worker_id}")


@pytest.fixture
async def fresh(elsewhere: Urls, anyio_backend: str) -> AsyncGenerator[Database]:
    """Return a fresh install."""
    database = await Database.open(elsewhere.app, size=2)
    yield database
    await database.close()


async def live(database: Database, access: Access, remember: Remember) -> None:
    """Fill a scope with everything that can be in one."""
    for text in TEXTS:
        await remember(text)
    for owner in ("Ann", "Ben", "Cleo"):
        await remember(f"owner of billing is {owner}", key="owner")
    await remember("lunch is at noon", ttl=timedelta(days=1))
    for position, (speaker, text) in enumerate((("Ann", "When did you move to Porto?"), ("Ben", "In May, I think."))):
        await remember(text, turn=Utterance(speaker, datetime(2023, 5, 7, tzinfo=UTC), "chat", position))
    async with database.transaction(access) as connection:
        for call in ("first", "again"):
            safe = Note("the safe is behind the map", "human", Provenance(call=call), is_pinned=True)
            await write.add(connection, access, safe)
    for text in ("nothing much happened", "all was quiet"):
        await remember(text)
    await pruning.prune(database, access, PruningPolicy(facts=10, episodes=6))


async def all_rows(database: Database, access: Access) -> list[object]:
    """Return what a person can see of a scope, but where rows lie and how they are embedded."""
    queries = ("when does the ledger close", "archive", "who owns billing", "when did Ben move to Porto", "noon")
    archived_rows = [replace(row, scope="") for row in await archive.ls(database, access)]
    preview = await pruning.preview(database, access, PruningPolicy(facts=1, episodes=1))
    columns = "select id, pinned, told, answers, expires, valid_to, superseded_by from memories order by id"
    links = "select memory, digest, trust, provenance, told from memory_links order by told, memory"
    return [
        [await search.recall(database, access, query) for query in queries],
        await versions.versions(database, access, "owner"),
        (archived_rows, preview.removals),
        await database.rows(access, links),
        await database.rows(access, columns),
    ]


async def test_a_fresh_install_holds_all_that_the_old_one_did(
    database: Database, own_access: Access, fresh: Database, remember: Remember
) -> None:
    """R101: history, the archive, links, pins, ends and turns; the second import finds everything there."""
    await live(database, own_access, remember)
    out = await lines(database, own_access)
    assert {name for name in ("link", "archived") for line in out if f'{{"{name}":' in line} == {"link", "archived"}
    counts = [await transfer.import_lines(fresh, own_access, out) for _ in range(2)]
    assert counts == [(len(out) - 1, 0), (0, len(out) - 1)]
    old, new = await all_rows(database, own_access), await all_rows(fresh, own_access)
    assert old == new
    assert await lines(fresh, own_access) == out


async def test_what_was_archived_is_restored_where_it_arrived(
    database: Database, own_access: Access, target_access: Access, remember: Remember
) -> None:
    """R99 R101"""
    await remember(TEXTS[0])
    await pruning.prune(database, own_access, PruningPolicy(episodes=0))
    await transfer.import_lines(database, target_access, await lines(database, own_access))
    (archived_rows,) = await archive.ls(database, target_access)
    memory = await archive.restore(database, target_access, archived_rows.id)
    assert (memory.body, memory.scope) == (TEXTS[0], target_access.writes)


async def test_what_was_forgotten_does_not_come_back_through_the_archive(
    database: Database, own_access: Access, alice: Principal, remember: Remember
) -> None:
    """R102"""
    await remember(TEXTS[0])
    await pruning.prune(database, own_access, PruningPolicy(episodes=0))
    out = await lines(database, own_access)
    await erasure.forget_person(database, alice, requester="alice")
    with pytest.raises(Permanent, match="line 2: this was forgotten"):
        await transfer.import_lines(database, own_access, out)
    assert await archive.ls(database, own_access) == []


HOSTILE = {
    "deep": "[" * 100_000,
    "another's memory": '{"link": {"memory": "00000000-0000-0000-0000-000000000000", "digest": "0", "trust": "human"}}',
    "no link": '{"link": 7}',
    "nothing archived": '{"archived": {"content": {}}}',
    "archived badly": '{"archived": []}',
    "a list as text": '{"id": "0", "body": ["x"], "trust": "human", "provenance": {}}',
    "an object as id": '{"id": {}, "body": "x", "trust": "human", "provenance": {}}',
    "half a character": '{"id": "\\ud800", "body": "x", "trust": "human", "provenance": {}}',
    "no number": f'{{"id": "{UUID(int=0)}", "body": "x", "trust": "human", "provenance": {{}}, "uses": NaN}}',
    "a number": "7",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_line_is_named_and_nothing_of_its_file_stays(
    database: Database, own_access: Access, target_access: Access, remember: Remember, line: str
) -> None:
    await remember(TEXTS[0])
    with pytest.raises(Permanent, match="line 3") as refusal:
        await transfer.import_lines(database, target_access, [*await lines(database, own_access), line])
    assert refusal.value.code == "bad_request"
    assert await search.ls(database, target_access) == []


async def test_an_archive_cannot_be_planted_for_somebody_else(
    database: Database, own_access: Access, bob: Principal, remember: Remember
) -> None:
    """R92: it lands where the importer writes, whatever the line says."""
    await remember(TEXTS[0])
    await pruning.prune(database, own_access, PruningPolicy(episodes=0))
    head, line = await lines(database, own_access)
    hostile_line = json.loads(line)
    hostile_line["archived"] |= {"scope": "user:alice", "hold": True, "tenant": "other"}
    hostile_line["archived"]["content"] |= {"id": str(uuid4()), "scope": "user:alice", "body": "planted"}
    assert await transfer.import_lines(database, Access.of(bob), [head, json.dumps(hostile_line)]) == (1, 0)
    assert [row.body for row in await archive.ls(database, own_access)] == [TEXTS[0]]
    (own,) = await archive.ls(database, Access.of(bob))
    assert (own.scope, own.body, own.hold) == ("user:bob", "planted", False)


async def test_an_import_can_be_repeated(
    database: Database, own_access: Access, target_access: Access, remember: Remember
) -> None:
    await remember(TEXTS[0])
    out = await lines(database, own_access)
    assert [await transfer.import_lines(database, target_access, out) for _ in range(2)] == [(1, 0), (0, 1)]


async def test_an_export_holds_one_scope_and_nothing_that_expired(
    database: Database, own_access: Access, bob: Principal, remember: Remember
) -> None:
    """R92: not even of those who share the tenant."""
    await remember(TEXTS[0])
    await remember(TEXTS[1], ttl=timedelta(0))
    await write.remember(database, Access.of(bob), "Bob's", trust="human", provenance=Provenance())
    head, *body_lines = map(json.loads, await lines(database, own_access))
    assert head == {"format": transfer.FORMAT, "scope": "user:alice"}
    assert [row["body"] for row in body_lines] == [TEXTS[0]]
    assert not {"embedding", "tenant", "scope"} & body_lines[0].keys()


@pytest.mark.parametrize("forgery", [{"tenant": "other"}, {"scope_id": "bob"}, {"scope": "user:bob", "uses": 3}])
async def test_a_forged_line_lands_in_the_importers_own_scope(
    database: Database, own_access: Access, target_access: Access, remember: Remember, forgery: dict[str, Any]
) -> None:
    """R92: where a row goes is said by the access."""
    await remember(TEXTS[0])
    head, line = await lines(database, own_access)
    await transfer.import_lines(database, target_access, [head, json.dumps(json.loads(line) | forgery)])
    assert [str(memory.scope) for memory in await search.ls(database, target_access)] == ["user:alice"]


@pytest.mark.parametrize("change", [{"body": ""}, {"trust": "god"}, {"body": "a\0b"}, {"id": "7"}])
async def test_one_bad_line_stops_the_whole_import(
    database: Database, own_access: Access, target_access: Access, remember: Remember, change: dict[str, Any]
) -> None:
    for text in TEXTS[:2]:
        await remember(text)
    head, first, second = await lines(database, own_access)
    with pytest.raises(Permanent, match="line 2"):
        await transfer.import_lines(database, target_access, [head, json.dumps(json.loads(first) | change), second])
    assert await search.ls(database, target_access) == []


@pytest.mark.parametrize(
    "file_lines", [["[]"], ["{}"], ["nonsense"], [json.dumps({"format": transfer.FORMAT}), json.dumps({"id": "x"})]]
)
async def test_another_file_is_refused(database: Database, target_access: Access, file_lines: list[str]) -> None:
    with pytest.raises(Permanent, match=r"line [12]"):
        await transfer.import_lines(database, target_access, file_lines)


async def test_without_a_scope_nothing_goes_out_or_in(database: Database, alice: Principal) -> None:
    reading = Access(alice, alice.reads)
    with pytest.raises(Permanent, match="no scope to export"):
        await lines(database, reading)
    file_lines = [
        json.dumps({"format": transfer.FORMAT}),
        '{"id": "x", "body": "y", "trust": "human", "provenance": {}}',
    ]
    with pytest.raises(Permanent, match="no scope to write"):
        await transfer.import_lines(database, reading, file_lines)
