"""Runs, crashes, edits, kills and a bank, all drawn: at most one effect per event, and no outcome that is not so.

`CS_EXAMPLES=5000 pytest -n 0 -s tests/tools/test_drawn_runs.py --hypothesis-seed=1` draws 5,000 and prints how many.
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from memory.errors import Halt, LeaseLost, Permanent
from memory.postgres.database import Database
from memory.runs import records
from memory.runs.leases import Lease
from memory.scope import Principal
from tests.conftest import VirtualClock
from tests.tools.bank import RULES, SETTLES, Bank, Commit, Crash, Look, Reply, tools
from tests.tools.support import Desk, act, open_desk
from tools import effects, kills
from tools.action import Action
from tools.effects import EffectRow
from tools.gateway import Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
EXAMPLES = int(os.environ.get("CS_EXAMPLES", "150"))
REFUSALS = [400, 401, 403, 404, 408, 409, 422, 423, 425, 429, 499, 500, 503]
Verb = Literal["act", "again", "hand", "wait", "look", "kill", "resume"]

REPLIES = st.builds(
    Reply,
    arrives=st.booleans(),
    works=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    status=st.sampled_from([200, 200, 200, 0, -1, -2, *REFUSALS]),
    is_lie=st.sampled_from([False, False, False, True]),
)
LOOKS = st.builds(
    Look, answers=st.sampled_from([True, True, False]), lag=st.sampled_from([0.0, 0.1, 0.25]), dies=st.just(value=False)
) | st.just(Look(dies=True))


@dataclass(frozen=True)
class Move:
    """One thing that happens."""

    verb: Verb
    run: int
    tool: str
    item: str
    answer: Literal["approve", "edit", "reject"]
    seconds: float


MOVES = st.builds(
    Move,
    verb=st.sampled_from(["act", "act", "act", "act", "again", "hand", "wait", "look", "kill", "resume"]),
    run=st.integers(0, 2),
    tool=st.sampled_from(["bank.pay", "bank.back", "bank.open", "bank.shut", "bank.note", "bank.big"]),
    item=st.sampled_from(["a", "b"]),
    answer=st.sampled_from(["approve", "approve", "edit", "reject"]),
    seconds=st.sampled_from([0.5, SETTLES, 30.0]),
)


@dataclass(frozen=True)
class Story:
    """A bank and what happens."""

    is_keyed: bool
    replies: list[Reply]
    looks: list[Look]
    moves: list[Move]


STORIES = st.builds(
    Story,
    is_keyed=st.booleans(),
    replies=st.lists(REPLIES, max_size=8),
    looks=st.lists(LOOKS, max_size=8),
    moves=st.lists(MOVES, min_size=2, max_size=9),
)


def _describe(rows: list[EffectRow], bank: Bank) -> str:
    lines = [f"{row.tool} {row.send_key} {row.state} {row.outcome}" for row in rows]
    return "\n".join([*lines, *map(str, bank.commits)])


@dataclass
class Stand:
    """Three runs and two workers at one bank; whatever stops a run, somebody resumes it."""

    desk: Desk
    bank: Bank
    workers: tuple[Gateway, Gateway]
    prefix: str
    leases: dict[int, Lease] = field(default_factory=dict[int, Lease])
    last: dict[int, Action] = field(default_factory=dict[int, Action])
    steps: int = 0

    async def lease(self, run: int) -> Lease:
        """Return the lease of a run, which is started when it is first needed."""
        if run not in self.leases:
            self.leases[run] = await self.desk.run(calls=100_000)
        return self.leases[run]

    async def play(self, move: Move) -> None:
        """Let one thing happen."""
        match move.verb:
            case "act":
                lease, self.steps = await self.lease(move.run), self.steps + 1
                item = f"{self.prefix}-{move.item}"
                await self.act(move, act(lease, item, tool=move.tool, step=f"s{self.steps}"))
            case "again" if move.run in self.last:
                await self.act(move, self.last[move.run])
            case "hand":
                thing, now = f"payment/{self.prefix}-{move.item}", self.bank.clock.monotonic()
                self.bank.commits.append(Commit(now, "hand", thing, -self.bank.standing(thing)))
            case "look":
                # Whoever dies while looking has settled nothing; the next look comes later.
                with suppress(Crash):
                    await self.workers[0].look_again()
            case "kill":
                await self.kill(move)
            case _:
                await self.bank.clock.sleep(move.seconds)

    async def kill(self, move: Move) -> None:
        """Pull the switch before an action, and let it go after it."""
        access = self.desk.access("root")
        await kills.kill(self.desk.database, access, "all", reason="drawn")
        if move.run in self.last:
            await self.act(move, self.last[move.run])
        await kills.unkill(self.desk.database, access, "all")

    async def act(self, move: Move, action: Action) -> None:
        """Perform an action; a worker that dies is followed by the other one, who performs it again."""
        for _ in range(20):
            lease = await self.lease(move.run)
            self.last[move.run] = action
            try:
                outcome = await self.workers[lease.fence % 2].perform(lease, action)
            except Crash:
                await self.take_over()
                continue
            except Halt as halt:
                return await self.stop(move.run, halt)
            if outcome.state != "held":
                return None
            if move.answer == "edit":
                action = act(lease, f"{action.args['id']}", tool=action.tool, step=action.step, amount=11)
            await self.answer(str(outcome.approval), move, action)
            if move.answer == "reject":
                return None
        raise AssertionError("the story does not end")

    async def take_over(self) -> None:
        """Let the other worker take over all that the dead one led."""
        async with self.desk.database.worker() as connection:
            await records.sweep(connection)
        self.leases = {number: await self.desk.lease(lease.run) for number, lease in self.leases.items()}

    async def answer(self, approval: str, move: Move, action: Action) -> None:
        """Let people answer a question; what was edited is asked anew, and the other one approves."""
        person = "carol" if action.args.get("amount") == 11 and move.answer != "edit" else "bob"
        options: dict[str, Any] = {"new_arguments": dict(action.args)} if move.answer == "edit" else {}
        try:
            await self.desk.decide(approval, person, move.answer, reason="drawn", **options)
            if move.answer == "edit":
                outcome = await self.workers[0].perform(await self.lease(move.run), action)
                if outcome.approval:
                    await self.desk.decide(outcome.approval, "carol")
        except (Permanent, Halt, Crash, LeaseLost):
            return

    async def stop(self, run: int, halt: Halt) -> None:
        """End a run that had to stop, and let a person resume it."""
        lease = self.leases[run]
        await self.desk.end(lease, "stopped", halt.code)
        self.leases[run] = await self.desk.resume(lease.run)

    async def rows(self) -> list[EffectRow]:
        """Return the effects of this story."""
        runs = [await effects.ls(self.desk.database, lease.access, run=lease.run) for lease in self.leases.values()]
        return [row for rows in runs for row in rows]

    async def close(self) -> None:
        """Leave nothing behind that the next story's workers would look at."""
        for row in await self.rows():
            if row.state == "in_doubt":
                async with self.desk.database.transaction(self.desk.access("bob")) as connection:
                    await effects.resolve(connection, row.id, "failed", "the story is over")


