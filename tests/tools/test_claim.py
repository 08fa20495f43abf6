"""Claims: key, budget, approval, permit and intent in one commit, for one of many who try at once."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from memory.errors import Halt, LeaseLost
from memory.postgres.database import Database
from memory.postgres.roles import Urls
from memory.runs import run_story
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.support import Desk, act, open_desk
from tools import effects
from tools.action import Pin

pytestmark = pytest.mark.anyio


async def test_an_effect_is_proposed_and_permitted_before_it_happens(desk: Desk) -> None:
    """R9"""
    lease = await desk.run()
    kinds: list[str] = []

    async def look() -> None:
        kinds.extend(await desk.kinds(lease))

    desk.shop.before = look
    outcome = await desk.gateway.perform(lease, act(lease))
    assert (outcome.state, outcome.result) == ("done", {"paid": "shop:a"})
    assert kinds == ["requested", "proposed", "permitted"]
    assert await desk.kinds(lease) == [*kinds, "outcome"]


async def test_a_verdict_overrides_no_fact_of_its_claim(desk: Desk) -> None:
    lease = await desk.run()
    admission, decision = desk.judge(act(lease))
    body: Any = effects.request(lease, admission, decision)
    names = ("effect", "approval", "natural_key", "generation", "event", "supersedes", "check", "at", "rows")
    body["judged"] |= dict.fromkeys(("kind", "key", *names), "forged")
    claim = await effects.claim(desk.database, lease, body)
    entry = (await desk.story(lease))[-1]
    facts = {"effect": claim.effect, "approval": None, "natural_key": "shop:a", "generation": 0, "event": 0}
    assert (entry["kind"], entry["key"]) == ("permitted", f"permitted:{claim.effect}")
    assert {name: entry[name] for name in names if name in entry and name != "at"} == facts


async def test_a_natural_key_is_recorded_where_it_can_be_forgotten(desk: Desk) -> None:
    """It may name a person."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease))
    entries = (await run_story.show(desk.database, lease.access, lease.run)).entries
    (entry,) = [entry for entry in entries if entry.kind == "permitted"]
    assert ("shop:a" in entry.text, "shop:a" in str(entry.words)) == (False, True)


async def test_twenty_performs_at_once_make_one_effect(desk: Desk) -> None:
    """R18"""
    lease = await desk.run()
    outcomes = await asyncio.gather(*(desk.gateway.perform(lease, act(lease)) for _ in range(20)))
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert (desk.shop.effects, desk.shop.calls) == (["shop:a"], 1)
    assert await desk.count("effects") == 1


async def test_a_performed_step_answers_again_what_was_recorded(desk: Desk) -> None:
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease))
    again = await desk.gateway.perform(lease, act(lease))
    assert (again.state, again.result, again.effect, desk.shop.calls) == ("done", first.result, first.effect, 1)


async def test_natural_key_of_another_run_is_skipped_with_the_recorded_result(desk: Desk) -> None:
    """R70"""
    first_lease, second_lease = await desk.run(), await desk.run()
    first = await desk.gateway.perform(first_lease, act(first_lease))
    second = await desk.gateway.perform(second_lease, act(second_lease))
    assert (second.state, second.result, second.effect) == ("skipped", first.result, first.effect)
    assert ((await desk.kinds(second_lease))[-1], desk.shop.calls) == ("skipped", 1)


async def test_two_runs_at_once_on_one_key_make_one_effect(desk: Desk) -> None:
    leases = [await desk.run() for _ in range(8)]
    outcomes = await asyncio.gather(*(desk.gateway.perform(lease, act(lease)) for lease in leases))
    assert sorted(outcome.state for outcome in outcomes) == ["done", *["skipped"] * 7]
    assert desk.shop.effects == ["shop:a"]


async def test_without_natural_key_two_requests_are_two_events(desk: Desk) -> None:
    for lease in (await desk.run(), await desk.run()):
        await desk.gateway.perform(lease, act(lease, tool="shop.plain"))
        await desk.gateway.perform(lease, act(lease, tool="shop.plain"))
    assert len(desk.shop.effects) == 2


async def test_a_key_with_other_arguments_is_refused(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease, amount=10))
    outcome = await desk.gateway.perform(lease, act(lease, amount=11))
    assert (outcome.state, outcome.code, desk.shop.calls) == ("denied", "key_reused", 1)


async def test_a_failed_step_answers_its_failure_again_to_a_successor(desk: Desk) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease, tool="shop.fail"))
    again = await desk.gateway.perform(await desk.retake(lease), act(lease, tool="shop.fail"))
    assert (again.state, again.code, again.message, desk.shop.calls) == ("failed", "tool_failed", "account_closed", 1)


