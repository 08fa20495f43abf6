"""First rows of results: for whoever asked, of their own run, and no text that is not remembered any more."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from memory.postgres.database import Database
from memory.runs import previews, records
from memory.runs.results import RunRows
from memory.scope import Access, Principal, Scope
from memory.store import erasure, write
from memory.store.models import Memory, Provenance

pytestmark = pytest.mark.anyio
BUDGET = {"tokens": 1, "micros": 1, "calls": 1}


@pytest.fixture
async def run(database: Database, alice: Principal) -> str:
    """Return a run that alice started."""
    id = str(uuid4())
    async with database.transaction(Access.of(alice)) as connection:
        await records.start(connection, id=id, thread=id, input={"request": "look"}, correlation=id, budget=BUDGET)
    return id


@pytest.fixture
def access(alice: Principal) -> Access:
    return Access.of(alice)


async def charges(count: int) -> AsyncIterator[Mapping[str, Any]]:
    for n in range(count):
        yield {"charge": f"ch_{n}", "amount": n}


async def tell(database: Database, access: Access, text: str, ttl: timedelta | None = None) -> Memory:
    return await write.remember(database, access, text, trust="human", provenance=Provenance(), ttl=ttl)


async def test_first_rows_stand_by_the_place_of_their_slice(database: Database, access: Access, run: str) -> None:
    rows = RunRows(database, access, run, "look")
    charge_rows = await rows.keep("all", charges(50))
    results = {"call": {"found": charge_rows, "deep": {"cut": await rows.cut(charge_rows, 7, 2)}, "count": 50}}
    preview = await previews.read(database, access, run, results)
    assert [row["amount"] for row in preview["call.found"]] == list(range(previews.ROWS))
    assert [row["amount"] for row in preview["call.deep.cut"]] == [7, 8]


async def test_nobody_else_is_shown_them(database: Database, access: Access, bob: Principal, *, run: str) -> None:
    """R92: neither a colleague, nor through another run of one's own."""
    results = {"found": await RunRows(database, access, run, "look").keep("all", charges(2))}
    assert await previews.read(database, Access.of(bob), run, results) == {}
    assert await previews.read(database, access, str(uuid4()), results) == {}
    assert len((await previews.read(database, access, run, results))["found"]) == 2


async def test_what_was_forgotten_since_is_not_shown_from_a_copy(database: Database, access: Access, run: str) -> None:
    """R102: nor what ended, or what another scope holds."""
    current, obsolete = (
        await tell(database, access, "refunds leave on Mondays"),
        await tell(database, access, "refunds are secret"),
    )
    working = Access(access.principal, (*access.reads, Scope("run", run)), Scope("run", run))
    await tell(database, working, "refunds of this run")
    part, _ = await RunRows(database, working, run, "look").recall("found", "refunds", 10)
    assert part["count"] == 3
    await erasure.forget(database, access, id=obsolete.id)
    preview = await previews.read(database, access, run, {"found": part})
    assert [(row["id"], row["text"]) for row in preview["found"]] == [(current.id, current.body)]


async def test_results_without_rows_ask_nothing(database: Database, access: Access, run: str) -> None:
    assert await previews.read(database, access, run, {"call": {"count": 1, "handle": "h_x"}}) == {}


async def test_rows_that_only_look_like_memories_are_none(database: Database, access: Access, run: str) -> None:
    async def alike() -> AsyncIterator[Mapping[str, Any]]:
        yield {"id": "no uuid", "said": "", "scope": "user:alice", "text": "a secret", "trust": "human"}

    results = {"found": await RunRows(database, access, run, "look").keep("all", alike())}
    assert await previews.read(database, access, run, results) == {}
