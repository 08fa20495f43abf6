"""Races: many people, clients, runs and workers at once; one event happens once, and who lost is told so."""

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from memory.scope import Access
from tests.graphs.stage import POLICY, Stages, pay, plan
from tests.scenarios.counter import TWO, Counter, Counters
from tools import kills

pytestmark = pytest.mark.anyio
CROWD = 50


async def crowd(size: int, act: Callable[[int], Awaitable[httpx2.Response]]) -> list[httpx2.Response]:
    """Let many act at once."""
    return await asyncio.gather(*(act(number) for number in range(size)))


def statuses(answers: list[httpx2.Response]) -> Tally[int]:
    return Tally(answer.status_code for answer in answers)


async def end(counter: Counter, run: str) -> tuple[str, dict[str, int], int]:
    """Drive a run on; returns its status, all payments, and how many were sent."""
    row = await counter.stage.drive(run)
    return row.status, counter.stage.shop.payments, len(counter.stage.shop.calls)


async def votes(counter: Counter, question: str) -> list[str]:
    """Return who voted."""
    return [
        vote["approver"] for vote in (await counter.send("bob", "GET", f"/api/approvals/{question}")).json()["votes"]
    ]


async def test_of_fifty_deciders_at_once_one_decides(counters: Counters) -> None:
    async with counters() as counter:
        run = await counter.asked(pay("a"))
        question = await counter.question(run)

        async def decide(number: int) -> httpx2.Response:
            person, decision = ["bob", "carol"][number % 4 // 2], ["reject", "approve"][number % 2]
            return await counter.decide(person, question, decision)

        answers = await crowd(CROWD, decide)
        assert statuses(answers) == {200: 1, 409: CROWD - 1}
        assert {answer.json()["code"] for answer in answers if answer.is_error} == {"approval_decided"}
        assert len(await votes(counter, question["id"])) == 1
        view = (await counter.send("bob", "GET", f"/api/approvals/{question['id']}")).json()
        ending = {"approved": ("done", {"a": 100}, 1), "rejected": ("denied", dict[str, int](), 0)}
        assert await end(counter, run) == ending[view["status"]]


async def test_of_fifty_deciders_at_once_two_make_a_quorum_of_two(counters: Counters) -> None:
    """The requester and somebody without a limit are among them."""
    async with counters(TWO) as counter:
        run = await counter.asked(pay("a"))
        question = await counter.question(run)
        people = ["bob", "carol", "alice", "dave"]
        answers = await crowd(CROWD, lambda number: counter.decide(people[number % 4], question))
        assert statuses(answers)[200] == 2
        assert sorted(await votes(counter, question["id"])) == ["bob", "carol"]
        assert await end(counter, run) == ("done", {"a": 100}, 1)


async def test_one_of_two_who_votes_twenty_times_is_one(counters: Counters) -> None:
    async with counters(TWO) as counter:
        run = await counter.asked(pay("a"))
        question = await counter.question(run)
        answers = await crowd(20, lambda number: counter.decide("bob", question))
        assert statuses(answers) == {200: 1, 409: 19}
        assert await end(counter, run) == ("waiting", {}, 0)


async def test_one_idempotency_key_from_twenty_clients_is_one_run(counters: Counters) -> None:
    """Another request under it is refused; another person's key of that name is another key."""
    async with counters(POLICY) as counter:
        key = {"Idempotency-Key": "k1"}
        answers = await crowd(20, lambda number: counter.start(pay("a"), headers=key))
        assert set(statuses(answers)) <= {202, 409}
        runs = {answer.json()["run"] for answer in answers if answer.status_code == 202}
        later = await counter.start(pay("a"), headers=key)
        assert (len(runs), {later.json()["run"]}) == (1, runs)
        assert (await counter.start(pay("b"), headers=key)).status_code == 422
        other = await counter.start(pay("b"), person="bob", headers=key)
        assert (other.status_code, other.json()["run"] in runs) == (202, False)
        assert await end(counter, runs.pop()) == ("done", {"a": 100}, 1)


async def test_one_event_from_six_runs_at_once_happens_once(stages: Stages) -> None:
    stage = stages()
    for order in "ab":
        runs = [await stage.start(plan=plan(pay(order))) for _ in range(6)]
        await asyncio.gather(*(stage.driver(number).drive(run) for number, run in enumerate(runs, 1)))
        assert {(await stage.row(run)).status for run in runs} == {"done"}
    assert (stage.shop.payments, len(stage.shop.calls)) == (dict.fromkeys("ab", 100), 2)


async def test_of_twenty_resumes_at_once_one_is_taken(counters: Counters) -> None:
    async with counters(POLICY) as counter:
        stage, access = counter.stage, Access.of(counter.stage.people["bob"])
        run = (await counter.start(pay("a"))).json()["run"]
        await kills.kill(stage.database, access, "tool", "shop.pay", "x")
        assert await end(counter, run) == ("stopped", {}, 0)
        await kills.unkill(stage.database, access, "tool", "shop.pay")
        people = ["alice", "bob", "carol"]
        answers = await crowd(
            20, lambda number: counter.send(people[number % 3], "POST", f"/api/runs/{run}/resume", {})
        )
        assert statuses(answers) == {202: 1, 409: 19}
        assert await end(counter, run) == ("done", {"a": 100}, 1)


async def test_a_run_cancelled_while_it_view_does_nothing(counters: Counters) -> None:
    """Whichever came first: what was cancelled before its call is never made."""
    async with counters() as counter:
        for number in range(12):
            run = await counter.asked(pay(f"o{number}"))
            question = await counter.question(run)
            cancel = counter.send("alice", "POST", f"/api/runs/{run}/cancel", {"reason": "x"})
            answers = await asyncio.gather(cancel, counter.decide("bob", question))
            assert (answers[0].status_code, answers[1].status_code in (200, 409)) == (200, True)
            assert await end(counter, run) == ("cancelled", {}, 0)


async def test_runs_woken_eleven_times_each_at_two_workers_act_once(stages: Stages) -> None:
    stage = stages()
    workers = [stage.driver(number) for number in (1, 2)]
    runs = [await stage.start(plan=plan(pay(f"o{number}"))) for number in range(8)]
    await asyncio.gather(*(workers[wake % 2].drive(run) for wake in range(11) for run in runs))
    rows = [await stage.row(run) for run in runs]
    assert {(row.status, row.fence) for row in rows} == {("done", 1)}
    assert (len(stage.shop.payments), len(stage.shop.calls)) == (8, 8)
