"""Export and import: one open form, the same answers afterwards, and nobody else's rows."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from memory import porting, store
from memory.database import Database
from memory.errors import Permanent
from memory.remembered import Memory, Provenance
from memory.scope import Access, Principal

pytestmark = pytest.mark.anyio
Remember = Callable[..., Awaitable[Memory]]
TEXTS = (
    "the ledger of the Berlin office closes on Fridays at noon",
    "Ann keeps the spare key of the archive",
    "the archive moved to Porto in May 2023",
    "refunds above 100 need a second pair of eyes",
)


@pytest.fixture
def mine(alice: Principal) -> Access:
    return Access.of(alice)


@pytest.fixture
def theirs(alice: Principal) -> Access:
    """Return the same person's access in a fresh tenant, as a fresh install would have."""
    return Access.of(Principal(f"{alice.tenant}-new", alice.id))


@pytest.fixture
def remember(database: Database, mine: Access) -> Remember:
    async def write(body: str, **options: Any) -> Memory:
        return await store.remember(database, mine, body, trust="human", provenance=Provenance(), **options)

    return write


async def lines(database: Database, access: Access) -> list[str]:
    return [line async for line in porting.export(database, access)]


async def test_a_fresh_install_gives_the_same_search_results(
    database: Database, mine: Access, theirs: Access, remember: Remember
) -> None:
    """R101: ids, order and scores; what was superseded goes along as history."""
    for text in TEXTS:
        await remember(text)
    for owner in ("Ann", "Ben"):
        await remember(f"owner of billing is {owner}", key="owner")
    assert await porting.take_in(database, theirs, await lines(database, mine)) == (6, 0)
    for query in ("when does the ledger close", "archive", "who owns billing"):
        assert await store.recall(database, theirs, query) == await store.recall(database, mine, query)
    assert (await store.recall(database, theirs, "billing")).superseded == 1


async def test_an_import_can_be_repeated(database: Database, mine: Access, theirs: Access, remember: Remember) -> None:
    await remember(TEXTS[0])
    out = await lines(database, mine)
    assert [await porting.take_in(database, theirs, out) for _ in range(2)] == [(1, 0), (0, 1)]


async def test_an_export_holds_one_scope_and_nothing_that_expired(
    database: Database, mine: Access, bob: Principal, remember: Remember
) -> None:
    """R92: not even of those who share the tenant."""
    await remember(TEXTS[0])
    await remember(TEXTS[1], ttl=timedelta(0))
    await store.remember(database, Access.of(bob), "Bob's", trust="human", provenance=Provenance())
    head, *rest = map(json.loads, await lines(database, mine))
    assert head == {"format": porting.FORMAT, "scope": "user:alice"}
    assert [row["body"] for row in rest] == [TEXTS[0]]
    assert not {"embedding", "tenant", "scope"} & rest[0].keys()


@pytest.mark.parametrize("forged", [{"tenant": "other"}, {"scope_id": "bob"}, {"scope": "user:bob", "uses": 3}])
async def test_a_forged_line_lands_in_the_importers_own_scope(
    database: Database, mine: Access, theirs: Access, remember: Remember, forged: dict[str, Any]
) -> None:
    """R92: where a row goes is said by the access."""
    await remember(TEXTS[0])
    head, line = await lines(database, mine)
    await porting.take_in(database, theirs, [head, json.dumps(json.loads(line) | forged)])
    assert [str(memory.scope) for memory in await store.ls(database, theirs)] == ["user:alice"]


@pytest.mark.parametrize("change", [{"body": ""}, {"trust": "god"}, {"body": "a\0b"}, {"id": "7"}])
async def test_one_bad_line_stops_the_whole_import(
    database: Database, mine: Access, theirs: Access, remember: Remember, change: dict[str, Any]
) -> None:
    for text in TEXTS[:2]:
        await remember(text)
    head, first, second = await lines(database, mine)
    with pytest.raises(Permanent, match="line 2"):
        await porting.take_in(database, theirs, [head, json.dumps(json.loads(first) | change), second])
    assert await store.ls(database, theirs) == []


@pytest.mark.parametrize(
    "given", [["[]"], ["{}"], ["nonsense"], [json.dumps({"format": porting.FORMAT}), json.dumps({"id": "x"})]]
)
async def test_another_file_is_refused(database: Database, theirs: Access, given: list[str]) -> None:
    with pytest.raises(Permanent, match=r"line [12]"):
        await porting.take_in(database, theirs, given)


async def test_without_a_scope_nothing_goes_out_or_in(database: Database, alice: Principal) -> None:
    reading = Access(alice, alice.reads)
    with pytest.raises(Permanent, match="no scope to export"):
        await lines(database, reading)
    given = [json.dumps({"format": porting.FORMAT}), '{"id": "x", "body": "y", "trust": "human", "provenance": {}}']
    with pytest.raises(Permanent, match="no scope to write"):
        await porting.take_in(database, reading, given)
