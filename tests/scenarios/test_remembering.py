"""Memory in a planner's prompt: small, quoted, counted only when cited, and of earlier runs the outcome alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

import pytest

from app.api import views
from memory.runs import outcomes
from memory.scope import Access, Principal
from memory.store import context, search, write
from memory.store.models import Memory, Note, Provenance
from tests.fakes.openai_endpoint import Endpoint, endpoint
from tests.scenarios.test_models import draft
from tests.scenarios.town import Town, Towns
from tools import explanations

pytestmark = pytest.mark.slow
TownsWithModel = Callable[[Endpoint], AbstractAsyncContextManager[Town]]
REFUND = draft("billing.single-refund")


def using(*marks: str) -> str:
    """Return the obedient answer of a model that says what it relied on."""
    return json.dumps({**json.loads(REFUND), "uses": marks})


def document(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the material of one request to the model."""
    return json.loads(request["messages"][1]["content"])


async def refunds(town: Town, number: int = 0) -> str:
    """Let one more charge be refunded; returns the run once it ended."""
    charge = (await town.charges("clean_duplicate"))[number]
    run = await town.ask(f"please refund charge {charge} to the customer")
    row = await town.until_rest(run, approving=True)
    assert row.status == "done", row
    return run


async def memories(town: Town) -> Sequence[Memory]:
    return await search.ls(town.system.database, town.access)


async def note(town: Town, *texts: str, trust: Any = "human") -> None:
    async with town.system.database.transaction(town.access) as connection:
        for text in texts:
            await write.add(connection, town.access, Note(text, trust, Provenance()))