async def test_what_failed_may_be_tried_by_another_plan_as_the_next_generation(desk: Desk) -> None:
    """Under the same key towards the service, whose own protection goes on working."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease, tool="shop.fail"))
    outcome = await desk.gateway.perform(lease, act(lease, tool="shop.charge", plan_hash="plan-2"))
    row = await effects.show(desk.database, lease.access, str(outcome.effect))
    assert (outcome.state, row.generation, desk.shop.effects) == ("done", 1, ["shop:a"])


async def test_what_was_compensated_may_happen_again(desk: Desk) -> None:
    lease = await desk.run()
    first = await desk.gateway.perform(lease, act(lease))
    await desk.gateway.perform(lease, act(lease, tool="shop.undo", step="u", compensates=first.effect))
    assert (await effects.show(desk.database, lease.access, str(first.effect))).state == "compensated"
    other = await desk.run()
    assert (await desk.gateway.perform(other, act(other))).state == "done"
    assert desk.shop.effects == ["shop:a", "undo:a", "shop:a#1"]


async def test_only_effects_of_the_same_run_are_compensated(desk: Desk) -> None:
    first_lease, second_lease = await desk.run(), await desk.run()
    first = await desk.gateway.perform(first_lease, act(first_lease))
    await desk.gateway.perform(second_lease, act(second_lease, tool="shop.undo", compensates=first.effect))
    assert (await effects.show(desk.database, first_lease.access, str(first.effect))).state == "done"


@pytest.mark.parametrize("claim", [{"user": "bob"}, {"run": "r-other"}])
async def test_an_action_speaks_for_the_run_and_person_that_is_led(desk: Desk, claim: dict[str, Any]) -> None:
    """R28"""
    lease = await desk.run()
    action = act(lease, user=claim.get("user", "alice"))
    object.__setattr__(action, "run", claim.get("run", lease.run))
    outcome = await desk.gateway.perform(lease, action)
    assert (outcome.code, desk.shop.calls, await desk.count("effects")) == ("forged_authority", 0, 0)


async def test_ten_parallel_claims_cannot_overspend_a_budget(desk: Desk) -> None:
    """R81 R88"""
    lease = await desk.run(calls=10)
    halts = await asyncio.gather(
        *(desk.gateway.perform(lease, act(lease, str(n))) for n in range(15)), return_exceptions=True
    )
    codes = sorted(error.code for error in halts if isinstance(error, Halt))
    assert (codes, desk.shop.calls) == (["budget_exceeded"] * 5, 10)


async def test_the_hard_stop_comes_before_the_call(desk: Desk) -> None:
    """R81"""
    lease = await desk.run(calls=1)
    await desk.gateway.perform(lease, act(lease, "a"))
    with pytest.raises(Halt, match="budget_exceeded"):
        await desk.gateway.perform(lease, act(lease, "b"))
    assert (desk.shop.calls, await desk.count("effects")) == (1, 1)


async def test_a_denied_call_costs_neither_budget_nor_approval(desk: Desk) -> None:
    """R24 R50"""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, amount=13))
    denial = (await desk.story(lease))[-1]
    run = await _run(desk, lease.run)
    assert (outcome.code, denial["kind"], denial["rules"]) == ("policy_denied", "denied", ["never"])
    assert (run["spent_calls"], run["reserved_calls"], await desk.count("approvals")) == (0, 0, 0)


async def test_the_same_call_under_ever_new_plans_gets_nowhere(desk: Desk) -> None:
    """R21"""
    lease = await desk.run()
    for n in range(effects.REPEATS):
        await desk.gateway.perform(lease, act(lease, tool="shop.fail", plan_hash=f"plan-{n}"))
    with pytest.raises(Halt, match="no_progress"):
        await desk.gateway.perform(lease, act(lease, tool="shop.fail", plan_hash="plan-x"))
    assert desk.shop.calls == effects.REPEATS


async def test_a_gateway_with_another_policy_folder_is_stopped(desk: Desk) -> None:
    """R51"""
    lease = await desk.run()
    await desk.activate("f" * 64)
    with pytest.raises(Halt, match="stale_policy"):
        await desk.gateway.perform(lease, act(lease))
    assert desk.shop.calls == 0


async def test_without_any_policy_in_force_nothing_happens(desk: Desk, owner: Any) -> None:
    """R32 R126"""
    lease = await desk.run()
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [lease.access.principal.tenant])
        await owner.execute("delete from authority")
    with pytest.raises(Halt, match="stale_policy"):
        await desk.gateway.perform(lease, act(lease))
    assert desk.shop.calls == 0


async def test_knowledge_that_moved_on_is_told_before_anything_happens(desk: Desk) -> None:
    """R77"""
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease, pins=(Pin("no-such-runbook", 1),)))
    assert (outcome.state, outcome.code, desk.shop.calls) == ("denied", "stale_knowledge", 0)


async def test_a_zombie_neither_claims_nor_reads(desk: Desk) -> None:
    lease = await desk.run()
    await desk.retake(lease)
    for tool in ("shop.charge", "shop.peek"):
        with pytest.raises(LeaseLost):
            await desk.gateway.perform(lease, act(lease, tool=tool))
    assert (desk.shop.calls, await desk.count("effects")) == (0, 0)


@pytest.fixture
def mute(clone: Callable[[str], Urls], worker_id: str) -> Urls:
    """Return a database of its own, whose journal may be broken."""
    return clone(f"mute_{worker_id}")


async def test_a_journal_that_cannot_be_written_means_no_effect(
    mute: Urls, tenant: str, clock: VirtualClock, people: dict[str, Principal]
) -> None:
    """R126"""
    database = await Database.open(mute.app, size=2, worker_url=mute.worker)
    async with await psycopg.AsyncConnection.connect(mute.superuser, autocommit=True) as connection:
        await connection.execute("insert into tenants values (%s)", [tenant])
        await connection.execute("insert into principals (tenant, id) values (%s, 'alice'), (%s, 'bob')", [tenant] * 2)
        desk = await open_desk(database, people, clock)
        lease = await desk.run()
        await connection.execute("alter table journal add check (seq < 2) not valid")
        for _ in range(2):
            with pytest.raises(psycopg.Error):
                await desk.gateway.perform(lease, act(lease))
    assert (desk.shop.calls, await desk.count("effects")) == (0, 0)
    await database.close()


async def _run(desk: Desk, run: str) -> dict[str, Any]:
    async with desk.database.transaction(desk.access("alice")) as connection:
        return await (await connection.execute("select * from runs where id = %s", [run])).fetchone() or {}
