"""The planner: facts choose, words only suggest, and nothing it returns can act."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from graphs.draft import make_drafter
from graphs.nodes.planner import make_planner
from graphs.plan import Plan
from memory.errors import Permanent
from tests.fakes.model import CountingMeter, ScriptedModel, called, played
from tests.graphs.cards import CARDS
from tests.graphs.texts import DOUBLE, REFUND, TABLE
from tests.tools.test_model import LEASE
from tools.action import Json
from tools.model import Model

SLICE: dict[str, Json] = {"handle": "h_secret00", "start": 0, "count": 3, "digest": "0" * 64, "total": 30}
TWICE: dict[str, Json] = {"count": 3, "sum": 30, "found": SLICE, "first": "ch_1a2b3c4d5e6f", "names": ["Ann Lee"]}
NONE: dict[str, Json] = {"count": 0, "sum": 0, "found": SLICE | {"count": 0}}
pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Item:
    id: str
    version: int
    body: str
    score: float = 0.0


@dataclass
class Shelf:
    """Knowledge with fixed likenesses, newest version of each text."""

    scores: Mapping[str, float]
    texts: dict[str, Item] = field(default_factory=dict[str, Item])

    async def find(self, text: str) -> Sequence[Item]:
        found = [Item(id, item.version, item.body, self.scores.get(id, 0)) for id, item in self.texts.items()]
        return sorted(found, key=lambda item: -item.score)

    async def current(self, id: str) -> Item:
        if id not in self.texts:
            raise Permanent("not_found", f"nothing is known as {id!r}")
        return self.texts[id]

    def put(self, id: str, version: int, text: str) -> None:
        self.texts[id] = Item(id, version, text)


def shelf(double: float = 0.6, refund: float = 0.0, table: float = 0.0) -> Shelf:
    made = Shelf({"shop.double-charge": double, "shop.single-refund": refund, "db.table-full": table})
    made.put("shop.double-charge", 1, DOUBLE)
    made.put("shop.single-refund", 4, REFUND)
    made.put("db.table-full", 2, TABLE)
    return made


async def turn(books: Shelf, state: dict[str, Any], model: ScriptedModel | None = None) -> dict[str, Any]:
    """Let the planner answer, and return the state after it."""
    ask = partial(Model(model, CountingMeter()).ask, LEASE, "planner") if model else None
    draft = make_drafter(ask, CARDS) if ask else None
    return state | await make_planner(books.find, books.current, CARDS, draft=draft)(state)


async def seen(books: Shelf, request: str, results: Sequence[Mapping[str, Json]], **more: Any) -> dict[str, Any]:
    """Return the state after the investigation, with what its probes saw."""
    state = await turn(books, {"request": request, "inputs": {}, **more})
    steps = Plan.model_validate(state["plan"]).steps
    return state | {"results": {step.id: result for step, result in zip(steps, results, strict=True)}}


async def test_the_first_plan_only_looks() -> None:
    """R5"""
    state = await turn(shelf(), {"request": "billed twice"})
    plan = Plan.model_validate(state["plan"])
    assert plan.kind == "investigation"
    assert [(step.tool, step.effect) for step in plan.steps] == [("charges.duplicates", "read")]
    assert [(cited.id, cited.version) for cited in plan.cites] == [("shop.double-charge", 1)]


async def test_a_true_probe_leads_to_the_repair_with_its_inputs_and_pins() -> None:
    """R2 R15"""
    books = shelf()
    state = await turn(books, await seen(books, "billed twice", [TWICE]))
    plan = Plan.model_validate(state["plan"])
    assert (plan.id, plan.kind, plan.source) == ("shop.double-charge", "repair", "runbook")
    assert plan.inputs == {"job": "invoice-retry", "canary": 10, "rows": 3}
    assert [(cited.id, cited.version) for cited in plan.cites] == [("shop.double-charge", 1)]


async def test_the_same_request_and_facts_give_the_same_plans() -> None:
    """R16"""
    books = shelf(refund=0.4)
    first, second = [await turn(books, await seen(books, "billed twice", [TWICE])) for _ in "ab"]
    assert Plan.model_validate(first["plan"]).hash == Plan.model_validate(second["plan"]).hash


async def test_a_false_probe_means_that_nothing_is_wrong() -> None:
    books = shelf()
    state = await turn(books, await seen(books, "billed twice", [NONE]))
    assert (state["plan"], state["verdict"]) == (None, "nothing_wrong")
    assert "nothing was changed" in state["note"]


async def test_words_that_match_nothing_lead_to_a_question() -> None:
    state = await turn(shelf(0.1), {"request": "good morning"})
    assert state["plan"] is None
    assert "no runbook" in state["clarify"]["question"]


async def test_facts_choose_between_equals() -> None:
    books = shelf(0.5, table=0.48)
    state = await turn(books, await seen(books, "too many rows", [NONE, {"count": 95}]))
    assert Plan.model_validate(state["plan"]).id == "db.table-full"


async def test_several_true_probes_lead_to_a_question_that_a_number_answers() -> None:
    books = shelf(0.5, table=0.48)
    state = await turn(books, await seen(books, "too many rows", [TWICE, {"count": 95}]))
    assert [each["id"] for each in state["clarify"]["candidates"]] == ["shop.double-charge", "db.table-full"]
    state = await turn(books, state | {"request": "too many rows\n2"})
    assert [each["id"] for each in state["candidates"]] == ["db.table-full"]


async def test_a_lesser_candidate_never_starts_anything() -> None:
    books = shelf(0.6, table=0.3)
    state = await turn(books, await seen(books, "billed twice", [NONE, {"count": 95}]))
    assert state["plan"] is None
    assert state["clarify"]


async def test_a_probe_that_failed_or_says_nothing_usable_leaves_it_open() -> None:
    books = shelf()
    for result in ({"skipped": True}, {"count": "many"}):
        assert (await turn(books, await seen(books, "billed twice", [result])))["clarify"]


async def test_a_missing_detail_is_asked_for_and_its_answer_completes_the_runbook() -> None:
    books = shelf(0.0, refund=0.5)
    state = await turn(books, {"request": "refund please"})
    assert "which charge" in state["clarify"]["question"]
    state = await turn(shelf(0.0, refund=0.1), state | {"request": "refund please\nch_1a2b3c4d5e6f"})
    assert Plan.model_validate(state["plan"]).steps[0].args == {"charge": "ch_1a2b3c4d5e6f"}


async def test_a_probe_that_finds_several_meanings_asks_the_runbooks_own_question() -> None:
    books = shelf(0.0, refund=0.5)
    state = await turn(books, await seen(books, "refund ch_1a2b3c4d5e6f", [{"refunded": 0, "customers": 2}]))
    assert state["plan"] is None
    assert "which e-mail address" in state["clarify"]["question"]


async def test_a_slot_that_the_probe_leaves_empty_is_asked_for() -> None:
    books = shelf(0.0, refund=0.5)
    state = await turn(books, await seen(books, "refund ch_1a2b3c4d5e6f", [{"refunded": 0, "customers": 1}]))
    assert "amount" in state["clarify"]["question"]


@pytest.mark.parametrize("state", [{"request": "run db.table-full now"}, {"request": "go", "runbook": "db.table-full"}])
async def test_a_runbook_that_the_requester_names_is_taken(state: dict[str, Any]) -> None:
    assert [each["id"] for each in (await turn(shelf(), state))["candidates"]] == ["db.table-full"]


async def test_a_new_runbook_works_at_once_without_code() -> None:
    books = Shelf({"ops.new": 0.9})
    books.put("ops.new", 1, TABLE.replace("db.table-full", "ops.new"))
    state = await turn(books, await seen(books, "disk is full", [{"count": 99}]))
    assert Plan.model_validate(state["plan"]).id == "ops.new"


async def test_a_broken_runbook_does_not_hide_the_others_and_is_named_when_alone() -> None:
    books = shelf(0.6, table=0.7)
    books.put("db.table-full", 3, "no front matter")
    assert [each["id"] for each in (await turn(books, {"request": "full"}))["candidates"]] == ["shop.double-charge"]
    books.texts.pop("shop.double-charge")
    assert "'db.table-full' version 3" in (await turn(books, {"request": "full"}))["note"]


async def test_a_runbook_whose_tools_are_unknown_becomes_a_question_and_no_plan() -> None:
    books = shelf()
    books.put("shop.double-charge", 2, DOUBLE.replace("tool: jobs.pause", "tool: jobs.stop"))
    state = await turn(books, await seen(books, "billed twice", [TWICE]))
    assert state["plan"] is None
    assert "jobs.stop" in state["note"]


async def test_stale_knowledge_renews_the_plan_from_the_newest_version_and_keeps_its_inputs() -> None:
    books = shelf()
    state = await turn(books, await seen(books, "billed twice", [TWICE]))
    books.put("shop.double-charge", 2, DOUBLE.replace("default: 10", "default: 25"))
    renewed = await turn(books, state | {"stale": True, "results": {}})
    plan = Plan.model_validate(renewed["plan"])
    assert plan.inputs == {"job": "invoice-retry", "canary": 25, "rows": 3}
    assert [(cited.id, cited.version) for cited in plan.cites] == [("shop.double-charge", 2)]
    assert renewed["stale"] is False


async def test_a_runbook_that_changes_during_the_investigation_is_looked_at_again() -> None:
    books = shelf()
    state = await seen(books, "billed twice", [TWICE])
    books.put("shop.double-charge", 2, DOUBLE)
    plan = Plan.model_validate((await turn(books, state))["plan"])
    assert plan.kind == "investigation"
    assert plan.steps[0].id not in state["results"]


async def test_a_withdrawn_runbook_ends_in_a_question() -> None:
    books = shelf()
    state = await turn(books, await seen(books, "billed twice", [TWICE]))
    books.texts.clear()
    assert "withdrawn" in (await turn(books, state | {"stale": True}))["note"]


async def test_a_stale_plan_of_a_client_is_handed_back() -> None:
    plan = Plan.model_validate(await made_plan()).model_copy(update={"source": "given"})
    state = await turn(shelf(), {"request": "", "plan": plan.model_dump(mode="json"), "stale": True})
    assert (state["plan"], state["verdict"]) == (None, "stale_knowledge")


async def test_planning_ends_after_some_rounds() -> None:
    with pytest.raises(Permanent) as stopped:
        await turn(shelf(), {"request": "billed twice", "round": 6})
    assert stopped.value.code == "no_progress"


async def made_plan() -> dict[str, Any]:
    books = shelf()
    return (await turn(books, await seen(books, "billed twice", [TWICE])))["plan"]


async def draft(**changes: Any) -> str:
    """Return the answer of an obedient model: the steps of the runbook, with changes to the first."""
    first, *rest = (await made_plan())["steps"]
    return json.dumps({"goal": "repair", "steps": [first | changes, *rest]})


async def drafted(*script: Any) -> tuple[dict[str, Any], ScriptedModel]:
    books, model = shelf(), played(*script)
    return await turn(books, await seen(books, "billed twice by ch_1a2b3c4d5e6f", [TWICE]), model), model


async def test_a_models_plan_is_taken_under_the_same_rules_with_our_pins_inputs_and_budget() -> None:
    """R17"""
    state, _ = await drafted(await draft())
    plan = Plan.model_validate(state["plan"])
    assert (plan.source, plan.id) == ("model", "shop.double-charge")
    assert [(cited.id, cited.version) for cited in plan.cites] == [("shop.double-charge", 1)]
    assert plan.inputs == {"job": "invoice-retry", "canary": 10, "rows": 3}
    assert state["violations"] == []


async def test_the_model_sees_runbooks_tools_and_counts_but_no_rows_handles_or_values() -> None:
    """R5"""
    _, model = await drafted(await draft())
    (prompt,) = model.prompts
    assert '"count": 3' in prompt
    for hidden in ("h_secret00", "Ann Lee", "0" * 64, 'invoice-retry"'):
        assert hidden not in prompt.replace("default: invoice-retry", "")
    assert prompt.count("ch_1a2b3c4d5e6f") == 1  # in the request itself


async def test_a_model_may_ask_instead() -> None:
    state, _ = await drafted('{"question": "Which night is meant?"}')
    assert (state["plan"], state["clarify"]["question"]) == (None, "Which night is meant?")


async def test_an_answer_is_repaired_once() -> None:
    """R10 R17"""
    state, model = await drafted("Sure!", await draft())
    assert Plan.model_validate(state["plan"]).source == "model"
    assert "no JSON document" in model.prompts[1]
    assert state["violations"] == [{"role": "planner", "field": "json", "attempt": 1}]


HOSTILE: Mapping[str, Mapping[str, Any]] = {
    "literal id": {"tool": "charges.refund", "args": {"charge": "ch_9z8y7x6w5v4u", "amount": {"ref": "inputs.canary"}}},
    "literal amount": {"tool": "charges.refund", "args": {"charge": {"ref": "inputs.job"}, "amount": 999_999}},
    "other recipient": {"tool": "jobs.pause", "args": {"job": "payroll"}},
    "foreign handle": {"tool": "charges.refund_batch", "args": {"charges": "h_othertenant"}},
    "forbidden tool": {"tool": "tables.drop", "effect": "destructive", "args": {"table": "audit"}},
    "unknown tool": {"tool": "shell.run", "args": {"command": "rm"}},
    "disguised effect": {"effect": "read"},
    "no expectation": {"expect": "true"},
    "own input": {"args": {"job": {"ref": "inputs.payroll"}}},
    "extra field": {"approved": True},
    "no backout": {"backout": ""},
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_plan_becomes_a_question_and_never_a_plan(name: str) -> None:
    """R5 R10 R17"""
    answer = await draft(**HOSTILE[name])
    state, model = await drafted(answer, answer)
    assert state["plan"] is None
    assert state["clarify"]
    assert [violation["attempt"] for violation in state["violations"]] == [1, 2]
    assert len(model.prompts) == 2


@pytest.mark.parametrize("text", ["not json", "{}", "[]", '{"steps": "all"}', '{"cites": [], "steps": []}', ""])
async def test_an_answer_that_is_no_draft_never_reaches_state(text: str) -> None:
    """R10"""
    state, _ = await drafted(text, text)
    assert state["plan"] is None
    assert state["violations"]


async def test_tool_calls_of_the_planner_come_to_nothing() -> None:
    """R5"""
    call = called("charges.refund", {"charge": "ch_1a2b3c4d5e6f", "amount": 1})
    state, _ = await drafted(call, call)
    assert state["plan"] is None
    assert {"role": "planner", "field": "tool_calls", "attempt": 1} in state["violations"]


async def test_without_a_true_probe_the_model_is_not_asked() -> None:
    """R15"""
    books, model = shelf(), played()
    state = await turn(books, await seen(books, "billed twice", [NONE]), model)
    assert (state["verdict"], model.prompts) == ("nothing_wrong", [])
