"""Verdicts judged again from an export: equal where nothing was changed, and named where something was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory.clock import Clock
from memory.errors import Halt
from memory.evidence.export_lines import chain_hash
from memory.postgres.database import Database
from memory.scope import Principal
from memory.store import erasure
from tests import exports
from tests.exports import Line, again, first, judged, rehashed, reworded
from tests.tools.support import POLICY, Desk, act, open_desk
from tools.money import Money

pytestmark = pytest.mark.anyio
MORE = """
@id("known") @layer("hard")
forbid (principal, action == Action::"shop.undo", resource) when { context.facts.contains("environment=prod") };
@id("heavy") @layer("hard")
forbid (principal, action == Action::"shop.unkeyed", resource) when { context.amount * 4611686018427387904 > 0 };
@id("planners-pay") @layer("capability")
permit (principal == Agent::"planner", action == Action::"shop.charge", resource);
"""


@pytest.fixture
async def desk(database: Database, people: dict[str, Principal], clock: Clock) -> Desk:
    return await open_desk(database, people, clock, policy=POLICY + MORE)


async def work(desk: Desk) -> str:
    """Lead a run that meets every kind of verdict; returns its id."""
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease, tool="shop.peek", step="look"))
    await desk.gateway.perform(lease, act(lease))
    for item, amount in (("one", 10), ("two", 5000)):
        action = act(lease, item, tool="shop.refund", amount=amount)
        approval = await desk.ask(lease, action)
        for person in ("bob", "carol")[: 1 if amount == 10 else 2]:
            await desk.decide(approval, person)
        await desk.gateway.perform(lease, action)
    for step, options in DENIALS.items():
        await desk.gateway.perform(lease, act(lease, step, step=step, **options))
    await desk.end(lease)
    return lease.run


DENIALS: dict[str, dict[str, Any]] = {
    "hard": {"amount": 13},
    "lacks": {"role": "auditor"},
    "unstated": {"tool": "shop.undo"},
    "reads": {"tool": "shop.peek", "role": "executor", "is_tainted": True},
}


async def test_every_kind_of_verdict_is_computed_again_from_its_entry(desk: Desk, tmp_path: Path) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    verdicts = judged(lines)
    assert {("allow", None, 0), ("hold", None, 1), ("hold", None, 2)} < {*verdicts}
    assert {code for verdict, code, _ in verdicts if verdict == "deny"} == {
        "policy_denied", "no_capability", "fact_missing"
    }  # fmt: skip
    result = again(lines, tmp_path)
    assert (result.ok, result.equal, result.without_facts) == (True, len(verdicts), 0)


async def test_an_approved_action_records_what_policy_said_and_not_what_people_did(desk: Desk) -> None:
    lease = await desk.run()
    action = act(lease, tool="shop.refund", amount=5000)
    approval = await desk.ask(lease, action)
    for person in ("bob", "carol"):
        await desk.decide(approval, person)
    await desk.gateway.perform(lease, action)
    (permission,) = [body for body in await desk.story(lease) if body["kind"] == "permitted"]
    assert (permission["verdict"], permission["need"], permission["approval"]) == ("hold", 2, approval)


async def test_a_round_that_needs_more_for_another_step_keeps_what_its_first_needs(desk: Desk, tmp_path: Path) -> None:
    """The entry says what is demanded of people; the verdict on the action alone is judged again."""
    lease = await desk.run()
    small = act(lease, "small", tool="shop.refund", amount=10)
    large = act(lease, "large", tool="shop.refund", amount=10, exposure=Money(5000, "EUR"))
    await desk.gateway.perform(lease, small, [large])
    (body,) = [body for body in await desk.story(lease) if body["kind"] == "held"]
    assert (body["need"], body["need_alone"], body["verdict"]) == (2, 1, "hold")
    result = again(await exports.lines_of(desk.database, desk.access("alice")), tmp_path)
    assert (result.ok, result.equal) == (True, 1)


async def test_refusals_that_no_policy_made_name_none(desk: Desk, tmp_path: Path) -> None:
    lease = await desk.run()
    await desk.gateway.perform(lease, act(lease, user="bob"))
    await desk.gateway.perform(lease, act(lease, tool="shop.none"))
    await desk.gateway.perform(lease, act(lease, compensates="none"))
    await desk.activate("another")
    with pytest.raises(Halt):
        await desk.gateway.perform(lease, act(lease))
    denials = [body for body in await desk.story(lease) if body["kind"] == "denied"]
    assert [body["code"] for body in denials] == [
        "forged_authority", "unknown_tool", "invalid_arguments", "stale_policy"
    ]  # fmt: skip
    assert not [body for body in denials if {"verdict", "policy", "facts"} & body.keys()]
    result = again(await exports.lines_of(desk.database, desk.access("alice")), tmp_path)
    assert (result.ok, result.equal, result.without_facts) == (True, 0, 0)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("permitted", {"verdict": "deny"}),
        ("held", {"need": 2}),
        ("held", {"groups": []}),
        ("denied", {"code": "policy_error"}),
        ("denied", {"rules": []}),
        ("read", {"rules": ["none"]}),
        ("read", {"role": "planner"}),
        ("permitted", {"need": True}),
    ],
)
async def test_another_verdict_is_named_also_where_the_chain_was_made_to_fit(
    desk: Desk, tmp_path: Path, kind: str, change: dict[str, Any]
) -> None:
    run = await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    result = again(exports.changed(lines, first(kind, lambda line: rehashed(line, **change))), tmp_path)
    (difference,) = result.different
    assert (difference.run, result.ok, result.problems) == (run, False, [])
    assert difference.recorded != difference.computed


async def test_other_facts_lead_to_another_verdict(desk: Desk, tmp_path: Path) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    facts: Line = {"user": "alice", "amount": 13, "exposure": 13, "currency": "EUR", "approvals": 0, "tainted": False,
             "reversible": True, "target": "none/none", "facts": []}  # fmt: skip
    result = again(exports.changed(lines, first("permitted", lambda line: reworded(line, facts=facts))), tmp_path)
    assert [difference.computed["code"] for difference in result.different] == ["policy_denied"]


ODD: list[Callable[[dict[str, Any]], Any]] = [
    lambda facts: None,
    lambda facts: [],
    lambda facts: {},
    lambda facts: {name: value for name, value in facts.items() if name != "user"},
    *(
        lambda facts, odd=odd: {**facts, **odd}
        for odd in [{"amount": "1"}, {"amount": True}, {"amount": 1.0}, {"target": 5}, {"facts": "a=b"}, {"facts": [1]},
                    {"user": None}, {"more": 1}]
    ),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
async def test_facts_in_another_form_are_named_and_not_judged(
    desk: Desk, tmp_path: Path, odd: Callable[[dict[str, Any]], Any]
) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    change = first("permitted", lambda line: reworded(line, facts=odd(json.loads(line["words"])["facts"])))
    result = again(exports.changed(lines, change), tmp_path)
    assert (len(result.problems), result.different, result.ok) == (1, [], False)


@pytest.mark.parametrize("column", ["body", "words", "prev", "hash", "salt"])
async def test_whatever_is_changed_in_an_entry_is_named(desk: Desk, tmp_path: Path, column: str) -> None:
    run = await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))

    def change(line: Line) -> Line:
        text = line[column]
        return {**line, column: text[:20] + ("0" if text[20] != "0" else "1") + text[21:]}

    result = again(exports.changed(lines, first("held", change)), tmp_path)
    (problem,) = result.problems
    assert f"run {run!r}, entry" in problem.location
    assert not result.ok


async def test_a_changed_text_is_named_and_so_is_what_rests_on_it(desk: Desk, tmp_path: Path) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    for kind in ("policy", "cards"):
        number = next(number for number, line in enumerate(lines, 1) if line.get("kind") == kind)

        def change(line: Line, kind: str = kind) -> Line | None:
            return {**line, "text": line["text"] + " "} if line.get("kind") == kind else None

        result = again(exports.changed(lines, change), tmp_path)
        assert (result.problems[0].location, result.equal) == (f"line {number}", 0)
        assert result.without_text == len(judged(lines))


async def test_words_that_were_forgotten_are_no_difference_and_words_that_were_taken_are(
    desk: Desk, tmp_path: Path
) -> None:
    await work(desk)
    everything = await exports.lines_of(desk.database, desk.access("alice"))
    taken = exports.changed(everything, first("held", lambda line: {**line, "words": None, "salt": None}))
    assert "nobody forgot them" in again(taken, tmp_path).problems[0].message
    await erasure.forget_person(desk.database, desk.people["alice"], requester="alice")
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    result = again(lines, tmp_path)
    assert (result.ok, result.equal, result.forgotten) == (True, 0, len(judged(everything)))


async def test_one_changed_rule_changes_exactly_the_verdicts_that_rest_on_it(desk: Desk, tmp_path: Path) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    stricter = (POLICY + MORE).replace("context.exposure > 1000", "context.exposure > 5")
    result = again(lines, tmp_path, {"other.cedar": stricter})
    changed = [(difference.recorded["need"], difference.computed["need"]) for difference in result.different]
    # The small refund is asked about and permitted, which are two verdicts.
    assert changed == [(1, 2), (1, 2)]
    assert result.equal == len(judged(lines)) - 2
    assert again(lines, tmp_path, {"other.cedar": POLICY + MORE}).ok


async def test_entries_from_before_facts_were_recorded_are_counted_apart(desk: Desk, tmp_path: Path) -> None:
    run = await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    new = ("role", "tool", "verdict", "need", "groups", "cards", "schema")

    def age(line: Line) -> Line | None:
        body: Line = json.loads(line["body"]) if line["line"] == "entry" else {}
        if "verdict" not in body:
            return None
        text = json.dumps({name: value for name, value in body.items() if name not in new})
        hash = chain_hash(bytes.fromhex(line["prev"]), line["run"], line["seq"], text).hex()
        return {**line, "body": text, "hash": hash}

    result = again(exports.changed(lines, age), tmp_path)
    assert run
    assert (result.ok, result.without_facts, result.equal) == (True, len(judged(lines)), 0)


async def test_a_tool_with_another_schema_than_was_described_is_named(desk: Desk, tmp_path: Path) -> None:
    await work(desk)
    lines = await exports.lines_of(desk.database, desk.access("alice"))
    result = again(exports.changed(lines, first("held", lambda line: rehashed(line, schema="0" * 64))), tmp_path)
    assert "another schema" in result.problems[0].message
