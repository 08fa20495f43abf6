"""Decisions over the API, as people who get paid tried them: an edit, a late vote, a vote that should not count."""

from typing import Any

import pytest

from tests.conftest import Connect, Connection
from tests.graphs.stage import pay
from tests.scenarios.counter import TWO, Counter, Counters

pytestmark = pytest.mark.anyio


async def paid(counter: Counter, run: str) -> tuple[str, dict[str, int]]:
    """Drive a run on; returns its status and all payments."""
    return (await counter.stage.drive(run)).status, counter.stage.shop.payments


async def test_an_edit_takes_effect_and_nothing_else_does(counters: Counters) -> None:
    """Strictly: a text is no number. What was edited is asked about again and paid once."""
    async with counters() as counter:
        run = await counter.asked(pay("a", amount=1000))
        question = await counter.question(run)
        text = await counter.decide("bob", question, "edit", edited={"order": "a", "amount": "700"})
        assert (text.status_code, text.json()["code"]) == (422, "invalid_arguments")
        assert "amount" in text.json()["detail"]
        edit = await counter.decide("bob", question, "edit", edited={"order": "a", "amount": 700})
        assert (edit.status_code, await paid(counter, run)) == (200, ("waiting", {}))
        assert (await counter.decide("carol", await counter.question(run))).status_code == 200
        assert await paid(counter, run) == ("done", {"a": 700})
        assert len(counter.stage.shop.calls) == 1


async def test_a_rejected_question_cannot_be_approved_later(counters: Counters) -> None:
    async with counters() as counter:
        run = await counter.asked(pay("a"))
        question = await counter.question(run)
        await counter.decide("bob", question, "reject")
        assert await paid(counter, run) == ("denied", {})
        assert (await counter.decide("carol", question)).status_code == 409
        assert await paid(counter, run) == ("denied", {})


async def test_a_negative_amount_is_refused_before_anybody_is_asked(counters: Counters) -> None:
    async with counters() as counter:
        run = await counter.asked(pay("a", amount=-500))
        assert await paid(counter, run) == ("denied", {})
        assert (await counter.send("bob", "GET", f"/api/approvals?run={run}")).json()["items"] == []


@pytest.mark.parametrize("edited", [{"order": "b"}, {"order": "b", "amount": 900}])
async def test_whoever_edits_does_not_permit_what_they_wrote(counters: Counters, edited: dict[str, Any]) -> None:
    """One of finance would do; the next round says who changed what from what."""
    async with counters() as counter:
        run = await counter.asked(pay("a", amount=1))
        await counter.decide("bob", await counter.question(run), "edit", edited=edited)
        await counter.stage.drive(run)
        question = await counter.question(run, "carol")
        assert question["changed"]["shown.args.order"] == {"was": "a", "is": "b"}
        assert question["replaces"]["by"] == "bob"
        assert (await counter.decide("bob", question)).status_code == 403
        assert await paid(counter, run) == ("waiting", {})


@pytest.mark.parametrize("person", ["alice", "root"])
async def test_who_may_not_decide_may_not_edit_either(counters: Counters, person: str) -> None:
    """Not even reject: whoever asked may cancel, the others are not asked."""
    async with counters() as counter:
        run = await counter.asked(pay("a"))
        question = await counter.question(run)
        edit = await counter.decide(person, question, "edit", edited={"order": "a", "amount": 2})
        statuses = [(await counter.decide(person, question, kind)).status_code for kind in ("approve", "reject")]
        assert ([edit.status_code, *statuses], await paid(counter, run)) == ([403] * 3, ("waiting", {}))


@pytest.mark.parametrize("amount", [1.5, "2", True, None, [2], 10**30, 2.0])
async def test_an_edit_to_an_amount_that_is_none_is_refused(counters: Counters, amount: Any) -> None:
    async with counters() as counter:
        run = await counter.asked(pay("a"))
        edit = await counter.decide("bob", await counter.question(run), "edit", edited={"order": "a", "amount": amount})
        assert (edit.status_code, await paid(counter, run)) == (422, ("waiting", {}))


@pytest.mark.parametrize(
    "change",
    ["groups = '{support}'", "limit_alone = 0, limit_joint = 0"],
    ids=["left the group", "limit lowered"],
)
async def test_a_voter_who_lost_the_right_between_vote_and_claim_does_not_count(
    counters: Counters, superuser: Connect, change: str
) -> None:
    async with counters(TWO) as counter, superuser() as above:
        run = await counter.asked(pay("a"))
        question = await counter.question(run)
        assert (await counter.decide("bob", question)).status_code == 200
        await _alter(above, counter, change)
        assert (await counter.decide("carol", question)).status_code == 200
        assert await paid(counter, run) == ("stopped", {})


async def test_a_lowered_limit_counts_at_once(counters: Counters, superuser: Connect) -> None:
    async with counters() as counter, superuser() as above:
        run = await counter.asked(pay("a", amount=900))
        question = await counter.question(run)
        await _alter(above, counter, "limit_alone = 100")
        assert (await counter.decide("bob", question)).status_code == 403
        assert await paid(counter, run) == ("waiting", {})


async def test_nobody_is_a_second_person_by_a_second_key(counters: Counters) -> None:
    """Nor is an administrator by the codes that were made for approvers."""
    async with counters() as counter:
        run = await counter.asked(pay("a"), person="bob")
        question = await counter.question(run)
        codes = [
            (await counter.send("root", "POST", "/api/keys", {"person": person})).json()["code"]
            for person in ("bob", "carol")
        ]
        second = (await counter.send("bob", "POST", "/api/keys/claim", {"code": codes[0]})).json()["secret"]
        votes = [
            await counter.decide("bob", question, headers={"Authorization": f"Bearer {secret}"})
            for secret in (second, codes[1])
        ]
        assert [vote.status_code for vote in votes] == [403, 401]
        assert await paid(counter, run) == ("waiting", {})


async def test_a_decision_counts_once_and_for_what_was_read(counters: Counters) -> None:
    async with counters() as counter:
        runs = [await counter.asked(pay(order)) for order in "ab"]
        question, other = [await counter.question(run) for run in runs]
        for nonce in ("0" * 32, "", other["nonce"]):
            assert (await counter.decide("bob", {**question, "nonce": nonce})).status_code in (400, 412, 422)
        assert (await counter.decide("bob", question)).status_code == 200
        assert (await counter.decide("bob", question)).status_code == 409
        assert await paid(counter, runs[0]) == ("done", {"a": 100})
        assert (await counter.decide("carol", question)).status_code == 409
        assert (await paid(counter, runs[0]), len(counter.stage.shop.calls)) == (("done", {"a": 100}), 1)


async def _alter(above: Connection, counter: Counter, change: str) -> None:
    tenant = counter.stage.access.principal.tenant
    query = f"update principals set {change} where id = 'bob' and tenant = %s"
    await above.execute(query.encode(), [tenant])
