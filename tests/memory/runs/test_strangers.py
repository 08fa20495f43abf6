"""Fences and threads of others: who knows them, and they are no secrets, still acts in no run but their own."""

import json
from collections.abc import Mapping

import psycopg
import pytest

from memory.errors import Permanent
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.support import Desk, act, open_desk

pytestmark = pytest.mark.anyio
BODY = json.dumps(
    {"thread": "{thread}", "ns": "", "id": "c", "checkpoint": {}, "metadata": {}, "blobs": [], "writes": []}
)
CALLS = {
    "save_checkpoint": "select code from save_checkpoint(%(run)s, %(fence)s, %(save)s, '')",
    "unload": "select code from unload(%(run)s, %(fence)s, %(items)s, '')",
    "adopt_plan": "select code from adopt_plan(%(run)s, %(fence)s, %(plan)s)",
    "finish_run": "select code from finish_run(%(run)s, %(fence)s, 'done', null, '', '{}')",
    "end_run": "select code from end_run(%(run)s, %(fence)s, '{\"status\": \"done\"}', '{\"notes\": []}', '{}')",
    "park_run": "select code from park_run(%(run)s, %(fence)s, 'clarify', 0)",
    "append": 'select code from append(%(run)s, %(fence)s, \'{"kind": "note"}\')',
    "append without a fence": 'select code from append(%(run)s, null, \'{"kind": "note"}\')',
    "note_origin": "select code from note_origin(%(run)s, %(fence)s, 'x')",
    "hold": "select code from hold(%(action)s)",
    "begin_read": "select code from begin_read(%(action)s)",
    "end_read": "select code from end_read(%(action)s)",
    "claim": "select code from claim(%(action)s)",
    "register_send": "select code from register_send(%(effect)s)",
    "spend_tokens": "select code from spend_tokens(%(action)s)",
    "settle": "select code from settle(%(effect)s)",
    "reserve_tokens": "select code from reserve_tokens(%(action)s)",
    "open_audit": "select code from open_audit(%(action)s)",
    "put_run_back": "select coalesce(put_run_back(%(run)s, %(fence)s)::text, '') as code",
}
REFUSALS = {"lease_lost", "not_found", "cancelled", ""}


@pytest.fixture
async def desk(database: Database, people: Mapping[str, Principal], clock: VirtualClock) -> Desk:
    return await open_desk(database, people, clock)


async def values_of(desk: Desk, lease: Lease) -> dict[str, object]:
    """Return what a colleague can know of a run that is led, with an effect of it that is claimed."""
    await desk.gateway.perform(lease, act(lease, "a"))
    (effect,) = await desk.database.rows(lease.access, "select id from effects where run = %s", lease.run)
    policy = (await desk.database.rows(lease.access, "select policy from authority"))[0]["policy"]
    action = {
        **{"run": lease.run, "fence": lease.fence, "policy": policy, "pins": [], "role": "executor", "need": 1},
        **{"tool": "shop.charge", "step": "s", "key": "k", "body": {"key": "x"}, "tokens": 1, "digest": "d"},
        **{"groups": ["ops"], "shown": {}, "repeats": 9, "call": "c", "args": {}, "args_hash": "h", "used": 1},
        "cost": {"tokens": 0, "micros": 0, "calls": 1},
    }
    effect_body: dict[str, object] = {
        "effect": effect["id"],
        "fence": lease.fence,
        "permit": "",
        "state": "in_doubt",
        "outcome": {},
    }
    documents = {
        "save": BODY.replace("{thread}", lease.thread),
        "items": json.dumps({"items": [{"entry": {"kind": "note"}}]}),
        "plan": json.dumps({"hash": "h", "plan": {}, "tokens": 1, "micros": 1, "calls": 1}),
        "action": json.dumps(action),
        "effect": json.dumps(effect_body),
    }
    return {"run": lease.run, "fence": lease.fence, **documents}


@pytest.mark.parametrize("call", CALLS)
async def test_nobody_acts_in_a_run_of_another_by_its_fence(desk: Desk, call: str) -> None:
    """Nothing of it changes, and no rows are asked out of it."""
    lease = await desk.run()
    values = await values_of(desk, lease)
    before = await desk.story(lease)
    async with desk.database.transaction(desk.access("dave")) as connection:
        row = await (await connection.execute(CALLS[call].encode(), values)).fetchone() or {}
    assert row["code"] in REFUSALS, row
    (run,) = await desk.database.rows(lease.access, "select status, fence from runs where id = %s", lease.run)
    assert (run["status"], run["fence"], await desk.story(lease)) == ("running", lease.fence, before)


async def test_nobody_begins_a_run_in_the_thread_of_another(desk: Desk) -> None:
    """What is in a thread is its person's, and goes on with it."""
    lease = await desk.run()
    async with desk.database.transaction(lease.access) as connection:
        await connection.execute("select finish_run(%s, %s, 'done', null, '', '{}')", [lease.run, lease.fence])
    budget = {"tokens": 1, "micros": 1, "calls": 1}
    with pytest.raises((psycopg.errors.InsufficientPrivilege, Permanent)):
        async with desk.database.transaction(desk.access("dave")) as connection:
            await records.start(connection, id="x", thread=lease.thread, input={}, correlation="x", budget=budget)
