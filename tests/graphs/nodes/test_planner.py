"""The planner: facts choose, words only suggest, and nothing it returns can act."""

from typing import Any

import pytest

from graphs.planning.plan import Plan
from memory.errors import Permanent
from tests.fakes.model import script_model
from tests.graphs.knowledge import NO_ROWS, TWICE, Shelf, made_plan, probe_results, shelf, turn
from tests.graphs.texts import DOUBLE, TABLE
from tools.action import NO_ANSWER

pytestmark = pytest.mark.anyio


async def test_the_first_plan_only_looks() -> None:
    """R5"""
    state = await turn(shelf(), {"request": "billed twice"})
    plan = Plan.model_validate(state["plan"])
    assert plan.kind == "investigation"
    assert [(step.tool, step.effect) for step in plan.steps] == [("charges.duplicates", "read")]
    assert [(citation.id, citation.version) for citation in plan.cites] == [("shop.double-charge", 1)]


async def test_a_true_probe_leads_to_the_repair_with_its_inputs_and_pins() -> None:
    """R2 R15"""
    books = shelf()
    state = await turn(books, await probe_results(books, "billed twice", [TWICE]))
    plan = Plan.model_validate(state["plan"])
    assert (plan.id, plan.kind, plan.source) == ("shop.double-charge", "repair", "runbook")
    assert plan.inputs == {"job": "invoice-retry", "canary": 10, "rows": 3}
    assert [(citation.id, citation.version) for citation in plan.cites] == [("shop.double-charge", 1)]


async def test_the_same_request_and_facts_give_the_same_plans() -> None:
    """R16"""
    books = shelf(refund=0.4)
    first, second = [await turn(books, await probe_results(books, "billed twice", [TWICE])) for _ in "ab"]
    assert Plan.model_validate(first["plan"]).hash == Plan.model_validate(second["plan"]).hash


async def test_a_false_probe_means_that_nothing_is_wrong() -> None:
    books = shelf()
    state = await turn(books, await probe_results(books, "billed twice", [NO_ROWS]))
    assert (state["plan"], state["verdict"]) == (None, "nothing_wrong")
    assert "nothing was changed" in state["note"]


async def test_words_that_match_nothing_lead_to_a_question() -> None:
    state = await turn(shelf(0.1), {"request": "good morning"})
    assert state["plan"] is None
    assert "no runbook" in state["clarify"]["question"]


async def test_facts_choose_between_equals() -> None:
    books = shelf(0.5, table=0.48)
    state = await turn(books, await probe_results(books, "too many rows", [NO_ROWS, {"count": 95}]))
    assert Plan.model_validate(state["plan"]).id == "db.table-full"


async def test_several_true_probes_lead_to_a_question_that_a_number_answers() -> None:
    books = shelf(0.5, table=0.48)
    state = await turn(books, await probe_results(books, "too many rows", [TWICE, {"count": 95}]))
    assert [candidate["id"] for candidate in state["clarify"]["candidates"]] == ["shop.double-charge", "db.table-full"]
    state = await turn(books, state | {"request": "too many rows\n2"})
    assert [candidate["id"] for candidate in state["candidates"]] == ["db.table-full"]


async def test_a_lesser_candidate_never_starts_anything() -> None:
    books = shelf(0.6, table=0.3)
    state = await turn(books, await probe_results(books, "billed twice", [NO_ROWS, {"count": 95}]))
    assert state["plan"] is None
    assert state["clarify"]


async def test_a_probe_that_failed_or_says_nothing_usable_leaves_it_open() -> None:
    books = shelf()
    for result in ({"skipped": True}, {"count": "many"}):
        assert (await turn(books, await probe_results(books, "billed twice", [result])))["clarify"]


async def test_a_service_that_does_not_answer_a_probe_is_named_and_tried_again_on_a_word() -> None:
    """It is neither the runbook nor the request that is unclear, and nobody has to choose anything."""
    books, silence = (
        shelf(),
        {"failed": 1, "message": f"{NO_ANSWER} (3 tried): 'charges.duplicates' was silent for 30 s"},
    )
    state = await turn(books, await probe_results(books, "billed twice", [silence]))
    question = state["clarify"]["question"]
    assert question.startswith("charges did not answer, so nothing is known")
    assert question.endswith("Try again? Answer yes, or say more.")
    assert (state["clarify"]["candidates"], "left it open" in question) == ([], False)
    state = await turn(Shelf({}, books.texts), state | {"request": "billed twice\nYes!"})
    plan = Plan.model_validate(state["plan"])
    assert (plan.kind, [step.tool for step in plan.steps]) == ("investigation", ["charges.duplicates"])


async def test_a_true_probe_is_acted_upon_though_another_got_no_answer() -> None:
    books, silence = shelf(0.5, table=0.48), {"failed": 1, "message": f"{NO_ANSWER} (3 tried): gone"}
    state = await turn(books, await probe_results(books, "too many rows", [silence, {"count": 95}]))
    assert Plan.model_validate(state["plan"]).id == "db.table-full"


async def test_a_probe_that_was_refused_is_told_with_the_reason() -> None:
    books, refusal = shelf(0.5, table=0.48), {"failed": 1, "message": "'/charges/duplicates' answered 403: no"}
    state = await turn(books, await probe_results(books, "too many rows", [refusal, NO_ROWS]))
    assert state["clarify"]["candidates"][0]["seen"] == "its check failed ('/charges/duplicates' answered 403: no)"


