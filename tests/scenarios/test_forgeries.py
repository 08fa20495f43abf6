"""Plans that were forged to get past the gate: refused before anything is written, or stopped before the service."""

from typing import Any

import pytest

from tests.graphs.stage import pay
from tests.scenarios.counter import Counters

pytestmark = pytest.mark.anyio
STEPS: dict[str, dict[str, Any]] = {
    "need 0": {"need": 0},
    "a role": {"role": "executor"},
    "approvals": {"approvals": 2},
    "exposure 0": {"exposure": 0},
    "said to be a read": {"effect": "read"},
    "compensates": {"compensates": "x"},
    "said to be clean": {"tainted": False},
    "said to be unattended": {"unattended": True},
    "capitals": {"tool": "Shop.Pay"},
    "a space": {"tool": "shop.pay "},
    "a newline": {"tool": "shop.pay\n"},
    "a zero-width space": {"tool": "shop.pay\u200b"},
    "a full-width dot": {"tool": "shop．pay"},
    "a Cyrillic letter": {"tool": "shop.pаy"},
    "two dots": {"tool": "shop..pay"},
    "a list": {"tool": ["shop.pay"]},
    "a group of tools": {"tool": "@write"},
    "another tool's arguments": {"tool": "shop.close"},
    "a compensation that pays": {"compensate": {"tool": "shop.pay", "args": {"order": "a"}}},
    "an id with a mark": {"id": "s#1"},
    "an id of a reverse": {"id": "s:undo"},
    "an argument more": {"args": {"order": "a", "amount": 1, "currency": "USD"}},
}
AMOUNTS: list[Any] = [
    100.0, 100.5, "100", "1e3", True, None, 2**63, -(2**63) - 1, 10**30, [100], {"ref": "inputs.x"},
    {"ref": "steps.pay_a.paid"},
]  # fmt: skip
TOPS: list[dict[str, Any]] = [
    {"kind": "investigation"}, {"budget": {"calls": 10**12}}, {"budget": {"tokens": -1}}, {"policy": "x"},
    {"hash": "0"}, {"requester": "bob"},
]  # fmt: skip


def body(step: dict[str, Any], **top: Any) -> dict[str, Any]:
    return {"plan": {"id": "x", "goal": "x", "steps": [step], **top}}


@pytest.mark.parametrize("name", STEPS)
async def test_a_forged_step_is_refused(counters: Counters, name: str) -> None:
    await _refuse(counters, body(pay("a", **STEPS[name])))


@pytest.mark.parametrize("amount", AMOUNTS, ids=repr)
async def test_an_amount_that_is_none_is_refused(counters: Counters, amount: Any) -> None:
    await _refuse(counters, body(pay("a", args={"order": "a", "amount": amount})))


@pytest.mark.parametrize("top", TOPS, ids=repr)
async def test_a_plan_that_says_too_much_of_itself_is_refused(counters: Counters, top: dict[str, Any]) -> None:
    await _refuse(counters, body(pay("a"), **top))


@pytest.mark.parametrize("amount", ["NaN", "1e400", "9" * 5000, '1, "amount": 900'])
async def test_a_number_that_json_does_not_have_is_refused(counters: Counters, amount: str) -> None:
    text = (
        '{"plan": {"id": "x", "goal": "x", "steps": [{"id": "s", "tool": "shop.pay", "effect": "write", "backout": "x",'
        f'"expect": "size(result) >= 0", "args": {{"order": "a", "amount": {amount}}}}}]}}}}'
    )
    async with counters() as counter:
        headers = {"Content-Type": "application/json"}
        answer = await counter.clients["alice"].post("/api/runs", content=text, headers=headers)
        assert answer.status_code in (400, 422)
        assert (await counter.send("alice", "GET", "/api/runs")).json()["items"] == []


async def test_the_second_action_of_a_gate_that_refers_to_the_first_is_no_way_around_it(counters: Counters) -> None:
    """What is not known when people are asked is asked about by itself, with what both come to."""
    steps = [
        pay("a", amount=900, gate="g"),
        pay("b", gate="g", args={"order": "b", "amount": {"ref": "steps.pay_a.total"}}),
    ]
    async with counters() as counter:
        run = await counter.asked(*steps)
        question = await counter.question(run)
        assert (question["exposure"], question["shown"]["steps"][0]["step"]) == (900, "pay_a")
        await counter.decide("bob", question)
        row = await counter.stage.drive(run)
        assert (row.status, counter.stage.shop.payments) == ("waiting", {"a": 900})
        assert (await counter.question(run))["id"] != question["id"]


async def _refuse(counters: Counters, request: dict[str, Any]) -> None:
    async with counters() as counter:
        answer = await counter.send("alice", "POST", "/api/runs", request)
        assert (answer.status_code, answer.json()["code"]) == (422, "plan_invalid")
        assert (await counter.send("alice", "GET", "/api/runs")).json()["items"] == []
