"""The executor: bundles, batches, edits, stale knowledge, and how small the state stays."""

import pytest

from memory.scope import Access
from tests.fakes.shop import Shop
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, close, pay, pay_all, plan, read

pytestmark = pytest.mark.anyio


async def size(stage: Stage, thread: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    async with stage.database.transaction(stage.access) as connection:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            cursor = await connection.execute(
                f"select coalesce(sum(pg_column_size(t.*)), 0)::int as bytes from {table} t "
                "where thread_id = %s".encode(),
                [thread],
            )
            sizes[table] = (await cursor.fetchone() or {})["bytes"]
    return sizes


async def test_a_run_of_a_hundred_batches_keeps_less_than_200_kb_of_checkpoints(stages: Stages) -> None:
    stage = stages(shop=Shop(orders=1000), policy=POLICY + HOLD.replace("1", "2"))
    steps = [
        close("job"),
        read(),
        {**read("groups"), "tool": "shop.list"},
        pay_all(size=10, gate="money"),
        read("check", "shop.count", expect="result.paid == 1000", audit=True),
        *(pay(f"late{n}", when="steps.orders.count < 0") for n in range(5)),
        read("last", "shop.count"),
    ]
    row = await stage.run(plan(*steps))
    await stage.decide(row.id, "bob")
    assert (await stage.decide(row.id, "carol")).wakes_run
    await stage.driver().drive(row.id)
    sizes = await size(stage, row.thread)
    assert ((await stage.row(row.id)).status, len(stage.shop.payments)) == ("done", 1000)
    assert sum(sizes.values()) < 200_000, sizes


async def test_edited_arguments_are_asked_about_again_and_then_performed(stages: Stages) -> None:
    """R45: an edit is a new question."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a", amount=100)))
    vote = await stage.decide(row.id, decision="edit", new_arguments={"order": "a", "amount": 40})
    assert (vote.code, vote.status) == ("ok", "edited")
    await stage.driver().drive(row.id)
    assert (await stage.open_approval(row.id)).approval.exposure == 40
    await stage.decide(row.id, "carol")
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, stage.shop.payments) == ("done", {"a": 40})


async def test_a_question_is_put_together_again_by_a_successor_without_asking_twice(stages: Stages) -> None:
    """R79: the sum that people saw stays, whoever leads the run."""
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(read(), pay_all(size=5)))
    await stage.decide(row.id)
    stage.shop.failures = {"o_00012"}
    lease = await stage.lease(row.id, number=99)
    await stage.requeue(lease.run)
    stage.shop.failures = set()
    await stage.driver(number=2).drive(row.id)
    assert ((await stage.row(row.id)).status, len(stage.shop.payments)) == ("done", 25)
    assert len(await stage.bodies(row.id, "held")) == 1


async def test_the_question_shows_why_and_the_way_back(stages: Stages) -> None:
    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(read(), pay("a"), backout="call the bank"))
    question = (await stage.open_approval(row.id)).approval.question
    assert (question["goal"], question["plan_backout"], question["evidence"]["orders"]["count"]) == (
        "a test",
        "call the bank",
        25,
    )
    assert question["backout"] == {"pay_a": "ask the payee of a to pay it back"}


async def test_a_cancelled_run_stops_before_its_next_call(stages: Stages) -> None:
    from memory.runs import records

    stage = stages(policy=POLICY + HOLD)
    row = await stage.run(plan(pay("a")))
    await stage.decide(row.id)
    async with stage.database.transaction(stage.access) as connection:
        await records.cancel(connection, row.id, "enough")
    await stage.driver().drive(row.id)
    assert ((await stage.row(row.id)).status, stage.shop.calls) == ("cancelled", [])


async def test_a_stop_switch_stops_the_run_and_resuming_ends_it_right(stages: Stages) -> None:
    from memory.runs import records
    from tools import kills

    stage = stages()
    run = await stage.start(plan=plan(pay("a")))
    bob = Access.of(stage.people["bob"])
    await kills.kill(stage.database, bob, "all")
    await stage.driver().drive(run)
    assert ((await stage.row(run)).reason, stage.shop.calls) == ("killed", [])
    await kills.unkill(stage.database, bob, "all")
    async with stage.database.transaction(bob) as connection:
        await records.resume(connection, run)
    await stage.driver().drive(run)
    assert ((await stage.row(run)).status, stage.shop.payments) == ("done", {"a": 100})
