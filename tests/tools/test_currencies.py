"""Currencies at the gateway: in what is asked, who may decide it, what is recorded, and never added up."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from memory.errors import Halt
from memory.governance import approvals, limits
from memory.governance.limits import Limit
from memory.postgres.database import Connection, Database
from memory.postgres.roles import Urls
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.support import POLICY, TOOLS, Desk, act, open_desk
from tools import effects
from tools.action import Action, Json
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.money import Money
from tools.policy import PolicySet
from tools.tool import Call, tool

pytestmark = pytest.mark.anyio


class Payment(BaseModel, extra="forbid"):
    """One payment."""

    id: str
    amount: int = 10
    currency: str = "EUR"


@tool(
    "shop.transfer",
    effect="write",
    key=lambda args: f"transfer:{args.id}",
    amount=lambda args: Money(args.amount, args.currency),
    keyed=True,
    playbook="p",
)
async def transfer(args: Payment, call: Call) -> Mapping[str, Json]:
    """Send money."""
    return await call.services.post("shop", "pay", {})


@pytest.fixture
async def desk(database: Database, people: dict[str, Principal], clock: VirtualClock) -> Desk:
    desk = await open_desk(database, people, clock)
    catalog = Catalog([*TOOLS, transfer])
    # Its hard rule on an amount says of which currency, or else nothing in another would be asked at all.
    rules = POLICY.replace("context.amount == 13", 'context.currency == "EUR" && context.amount == 13')
    policy = PolicySet({"shop.cedar": rules}, catalog.cards)
    gateway = Gateway(database, catalog, policy, desk.shop, clock)
    await desk.activate(policy.version)
    return replace(desk, catalog=catalog, policy=policy, gateway=gateway)


def send(lease: Lease, item: str = "a", currency: str = "JPY", **options: Any) -> Action:
    amount = options.pop("amount", 10)
    return act(lease, item, tool="shop.transfer", args={"id": item, "amount": amount, "currency": currency}, **options)


async def allow(urls: Urls, desk: Desk, limit: Limit) -> None:
    await limits.put(urls.owner, desk.people[limit.person].tenant, limit)


async def test_question_effect_and_journal_say_the_currency(desk: Desk, urls: Urls) -> None:
    await allow(urls, desk, Limit("bob", "JPY", 10_000, 10_000))
    lease = await desk.run()
    approval = await desk.ask(lease, send(lease, amount=9899))
    record = await approvals.show(desk.database, desk.access("bob"), approval)
    assert (record.approval.exposure, record.approval.currency, record.items[0].currency) == (9899, "JPY", "JPY")
    assert {name: record.approval.question[name] for name in ("amount", "currency")} == {
        "amount": 9899,
        "currency": "JPY",
    }
    await desk.decide(approval, "bob")
    outcome = await desk.gateway.perform(lease, send(lease, amount=9899))
    effect = await effects.show(desk.database, desk.access("bob"), str(outcome.effect))
    assert (outcome.state, effect.amount, effect.currency) == ("done", 9899, "JPY")
    stories = [body for body in await desk.story(lease) if body["kind"] in ("proposed", "permitted")]
    assert {(body["amount"], body["currency"]) for body in stories} == {(9899, "JPY")}
    (held,) = [body for body in await desk.story(lease) if body["kind"] == "held"]
    assert (held["exposure"], held["currency"]) == (9899, "JPY")


async def test_a_question_in_a_currency_in_which_nobody_has_a_limit_is_not_asked(desk: Desk) -> None:
    lease = await desk.run()
    with pytest.raises(Halt, match="'bob' has too low a limit") as stop:
        await desk.gateway.perform(lease, send(lease, amount=1))
    assert (stop.value.code, await desk.count("approvals")) == ("no_approver_left", 0)


async def test_without_a_limit_in_the_currency_nobody_decides(desk: Desk, urls: Urls) -> None:
    await allow(urls, desk, Limit("bob", "JPY", 1, 1))
    lease = await desk.run()
    approval = await desk.ask(lease, send(lease, amount=1))
    assert (await desk.decide(approval, "carol")).code == "over_limit"
    edit = await desk.decide(approval, "bob", "edit", reason="less", new_arguments={"id": "a", "amount": 1})
    assert (edit.code, edit.status) == ("no_approver_left", "open")


@pytest.mark.parametrize(("amount", "code"), [(1_000, "ok"), (1_001, "over_limit")])
async def test_limit_of_a_currency_is_that_of_no_other(desk: Desk, urls: Urls, amount: int, code: str) -> None:
    await allow(urls, desk, Limit("bob", "JPY", 1_000, 9_000))
    await allow(urls, desk, Limit("dave", "JPY", 9_000, 9_000))
    await allow(urls, desk, Limit("carol", "USD", 10**9, 10**9))
    lease = await desk.run()
    approval = await desk.ask(lease, send(lease, amount=amount))
    assert (await desk.decide(approval, "carol")).code == "over_limit"
    assert (await desk.decide(approval, "bob")).code == code


async def test_a_limit_that_was_taken_away_takes_the_vote_with_it(desk: Desk, urls: Urls) -> None:
    for person in ("bob", "dave"):
        await allow(urls, desk, Limit(person, "JPY", 1_000, 1_000))
    lease = await desk.run()
    await desk.decide(await desk.ask(lease, send(lease)), "bob")
    await allow(urls, desk, Limit("bob", "JPY", 9, 9))
    assert (await desk.gateway.perform(lease, send(lease))).state == "held"


async def test_approval_is_for_the_currency_that_was_shown(desk: Desk, urls: Urls) -> None:
    """R39"""
    await allow(urls, desk, Limit("bob", "JPY", 1_000, 1_000))
    lease = await desk.run()
    await desk.decide(await desk.ask(lease, send(lease)), "bob")
    assert (await desk.gateway.perform(lease, send(lease, currency="EUR"))).state == "held"
    yen, euros = (desk.judge(send(lease, currency=currency))[0] for currency in ("JPY", "EUR"))
    assert yen.digest("p") != euros.digest("p")


async def test_amounts_of_two_currencies_are_not_asked_together(desk: Desk) -> None:
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, send(lease), [send(lease, "b", "EUR", step="s-b")])
    assert (outcome.state, outcome.code, await desk.count("approvals")) == ("denied", "plan_invalid", 0)
    assert "is about EUR and JPY: amounts of different currencies have no sum" in outcome.message


async def test_sum_of_a_question_is_in_its_currency(desk: Desk, urls: Urls) -> None:
    await allow(urls, desk, Limit("bob", "JPY", 20, 20))
    lease = await desk.run()
    siblings = [send(lease, "b", step="s-b"), act(lease, "c", tool="shop.tell", step="s-c")]
    outcome = await desk.gateway.perform(lease, send(lease), siblings)
    question = (await approvals.show(desk.database, desk.access("bob"), str(outcome.approval))).approval
    assert (question.exposure, question.currency) == (20, "JPY")
    assert [step.get("currency") for step in question.question["each"]] == ["JPY", "JPY", None]


async def test_what_is_about_no_money_is_decided_as_before(desk: Desk) -> None:
    lease = await desk.run()
    approval = await desk.ask(lease, act(lease, tool="shop.tell"))
    record = await approvals.show(desk.database, desk.access("bob"), approval)
    assert (record.approval.exposure, record.approval.currency) == (0, "EUR")
    assert (await desk.decide(approval, "dave")).code == "ok"


async def test_records_from_before_are_in_the_currency_of_the_accounts(desk: Desk, owner: Connection) -> None:
    lease = await desk.run()
    outcome = await desk.gateway.perform(lease, act(lease))
    async with owner.transaction():
        await owner.execute("select enter(%s, 'tests', '{}', '{}')", [desk.people["bob"].tenant])
        await owner.execute("update effects set currency = null where id = %s", [outcome.effect])
    assert (await effects.show(desk.database, desk.access("bob"), str(outcome.effect))).currency == "EUR"
