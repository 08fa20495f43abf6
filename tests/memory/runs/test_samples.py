"""First rows of what a question asks about: for its requester and those who are asked, while they are unchanged."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from memory.postgres.database import Connection, Database
from memory.runs import previews
from memory.runs.results import RunRows
from memory.runs.rows import ResultSlice
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import Desk, act, open_desk

pytestmark = pytest.mark.anyio
MEMORY = {"id": "m", "said": "", "scope": "user:alice", "text": "a secret", "trust": "human"}


async def rows(items: list[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    for item in items:
        yield item


@pytest.fixture
async def desk(database: Database, owner: Connection, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    crowd = dict(people)
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [people["bob"].tenant])
        for name, groups in (("frank", ["support"]), ("root", ["admin"])):
            await owner.execute("select put_principal(%s, %s, 0, 0)", [name, groups])
            crowd[name] = Principal(people["bob"].tenant, name, frozenset(groups))
    return await open_desk(database, crowd, clock)


async def question(desk: Desk, superuser: Connect, items: list[Mapping[str, Any]], **change: Any) -> str:
    """Return a round that shows a slice of rows which its run keeps, or one changed so."""
    lease = await desk.run()
    approval = await desk.ask(lease, act(lease, tool="shop.refund", amount=10))
    part: ResultSlice = await RunRows(desk.database, lease.access, lease.run, "look").keep("all", rows(items))
    shown = json.dumps({"title": "refund", "args": {"charges": {**part, **change}}})
    async with superuser() as above:
        await above.execute("update approvals set shown = %s::jsonb where id = %s", [shown, approval])
    return approval


async def seen(desk: Desk, approval: str) -> dict[str, int]:
    """Return how many rows each person is shown."""
    return {name: len(await previews.sample(desk.database, desk.access(name), approval, 3)) for name in desk.people}


async def test_those_who_are_asked_see_the_first_rows_and_nobody_else(desk: Desk, superuser: Connect) -> None:
    approval = await question(desk, superuser, [{"charge": f"ch_{n}", "amount": n} for n in range(5)])
    counts = await seen(desk, approval)
    assert {name for name, count in counts.items() if count == 3} >= {"alice", "bob", "carol", "root"}
    assert (counts["frank"], set(counts.values())) == (0, {0, 3})
    first = await previews.sample(desk.database, desk.access("bob"), approval, 1)
    assert first == [{"charge": "ch_0", "amount": 0}]


async def test_texts_of_a_memory_are_the_requesters_alone(desk: Desk, superuser: Connect) -> None:
    counts = await seen(desk, await question(desk, superuser, [MEMORY]))
    assert {name for name, count in counts.items() if count} == {"alice"}


@pytest.mark.parametrize(
    "change", [{"digest": "0" * 64}, {"count": 99}, {"start": -1}, {"count": 10**30}, {"start": "0"}, {"handle": "h_"}]
)
async def test_rows_that_were_not_asked_about_are_not_shown(
    desk: Desk, superuser: Connect, change: Mapping[str, Any]
) -> None:
    approval = await question(desk, superuser, [{"charge": "ch_0", "amount": 1}], **change)
    assert set((await seen(desk, approval)).values()) == {0}


async def test_rows_of_another_run_are_not_shown(desk: Desk, superuser: Connect) -> None:
    other = await desk.run()
    part = await RunRows(desk.database, other.access, other.run, "look").keep("all", rows([{"charge": "x"}]))
    approval = await question(desk, superuser, [{"charge": "ch_0"}], **part)
    assert set((await seen(desk, approval)).values()) == {0}
