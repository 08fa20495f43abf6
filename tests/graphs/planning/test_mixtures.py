"""Plans whose gate mixes currencies: refused before they run, as far as arguments, inputs and cards say them."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from graphs.planning.plan import Plan
from graphs.planning.validation import validate
from tests.graphs.cards import CARDS


class Payment(BaseModel, extra="forbid"):
    """A job in a currency."""

    job: str
    currency: str = "JPY"


EUROS = replace(CARDS["jobs.pause"], name="jobs.pause", currency="EUR", compensate="")
NAMED = replace(
    EUROS, name="jobs.resume", currency="args.currency", arguments=Payment, schema=Payment.model_json_schema()
)
ROWS = replace(EUROS, name="charges.refund_batch", currency="args.charges.currency", schema={})
CATALOG = {card.name: card for card in (CARDS["jobs.look"], EUROS, NAMED, ROWS)}


def step(id: str, tool: str, gate: str | None = "money", **args: Any) -> dict[str, Any]:
    return {
        "id": id,
        "tool": tool,
        "effect": "write",
        "args": args,
        "expect": "result.ok",
        "backout": "people do",
        "gate": gate,
    }


def problems(*steps: dict[str, Any], **inputs: Any) -> list[str]:
    plan = Plan.model_validate({"id": "p", "source": "given", "goal": "g", "inputs": inputs, "steps": list(steps)})
    return [problem for problem in validate(plan, CATALOG) if "currenc" in problem]


A = step("a", "jobs.pause", job="x")


@pytest.mark.parametrize(
    ("second", "inputs"),
    [
        (step("b", "jobs.resume", job="x"), {}),
        (step("b", "jobs.resume", job="x", currency="JPY"), {}),
        (step("b", "jobs.resume", job="x", currency={"ref": "inputs.money"}), {"money": "JPY"}),
    ],
    ids=["default", "literal", "input"],
)
def test_gate_of_two_currencies_is_refused(second: dict[str, Any], inputs: dict[str, Any]) -> None:
    assert problems(A, second, **inputs) == [
        "gate 'money' puts EUR (step 'a') and JPY (step 'b') before people in one question: amounts of different "
        "currencies have no sum; give the steps of each currency a gate of their own"
    ]


@pytest.mark.parametrize(
    "second",
    [
        step("b", "jobs.resume", job="x", currency="EUR"),
        step("b", "jobs.resume", "other", job="x"),
        step("b", "jobs.resume", None, job="x"),
        step("b", "jobs.resume", job="x", currency={"ref": "steps.a.currency"}),
    ],
    ids=["the same", "another gate", "no gate", "known later"],
)
def test_what_may_be_in_one_currency_is_left_to_the_run(second: dict[str, Any]) -> None:
    assert problems(A, second) == []


@pytest.mark.parametrize("currency", ["yen", "EURO", "", "XXX"])
def test_step_in_no_currency_is_refused(currency: str) -> None:
    (problem,) = problems(step("b", "jobs.resume", job="x", currency=currency))
    assert problem.startswith(f"step 'b': {currency!r} is no currency of ISO 4217")
