"""Plans drafted by a model: taken under everybody's rules, or turned into a question."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from graphs.planning.plan import Plan
from tests.fakes.model import ScriptedModel, script_model, tool_call
from tests.graphs.knowledge import TWICE, made_plan, probe_results, shelf, turn

pytestmark = pytest.mark.anyio


async def draft(**changes: Any) -> str:
    """Return the answer of an obedient model: the steps of the runbook, with changes to the first."""
    first, *further_steps = (await made_plan())["steps"]
    return json.dumps({"goal": "repair", "steps": [first | changes, *further_steps]})


async def draft_with(*script: Any) -> tuple[dict[str, Any], ScriptedModel]:
    books, model = shelf(), script_model(*script)
    return await turn(books, await probe_results(books, "billed twice by ch_1a2b3c4d5e6f", [TWICE]), model), model


async def test_a_models_plan_is_taken_under_the_same_rules_with_our_pins_inputs_and_budget() -> None:
    """R17"""
    state, _ = await draft_with(await draft())
    plan = Plan.model_validate(state["plan"])
    assert (plan.source, plan.id) == ("model", "shop.double-charge")
    assert [(citation.id, citation.version) for citation in plan.cites] == [("shop.double-charge", 1)]
    assert plan.inputs == {"job": "invoice-retry", "canary": 10, "rows": 3}
    assert state["violations"] == []


async def test_the_model_sees_runbooks_tools_and_counts_but_no_rows_handles_or_values() -> None:
    """R5"""
    _, model = await draft_with(await draft())
    (prompt,) = model.prompts
    assert '"count": 3' in prompt
    for secret in ("h_secret00", "Ann Lee", "0" * 64, 'invoice-retry"'):
        assert secret not in prompt.replace("default: invoice-retry", "")
    assert prompt.count("ch_1a2b3c4d5e6f") == 1  # in the request itself


async def test_a_model_may_ask_instead() -> None:
    state, _ = await draft_with('{"question": "Which night is meant?"}')
    assert (state["plan"], state["clarify"]["question"]) == (None, "Which night is meant?")


async def test_an_answer_is_repaired_once() -> None:
    """R10 R17"""
    state, model = await draft_with("Sure!", await draft())
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
    state, model = await draft_with(answer, answer)
    assert state["plan"] is None
    assert state["clarify"]
    assert [violation["attempt"] for violation in state["violations"]] == [1, 2]
    assert len(model.prompts) == 2


@pytest.mark.parametrize("text", ["not json", "{}", "[]", '{"steps": "all"}', '{"cites": [], "steps": []}', ""])
async def test_an_answer_that_is_no_draft_never_reaches_state(text: str) -> None:
    """R10"""
    state, _ = await draft_with(text, text)
    assert state["plan"] is None
    assert state["violations"]


async def test_tool_calls_of_the_planner_come_to_nothing() -> None:
    """R5"""
    call = tool_call("charges.refund", {"charge": "ch_1a2b3c4d5e6f", "amount": 1})
    state, _ = await draft_with(call, call)
    assert state["plan"] is None
    assert {"role": "planner", "field": "tool_calls", "attempt": 1} in state["violations"]