def judge(rows: list[EffectRow], bank: Bank) -> None:
    """Compare the record with the bank, after everything late has happened."""
    commits = Counter(commit.key for commit in bank.commits if commit.key != "hand")
    assert all(count == 1 for count in commits.values()), f"an event happened twice: {commits}"
    by_key: dict[str, list[EffectRow]] = {}
    for row in rows:
        by_key.setdefault(row.send_key, []).append(row)
    assert commits.keys() <= by_key.keys(), "something happened that is not on record"
    for key, events in by_key.items():
        for row in events:
            if row.state in ("done", "compensated") and not (row.outcome or {}).get("checked"):
                # Who lies and then shows nothing is not found out; that it was not checked is what can be said.
                assert commits[key] or key in bank.lies, f"{row.tool} is called done, the bank has no {key!r}"
        if all(row.state == "failed" for row in events):
            assert not commits[key], f"{key!r} is called failed and the bank has it"
    for thing in {commit.item for commit in bank.commits if not commit.is_state and commit.key != "hand"}:
        own = [commit for commit in bank.commits if commit.item == thing and commit.key != "hand"]
        assert _highest(own) <= 1 or thing.startswith("note/"), f"{thing} was done twice without a reverse: {own}"


def _highest(commits: list[Commit]) -> int:
    """Return how often a thing stood done at most, going by what was asked for."""
    keys = {commit.key.partition(":")[0] for commit in commits if commit.change > 0}
    return max((_count(commits, key) for key in keys), default=0)


def _count(commits: list[Commit], key: str) -> int:
    done = [commit for commit in commits if commit.key.startswith(f"{key}:")]
    return len(done) - sum(commit.change < 0 for commit in commits) if key == "pay" else len(done)


_NUMBER = Counter[str]()


@given(STORIES)
@example(
    Story(
        is_keyed=False,
        replies=[Reply(works=0.5, status=-2), Reply(status=409)],
        looks=[],
        moves=[Move("act", 0, "bank.pay", "a", "approve", 0.5), Move("act", 1, "bank.pay", "a", "approve", 0.5)],
    )
)
@settings(
    deadline=None,
    max_examples=EXAMPLES,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_no_event_happens_twice_and_no_outcome_is_untrue(
    database: Database, people: Mapping[str, Principal], clock: VirtualClock, story: Story
) -> None:
    bank = Bank(clock, story.is_keyed, replies=list(story.replies), looks=list(story.looks))
    desk = await open_desk(database, people, clock, tools=tools(bank), policy=RULES)
    other = Gateway(database, desk.catalog, desk.policy, bank, clock)
    stand = Stand(desk, bank, (Gateway(database, desk.catalog, desk.policy, bank, clock), other), uuid4().hex[:8])
    for move in story.moves:
        await stand.play(move)
    await clock.sleep(SETTLES * 2)
    rows = await stand.rows()
    note(_describe(rows, bank))
    judge(rows, bank)
    await stand.close()
    _NUMBER["stories"] += 1
    sys.stdout.write(f"\r{_NUMBER['stories']} stories")