@pytest.fixture
def towns_with_model(towns: Towns, monkeypatch: pytest.MonkeyPatch) -> TownsWithModel:
    """Return a factory of towns that plan with the model at an endpoint."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def town(playing: Endpoint) -> AbstractAsyncContextManager[Town]:
        return towns(model="openai:scripted", model_base_url=playing.url)

    return town


async def test_a_thousand_facts_add_no_more_to_a_prompt_than_the_ceiling(towns_with_model: TownsWithModel) -> None:
    """R100: measured on what went over the wire."""
    with endpoint([REFUND, REFUND]) as playing:
        async with towns_with_model(playing) as town, town.worker():
            await refunds(town, 0)
            facts = [f"charge office {n} refunds customer group {n * 7} through account {n * 13}" for n in range(1000)]
            await note(town, *facts)
            await refunds(town, 1)
    before, after = (document(request) for request in playing.requests)
    assert (before["memory"], len(after["memory"]) > 5) == ([], True)
    assert sum(context.tokens(line) for line in after["memory"]) <= context.TOKEN_LIMIT
    growth = len(playing.requests[1]["messages"][1]["content"]) - len(playing.requests[0]["messages"][1]["content"])
    assert growth < 5 * context.TOKEN_LIMIT


async def test_a_second_run_sees_the_first_as_a_line_with_its_id_and_no_transcript(
    towns_with_model: TownsWithModel,
) -> None:
    """R97 R98"""
    with endpoint([REFUND, REFUND]) as playing:
        async with towns_with_model(playing) as town, town.worker():
            first = await refunds(town, 0)
            await refunds(town, 1)
    outcome, summary = [line for line in document(playing.requests[1])["memory"] if first in line]
    assert (outcome.startswith("- [m1 tool"), "billing.single-refund done" in outcome) == (True, True)
    assert "asked 'please refund charge" in summary
    assert max(context.tokens(outcome), context.tokens(summary)) <= 150
    assert "checkpoint" not in outcome + summary


async def test_only_what_a_plan_rests_on_counts_as_used(towns_with_model: TownsWithModel) -> None:
    """R94: a search alone is no use, and a mark that was not shown names nothing."""
    with endpoint([using("m1", "m1", "m77", "billing")]) as playing:
        async with towns_with_model(playing) as town, town.worker():
            await note(
                town, "refund every customer of group nine by letter", "customers of a refund like a charge note"
            )
            run = await refunds(town)
            (recall,) = await town.bodies(run, "recalled")
            (effect,) = [body["effect"] for body in await town.bodies(run, "outcome")]
            chain = await explanations.explain(town.system.database, town.access, effect)
            view = views.run_view(await town.row(run), await town.entries(run))
            uses = {memory.id: memory.uses for memory in await memories(town) if memory.trust == "human"}
    assert (len(recall["shown"]), recall["cited"], recall["role"]) == (2, recall["shown"][:1], "planner")
    assert uses == {recall["shown"][0]: 1, recall["shown"][1]: 0}
    assert asdict(chain.memory) == view["memory"] == {name: recall[name] for name in ("shown", "cited")}
    assert "letter" not in json.dumps(recall)


async def test_a_run_that_plans_twice_counts_a_memory_once(towns_with_model: TownsWithModel) -> None:
    """R94"""
    with endpoint([using("m1"), using("m1")]) as playing:
        async with towns_with_model(playing) as town:
            await note(town, "customers of a refund like a charge note")
            charge = (await town.charges("clean_duplicate"))[0]
            async with town.worker():
                run = await town.ask(f"please refund charge {charge} to the customer")
                await town.until_question(run, "refund")
                await town.publish({"# One refund": "# A single refund"}, "billing.single-refund")
                await town.until_end(run)
            (memory,) = [memory for memory in await memories(town) if memory.trust == "human"]
            recalls = await town.bodies(run, "recalled")
    assert (memory.uses, [body["cited"] for body in recalls]) == (1, [[memory.id], [memory.id]])


async def test_without_a_model_people_are_told_how_the_last_run_ended(towns: Towns) -> None:
    """R98: found by the runbook, told with its id; it changes nothing about the plan."""
    async with towns() as town, town.worker():
        first = await refunds(town, 0)
        second = await refunds(town, 1)
        (outcome,) = [memory for memory in await memories(town) if memory.key == f"run:{first}"]
        (recall,) = await town.bodies(second, "recalled")
        notes = [body["note"] for body in await town.bodies(second, "planned")]
        plans = [((await town.row(run)).plan or {})["steps"] for run in (first, second)]
    assert (recall["cited"], outcome.uses) == ([outcome.id], 1)
    assert notes[-1].endswith(f"; last time: {outcome.body.partition(';')[0]}")
    assert first in notes[-1]
    assert plans[0] == plans[1]


async def test_a_colleagues_words_are_in_nobody_elses_prompt(towns_with_model: TownsWithModel) -> None:
    """R92 R97: bob's run learns that alice's ended, and not what she asked."""
    with endpoint([REFUND, REFUND]) as playing:
        async with towns_with_model(playing) as town, town.worker():
            await note(town, "alice keeps the refund letters of customer Nordwind")
            first = await refunds(town, 0)
            charge = (await town.charges("clean_duplicate"))[1]
            second = await town.ask(f"refund charge {charge} to customer Nordwind", person="bob")
            await town.until_question(second, "refund")
    prompt = "\n".join(document(playing.requests[1])["memory"])
    assert (first in prompt, "asked" in prompt, "letters" in prompt) == (True, False, False)


async def test_an_ended_run_leaves_outcome_and_summary_and_no_task_memory(towns: Towns) -> None:
    """R91 R97 R98: each figure is that of the journal."""
    async with towns() as town, town.worker():
        run = await refunds(town)
        database = town.system.database
        by_scope = {str(memory.scope): memory for memory in await memories(town)}
        steps = await outcomes.steps(database, town.access, run)
        elsewhere = Access.of(Principal("another-tenant", "alice"))
        assert await outcomes.steps(database, elsewhere, run) == []
        outcome = (await town.bodies(run, "outcome"))[-1]
        async with database.transaction(town.access) as connection:
            cursor = await connection.execute("select count(*) as n from memories where scope_kind = 'run'")
            task_memories = (await cursor.fetchone() or {})["n"]
    assert task_memories == 0
    assert by_scope["agent:shared"].provenance.facts["pointers"] == [outcome["effect"]]
    assert run in by_scope["user:alice"].body
    plan_steps = [step for step in steps if not step.step.startswith("probe")]
    assert [(step.step, step.status) for step in plan_steps] == [
        ("before", "done"),
        ("refund", "done"),
        ("after", "done"),
    ]
    refund = plan_steps[1]
    assert (refund.tool, refund.pointers) == ("billing.refund", (outcome["effect"],))
    assert (refund.duration, refund.cost) == (outcome["cost"]["millis"], {"calls": 1, "tokens": 0, "micros": 0})
