"""Metered model: one JSON document or nothing, and tokens reserved before the call."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from memory.errors import Halt, Permanent
from memory.runs.leases import Lease
from memory.scope import Access, Principal
from tests.fakes.model import CountingMeter, script_model, tool_call
from tests.fakes.openai_endpoint import endpoint
from tools.model import ANSWER_TOKENS, Model, PromptMessage, Reply, estimate, open_model


class Choice(BaseModel):
    colour: str
    count: int


LEASE = Lease("r1", 1, "t1", Access.of(Principal("acme", "alice")), "c1", {})
PROMPT = [PromptMessage("system", "Answer in JSON."), PromptMessage("user", '{"request": "how many?"}')]
GOOD = '{"colour": "red", "count": 2}'
pytestmark = pytest.mark.anyio


async def ask(*script: Any, meter: CountingMeter | None = None, **options: Any) -> Reply[Choice]:
    return await Model(script_model(*script), meter or CountingMeter(), **options).ask(LEASE, "planner", PROMPT, Choice)


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"\n```\n{GOOD}\n```\n"])
async def test_an_answer_of_the_wanted_shape_is_returned(text: str) -> None:
    assert await ask(text) == Reply(Choice(colour="red", count=2))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Sure! Here it is.", "json"),
        (GOOD + GOOD, "json"),
        ("", "json"),
        ("[" * 60_000, "json"),
        (json.dumps("x" * 100_001), "json"),
        ('{"colour": "a\\u0000b", "count": 2}', "json"),
        ('{"colour": "\\ud800", "count": 2}', "json"),
        ('{"colour": "\ud800", "count": "two"}', "count"),
        ('{"colour": "red"}', "count"),
        ('{"colour": "red", "count": 2.5}', "count"),
        ("[]", "document"),
    ],
)
async def test_an_answer_of_another_shape_is_no_answer_but_a_violation(text: str, field: str) -> None:
    """R10"""
    reply = await ask(text)
    assert reply.value is None
    assert reply.problems
    assert reply.violations[0].as_json() == {"role": "planner", "field": field, "attempt": 1}


async def test_tool_calls_go_nowhere_and_are_reported() -> None:
    """R5"""
    reply = await ask(tool_call("billing.refund", {"charge": "ch_000001"}))
    assert reply.value is None
    assert [violation.field for violation in reply.violations] == ["tool_calls", "json"]


async def test_the_document_beside_a_tool_call_is_read_and_the_call_reported() -> None:
    reply = await ask(tool_call("billing.refund", {}, GOOD))
    assert reply.value
    assert [violation.field for violation in reply.violations] == ["tool_calls"]


async def test_without_tokens_left_the_model_is_not_called() -> None:
    model = script_model(GOOD)
    with pytest.raises(Permanent) as error:
        await Model(model, CountingMeter(limit=100)).ask(LEASE, "planner", PROMPT, Choice)
    assert error.value.code == "budget_exceeded"
    assert model.prompts == []


async def test_a_provider_cannot_give_tokens_back() -> None:
    meter, answer = (
        CountingMeter(),
        AIMessage(GOOD, usage_metadata={"input_tokens": 0, "output_tokens": -9, "total_tokens": -9}),
    )
    await ask(answer, meter=meter)
    assert meter.usage == 0


async def test_the_providers_count_is_booked_and_the_rest_released() -> None:
    meter = CountingMeter()
    await ask(
        AIMessage(GOOD, usage_metadata={"input_tokens": 30, "output_tokens": 12, "total_tokens": 42}), meter=meter
    )
    assert (meter.usage, meter.reservation) == (42, 0)


async def test_without_a_count_the_estimate_is_booked() -> None:
    meter = CountingMeter()
    await ask(GOOD, meter=meter)
    (cost,) = meter.costs
    assert cost.usage == estimate(cost.prompt + GOOD)
    assert cost.reservation == estimate(cost.prompt) + ANSWER_TOKENS
    assert cost.answer == GOOD


@pytest.mark.parametrize("failure", [RuntimeError("no route"), TimeoutError()])
async def test_a_model_that_fails_can_be_asked_again_and_costs_nothing(failure: Exception) -> None:
    meter = CountingMeter()
    with pytest.raises(Halt) as halt:
        await ask(failure, meter=meter)
    assert halt.value.code == "unavailable"
    assert (meter.usage, meter.reservation) == (0, 0)


async def test_estimates_are_deterministic() -> None:
    assert [estimate(text) for text in ("", "abcd", "abcde", "éé")] == [0, 1, 2, 1]


async def test_an_openai_compatible_endpoint_is_asked_like_any_model() -> None:
    """R17"""
    meter = CountingMeter()
    with endpoint([GOOD]) as server:
        model = open_model("openai:some-model", server.url, api_key="none")
        reply = await Model(model, meter).ask(LEASE, "planner", PROMPT, Choice)
    assert reply.value == Choice(colour="red", count=2)
    assert meter.usage == 1_000
    assert "tools" not in server.requests[0]


@pytest.mark.parametrize("name", ["nobody:some-model", "no-such-model", "ollama:some-model"])
async def test_a_model_that_cannot_be_opened_says_what_to_do(name: str) -> None:
    with pytest.raises(Permanent) as error:
        open_model(name)
    assert error.value.code == "configuration"
