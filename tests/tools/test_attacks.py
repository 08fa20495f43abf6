"""Attacks on the gateway: each ends without the effect that it is after."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from memory.runs import records
from tests.conftest import Connection
from tests.fakes.model import script_model
from tests.tools.support import Desk, Item, act
from tools import effects
from tools.model import Model, PromptMessage
from tools.token_budget import TokenMeter

pytestmark = pytest.mark.anyio


async def test_a_tool_that_undoes_nothing_cannot_free_a_natural_key(desk: Desk) -> None:
    """R70 R74: else a harmless step named as compensation would let the same charge happen a second time."""
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease))
    tell = act(lease, tool="shop.plain", step="u", compensates=first.effect)
    outcome = await desk.gateway.perform(lease, tell)
    assert (outcome.state, outcome.code) == ("denied", "invalid_arguments")
    again = await desk.gateway.perform(lease, act(lease, step="again"))
    assert again.state == "skipped"
    assert len(desk.shop.effects) == 1


async def test_taking_back_something_else_does_not_free_a_natural_key(desk: Desk) -> None:
    """R74"""
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease))
    other = act(lease, "b", tool="shop.undo", step="u", compensates=first.effect)
    outcome = await desk.gateway.perform(lease, other)
    assert outcome.state == "denied"
    assert (await effects.show(desk.database, lease.access, str(first.effect))).state == "done"


async def test_people_see_what_every_step_of_a_question_would_do(desk: Desk) -> None:
    """R39: a second action cannot ride unseen on an approval that shows the first."""
    lease = await desk.run()
    small, large = (act(lease, item, tool="shop.refund", amount=n) for item, n in (("a", 1), ("b", 900)))
    outcome = await desk.gateway.perform(lease, small, [replace(large, step="s-b")])
    async with desk.database.transaction(desk.access("bob")) as connection:
        row = await (
            await connection.execute("select shown from approvals where id = %s", [outcome.approval])
        ).fetchone()
    steps = (row or {})["shown"]["each"]
    assert [(step["step"], step["args"]) for step in steps] == [
        ("s-a", {"id": "a", "amount": 1}),
        ("s-b", {"id": "b", "amount": 900}),
    ]


@pytest.mark.parametrize("rights", [([], 50_000), (["finance"], 5)])
async def test_a_vote_counts_only_while_its_voter_could_still_cast_it(
    desk: Desk, owner: Connection, rights: tuple[list[str], int]
) -> None:
    """R25 R39: who left the group or lost the limit between vote and claim has not agreed any more."""
    lease = await desk.run()
    refund = act(lease, tool="shop.refund")
    approval = await desk.ask(lease, refund)
    assert (await desk.decide(approval, "bob")).status == "approved"
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        await owner.execute("select put_principal('bob', %s, %s, 0)", rights)
    assert await desk.ask(lease, refund) != approval
    assert desk.shop.effects == []


@pytest.mark.parametrize("id", ["a\0b", "a\\u0000b", "a\ud800b", "a\\ud800b"])
async def test_what_a_model_says_is_booked_and_kept_whatever_it_holds(desk: Desk, id: str) -> None:
    """R10 R81: else a strange answer would end the run and its tokens would stay set aside."""
    lease = await desk.run(tokens=100_000)
    model = Model(script_model(f'{{"id": "{id}"}}'), TokenMeter(desk.database))
    await model.ask(lease, "planner", [PromptMessage("user", "which?")], Item)
    row = await records.get(desk.database, lease.access, lease.run)
    assert (row.tokens.reserved, row.tokens.spent > 0) == (0, True)


@asynccontextmanager
async def unwritable(owner: Connection, tenant: str) -> AsyncGenerator[None]:
    """Let nothing be journaled for a tenant."""
    name = sql.Identifier(f"stop_{tenant}")
    refusing = sql.SQL(
        "create trigger {} before insert on journal for each row when (new.tenant = {}) "
        "execute function journal_is_append_only()"
    ).format(name, sql.Literal(tenant))
    await owner.execute(refusing)
    try:
        yield
    finally:
        await owner.execute(sql.SQL("drop trigger {} on journal").format(name))


async def test_nothing_happens_that_cannot_be_journaled(desk: Desk, owner: Connection, tenant: str) -> None:
    """R9: the intent comes before the call, in the same commit as the permit."""
    lease = await desk.run()
    async with unwritable(owner, tenant):
        with pytest.raises(psycopg.Error):
            await desk.gateway.perform(lease, act(lease))
    assert (desk.shop.calls, await desk.count("effects")) == (0, 0)
    assert (await desk.gateway.perform(lease, act(lease))).state == "done"


async def test_an_outcome_that_cannot_be_journaled_is_found_again(desk: Desk, owner: Connection, tenant: str) -> None:
    """R70 R71: the effect stays claimed until a successor reads back what became of it."""
    lease = await desk.run()
    async with AsyncExitStack() as stack:

        async def break_journal() -> None:
            await stack.enter_async_context(unwritable(owner, tenant))

        desk.shop.before = break_journal
        with pytest.raises(psycopg.Error):
            await desk.gateway.perform(lease, act(lease))
    desk.shop.before = None
    successor = await desk.retake(lease)
    outcome = await desk.gateway.perform(successor, act(successor))
    assert (outcome.state, desk.shop.effects) == ("done", ["shop:a"])
