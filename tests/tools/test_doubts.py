"""Effects in doubt: settled by what the world shows, one look at a time, and only by a proof."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from memory.errors import Halt, Temporary
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import Connect, VirtualClock
from tests.tools.support import POLICY, TOOLS, Desk, act, open_desk
from tools import doubts, effects
from tools.effects import EffectRow

pytestmark = pytest.mark.anyio


async def fall_into_doubt(desk: Desk, lease: Lease, tool: str = "shop.charge") -> EffectRow:
    """Send until the attempts are used up, without any reply; the run stops and keeps its reservation."""

    async def lose() -> None:
        raise Temporary("tool_failed", "the connection was dropped")

    desk.shop.before = lose
    with pytest.raises(Halt, match="nobody knows"):
        await desk.gateway.perform(lease, act(lease, tool=tool))
    await desk.end(lease, "stopped", "in_doubt")
    desk.shop.before = None
    return (await effects.ls(desk.database, lease.access, run=lease.run))[0]


async def look(desk: Desk) -> list[str]:
    """Look as a worker does, until nothing is due that other tests left in this database; returns the woken runs."""
    return [run for _ in range(4) for run in await doubts.look_again(desk.database, desk.catalog, desk.shop)]


async def state(desk: Desk, effect: EffectRow) -> str:
    return (await effects.show(desk.database, desk.access("alice"), effect.id)).state


async def be_due(superuser: Connect, effect: EffectRow, sent: str = "0 s") -> None:
    """Let the pause before the next look be over, and the last send so long ago."""
    async with superuser() as connection:
        await connection.execute(
            "update effects set look_at = null, sent = sent - %s::interval where id = %s", [sent, effect.id]
        )


async def test_what_the_world_shows_settles_a_doubt_and_the_run_goes_on_without_sending_again(desk: Desk) -> None:
    lease = await desk.run()
    effect = await fall_into_doubt(desk, lease)
    calls = desk.shop.calls
    desk.shop.effects.append(effect.key)
    assert lease.run in await look(desk)
    run = await records.get(desk.database, lease.access, lease.run)
    assert (await state(desk, effect), run.status, run.calls.reserved, run.calls.spent) == ("done", "queued", 0, 1)
    outcome = await desk.gateway.perform(await desk.lease(lease.run), act(lease))
    assert (outcome.state, desk.shop.calls) == ("done", calls)
    entries = [body for body in await desk.story(lease) if body["kind"] == "outcome"]
    assert [(body["state"], body["attempt"]["read_back"]) for body in entries] == [("in_doubt", False), ("done", True)]


async def test_a_card_bounds_how_often_a_doubt_is_looked_at(
    database: Database, people: Mapping[str, Principal], clock: VirtualClock, superuser: Connect
) -> None:
    """After that people find out; they are told what is known, and under which key the service knows it."""
    short = replace(TOOLS[0], name="shop.short", looks=1)
    desk = await open_desk(database, people, clock, tools=[short], policy=POLICY.replace("shop.plain", "shop.short", 1))
    effect = await fall_into_doubt(desk, await desk.run(), "shop.short")
    for looks in (1, 1):
        await be_due(superuser, effect)
        await look(desk)
        row = await effects.show(database, desk.access("alice"), effect.id)
        assert (row.state, row.looks, row.send_key) == ("in_doubt", looks, effect.key)


@pytest.mark.parametrize(
    ("tool", "sent", "result"),
    [("shop.slow", "2 min", "failed"), ("shop.slow", "10 s", "in_doubt"), ("shop.charge", "2 days", "in_doubt")],
    ids=["the service has settled", "it may still be at work", "nobody knows how long it takes"],
)
async def test_absence_is_a_proof_only_when_the_service_has_settled(
    desk: Desk, superuser: Connect, tool: str, sent: str, result: str
) -> None:
    lease = await desk.run()
    effect = await fall_into_doubt(desk, lease, tool)
    await be_due(superuser, effect, sent)
    is_woken = lease.run in await look(desk)
    assert (await state(desk, effect), is_woken) == (result, result == "failed")


async def test_looks_come_one_at_a_time_with_growing_pauses_and_end(desk: Desk, superuser: Connect) -> None:
    lease = await desk.run()
    effect = await fall_into_doubt(desk, lease)
    await asyncio.gather(*(look(desk) for _ in range(4)))
    pauses: list[int] = []
    row: Any = None
    for _ in range(30):
        await be_due(superuser, effect)
        await look(desk)
        async with superuser() as connection:
            query = "select looks, round(extract(epoch from look_at - now()))::int as pause from effects where id = %s"
            row = await (await connection.execute(query, [effect.id])).fetchone()
        pauses += [row["pause"]] if row["pause"] is not None else []
    assert row["looks"] == 16
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (4, 3600)


async def test_a_service_that_cannot_be_asked_leaves_the_doubt(desk: Desk) -> None:
    lease = await desk.run()
    effect = await fall_into_doubt(desk, lease, "shop.unkeyed")
    assert lease.run not in await look(desk)
    assert await state(desk, effect) == "in_doubt"


async def test_one_effect_that_cannot_be_looked_up_keeps_no_other_in_doubt(desk: Desk, superuser: Connect) -> None:
    """Its arguments are those of a tool that has changed since."""
    old, new = await desk.run(), await desk.run()
    lost = await fall_into_doubt(desk, old)
    async with superuser() as connection:
        await connection.execute("update effects set args = '{}', key = key || '-old' where id = %s", [lost.id])
    found = await fall_into_doubt(desk, new)
    desk.shop.effects.append(found.key)
    assert new.run in await look(desk)
    assert (await state(desk, lost), await state(desk, found)) == ("in_doubt", "done")


async def test_who_was_overtaken_by_a_person_settles_nothing(desk: Desk) -> None:
    """A person's word stands, whatever a look that began before it finds."""
    lease = await desk.run()
    effect = await fall_into_doubt(desk, lease)
    async with desk.database.transaction(desk.access("bob")) as connection:
        await effects.resolve(connection, effect.id, "failed", "they told me on the phone")
    body: dict[str, Any] = {"effect": effect.id, "looks": 0, "state": "done", "outcome": {}}
    async with desk.database.worker_transaction(lease.access) as connection:
        row = await (await connection.execute("select * from heal_doubt(%s)", [Jsonb(body)])).fetchone() or {}
    assert (row["code"], await state(desk, effect)) == ("overtaken", "failed")


async def test_a_run_is_not_woken_beside_another_of_its_thread(desk: Desk) -> None:
    lease = await desk.run()
    effect = await fall_into_doubt(desk, lease)
    async with desk.database.transaction(lease.access) as connection:
        budget = {"tokens": 9, "micros": 9, "calls": 9}
        await records.start(
            connection, id=f"{lease.run}-b", thread=lease.thread, input={}, correlation="c", budget=budget
        )
    desk.shop.effects.append(effect.key)
    assert lease.run not in await look(desk)
    assert (await state(desk, effect), (await records.get(desk.database, lease.access, lease.run)).status) == (
        "done",
        "stopped",
    )