async def test_a_missing_detail_is_asked_for_and_its_answer_completes_the_runbook() -> None:
    books = shelf(0.0, refund=0.5)
    state = await turn(books, {"request": "refund please"})
    assert "which charge" in state["clarify"]["question"]
    state = await turn(shelf(0.0, refund=0.1), state | {"request": "refund please\nch_1a2b3c4d5e6f"})
    assert Plan.model_validate(state["plan"]).steps[0].args == {"charge": "ch_1a2b3c4d5e6f"}


async def test_a_probe_that_finds_several_meanings_asks_the_runbooks_own_question() -> None:
    books = shelf(0.0, refund=0.5)
    state = await turn(books, await probe_results(books, "refund ch_1a2b3c4d5e6f", [{"refunded": 0, "customers": 2}]))
    assert state["plan"] is None
    assert "which e-mail address" in state["clarify"]["question"]


async def test_a_slot_that_the_probe_leaves_empty_is_asked_for() -> None:
    books = shelf(0.0, refund=0.5)
    state = await turn(books, await probe_results(books, "refund ch_1a2b3c4d5e6f", [{"refunded": 0, "customers": 1}]))
    assert "amount" in state["clarify"]["question"]


@pytest.mark.parametrize("state", [{"request": "run db.table-full now"}, {"request": "go", "runbook": "db.table-full"}])
async def test_a_runbook_that_the_requester_names_is_taken(state: dict[str, Any]) -> None:
    assert [candidate["id"] for candidate in (await turn(shelf(), state))["candidates"]] == ["db.table-full"]


async def test_a_runbook_that_a_client_names_wrongly_is_not_replaced_by_another() -> None:
    state = await turn(shelf(0.9), {"request": "billed twice", "runbook": "shop.double"})
    assert state["plan"] is None
    assert "no runbook 'shop.double'" in state["note"]


async def test_a_new_runbook_works_at_once_without_code() -> None:
    books = Shelf({"ops.new": 0.9})
    books.put("ops.new", 1, TABLE.replace("db.table-full", "ops.new"))
    state = await turn(books, await probe_results(books, "disk is full", [{"count": 99}]))
    assert Plan.model_validate(state["plan"]).id == "ops.new"


async def test_a_broken_runbook_does_not_hide_the_others_and_is_named_when_alone() -> None:
    books = shelf(0.6, table=0.7)
    books.put("db.table-full", 3, "no front matter")
    assert [candidate["id"] for candidate in (await turn(books, {"request": "full"}))["candidates"]] == [
        "shop.double-charge"
    ]
    books.texts.pop("shop.double-charge")
    assert "'db.table-full' version 3" in (await turn(books, {"request": "full"}))["note"]


async def test_a_runbook_whose_tools_are_unknown_becomes_a_question_and_no_plan() -> None:
    books = shelf()
    books.put("shop.double-charge", 2, DOUBLE.replace("tool: jobs.pause", "tool: jobs.stop"))
    state = await turn(books, await probe_results(books, "billed twice", [TWICE]))
    assert state["plan"] is None
    assert "jobs.stop" in state["note"]


async def test_stale_knowledge_renews_the_plan_from_the_newest_version_and_keeps_its_inputs() -> None:
    books = shelf()
    state = await turn(books, await probe_results(books, "billed twice", [TWICE]))
    books.put("shop.double-charge", 2, DOUBLE.replace("default: 10", "default: 25"))
    new_state = await turn(books, state | {"stale": True, "results": {}})
    plan = Plan.model_validate(new_state["plan"])
    assert plan.inputs == {"job": "invoice-retry", "canary": 25, "rows": 3}
    assert [(citation.id, citation.version) for citation in plan.cites] == [("shop.double-charge", 2)]
    assert new_state["stale"] is False


async def test_a_runbook_that_changes_during_the_investigation_is_looked_at_again() -> None:
    books = shelf()
    state = await probe_results(books, "billed twice", [TWICE])
    books.put("shop.double-charge", 2, DOUBLE)
    plan = Plan.model_validate((await turn(books, state))["plan"])
    assert plan.kind == "investigation"
    assert plan.steps[0].id not in state["results"]


async def test_a_withdrawn_runbook_ends_in_a_question() -> None:
    books = shelf()
    state = await turn(books, await probe_results(books, "billed twice", [TWICE]))
    books.texts.clear()
    assert "withdrawn" in (await turn(books, state | {"stale": True}))["note"]


async def test_a_stale_plan_of_a_client_is_handed_back() -> None:
    plan = Plan.model_validate(await made_plan()).model_copy(update={"source": "given"})
    state = await turn(shelf(), {"request": "", "plan": plan.model_dump(mode="json"), "stale": True})
    assert (state["plan"], state["verdict"]) == (None, "stale_knowledge")


async def test_planning_ends_after_some_rounds() -> None:
    with pytest.raises(Permanent) as halt:
        await turn(shelf(), {"request": "billed twice", "round": 6})
    assert halt.value.code == "no_progress"


async def test_without_a_true_probe_the_model_is_not_asked() -> None:
    """R15"""
    books, model = shelf(), script_model()
    state = await turn(books, await probe_results(books, "billed twice", [NO_ROWS]), model)
    assert (state["verdict"], model.prompts) == ("nothing_wrong", [])
