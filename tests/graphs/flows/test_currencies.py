"""Runs over several currencies: what shares a gate is one sum or nothing, and what is told at the end is in its own."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from memory.governance import limits
from memory.governance.limits import Limit
from memory.postgres.roles import Urls
from tests.graphs.stage import HOLD, POLICY, Stage, Stages, plan, read
from tools.action import Json
from tools.catalog import Catalog
from tools.money import Money
from tools.policy import PolicySet
from tools.tool import Call, tool

ANY = HOLD.replace("context.exposure > 0", 'context.exposure > 0 || context.currency != "EUR"')


class Nothing(BaseModel, extra="forbid"):
    """No arguments."""


class Transfer(BaseModel, extra="forbid"):
    """One transfer."""

    to: str
    amount: int
    currency: str


@tool(
    "bank.send", effect="write", keyed=True, playbook="p", amount=lambda args: Money(args.amount, args.currency),
    key=lambda args: f"bank.send:{args.to}",
)  # fmt: skip
async def send(args: Transfer, call: Call) -> Mapping[str, Json]:
    """Send money."""
    return {"amount": args.amount, "sent": 1}


@tool("bank.rates", effect="read")
async def rates(args: Nothing, call: Call) -> Mapping[str, Json]:
    """Say in which currencies people are paid."""
    return {"ann": "EUR", "bo": "JPY"}


def pay(to: str, amount: int, currency: Any, gate: str | None = "money") -> dict[str, Any]:
    args = {"to": to, "amount": amount, "currency": currency}
    return {"id": f"pay_{to}", "tool": "bank.send", "effect": "write", "args": args, "gate": gate,
            "expect": "result.sent == 1", "backout": "ask for it back"}  # fmt: skip


def bank(stages: Stages, policy: str = POLICY + ANY) -> Stage:
    stage = stages(policy=policy)
    stage.catalog = Catalog([send, rates, *[stage.catalog.get(name) for name in stage.catalog.cards]])
    stage.rules = PolicySet({"test.cedar": policy}, stage.catalog.cards)
    return stage


async def test_gate_whose_results_turn_out_to_mix_currencies_is_denied(stages: Stages) -> None:
    """Attended or not, amounts of two currencies are never one sum."""
    for policy in (POLICY + ANY, POLICY):
        stage = bank(stages, policy)
        steps = [pay(name, 100, {"ref": f"steps.rates.{name}"}) for name in ("ann", "bo")]
        row = await stage.run(plan(read("rates", "bank.rates", expect="result.ann != ''"), *steps))
        assert (row.status, row.reason) == ("denied", "plan_invalid")
        assert "gate 'money' is about EUR and JPY: amounts of different currencies have no sum" in row.message
        assert await stage.bodies(row.id, "permitted") == []


async def test_steps_of_each_currency_at_a_gate_of_their_own_are_asked_one_after_the_other(
    stages: Stages, urls: Urls
) -> None:
    stage = bank(stages, POLICY + ANY)
    await limits.put(urls.owner, stage.people["bob"].tenant, Limit("bob", "JPY", 5, 5))
    row = await stage.run(plan(pay("ann", 100, "EUR", "a"), pay("bo", 9899, "EUR", "a"), pay("cy", 5, "JPY", "b")))
    questions = [(await stage.open_approval(row.id)).approval]
    await stage.decide(row.id)
    await stage.driver().drive(row.id)
    questions.append((await stage.open_approval(row.id)).approval)
    assert [(question.exposure, question.currency) for question in questions] == [(9999, "EUR"), (5, "JPY")]


async def test_what_was_done_is_told_in_the_currency_that_was_permitted(stages: Stages) -> None:
    stage = bank(stages, POLICY)
    row = await stage.run(
        plan(pay("ann", 9899, "JPY", None), pay("bo", 1255, "KWD", None), pay("cy", 1050, "EUR", None))
    )
    assert row.status == "done"
    assert row.message.splitlines()[1:] == [
        "pay_ann: sent 1, amount 9,899 JPY",
        "pay_bo: sent 1, amount 1.255 KWD",
        "pay_cy: sent 1, amount 10.50 EUR",
    ]


@pytest.mark.parametrize(
    ("currencies", "sum", "answer"),
    [
        (("JPY", "JPY"), (200, "JPY"), "ok"),
        (("EUR", "EUR"), (200, "EUR"), "ok"),
        (("CHF", "CHF"), (200, "CHF"), "over_limit"),
        (("EUR", "JPY"), (100, "*"), "over_limit"),
    ],
)
async def test_what_a_failed_audit_is_about_is_accepted_by_who_has_a_limit_for_it(
    stages: Stages, urls: Urls, currencies: tuple[str, str], sum: tuple[int, str], answer: str
) -> None:
    """Nobody has a limit for several currencies at once, so what was done can only be taken back or left."""
    stage = bank(stages, POLICY)
    await limits.put(urls.owner, stage.people["bob"].tenant, Limit("bob", "JPY", 200, 200))
    steps = [pay(name, 100, currency, None) for name, currency in zip(("ann", "bo"), currencies, strict=True)]
    row = await stage.run(plan(*steps, read("rates", "bank.rates", expect="result.ann == ''")))
    approval = (await stage.open_approval(row.id)).approval
    assert (row.reason, approval.exposure, approval.currency) == ("audit_failed", *sum)
    assert (await stage.decide(row.id)).code == answer
    if answer != "ok":
        assert (await stage.decide(row.id, decision="take_back")).status == "taken_back"
