"""What a step means now: references, cuts, batches and conditions."""

from collections.abc import Mapping
from typing import Any

import pytest

from graphs.execution.binding import batches, is_due, is_met, resolve, undo
from graphs.planning.plan import Plan, Step
from memory.errors import Permanent
from tests.graphs.planning.test_plan import LOOK, REFUND, plan, single
from tools.action import Json

SET: dict[str, Json] = {"handle": "h_dup1", "start": 0, "count": 1_203, "digest": "0" * 64, "total": 12_030}
RESULTS: Mapping[str, Mapping[str, Json]] = {"look": {"found": SET, "count": 1_203, "flags": {"deep": {"x": 1}}}}


async def cut(part: Mapping[str, Json], start: int, count: int) -> Mapping[str, Json]:
    return {**part, "start": start, "count": count, "digest": "1" * 64}


def step(**parts: Any) -> Step:
    return Step.model_validate(REFUND | parts)


@pytest.mark.parametrize(
    ("size", "start", "count"), [(500, 0, 3), (500, 10, 3), (401, 0, 3), (1_203, 0, 1), (5, 1_203, 0)]
)
def test_a_batched_step_has_as_many_batches_as_the_rows_need(size: int, start: int, count: int) -> None:
    batched = step(batch=REFUND["batch"] | {"size": size, "start": start})
    assert batches(batched, {}, RESULTS) == count


def test_a_step_without_batch_has_none() -> None:
    assert batches(Step.model_validate(LOOK), {}, RESULTS) is None


@pytest.mark.anyio
@pytest.mark.parametrize(("batch", "start", "count"), [(0, 10, 500), (1, 510, 500), (2, 1_010, 193)])
async def test_batches_cover_the_rows_once_and_end_short(batch: int, start: int, count: int) -> None:
    batched = step(batch=REFUND["batch"] | {"start": {"ref": "inputs.canary"}})
    args = await resolve(batched, {"canary": 10}, RESULTS, cut=cut, batch=batch)
    assert args == {"charges": SET | {"start": start, "count": count, "digest": "1" * 64}}


@pytest.mark.anyio
async def test_references_and_cuts_become_values() -> None:
    canary = step(batch=None, args={"charges": {"cut": {"ref": "steps.look.found"}, "count": {"ref": "inputs.canary"}}})
    assert await resolve(canary, {"canary": 10}, RESULTS, cut=cut) == {
        "charges": SET | {"count": 10, "digest": "1" * 64}
    }
    deep = step(batch=None, args={"charges": {"ref": "steps.look.flags.deep"}, "note": "as is"})
    assert await resolve(deep, {}, RESULTS, cut=cut) == {"charges": {"x": 1}, "note": "as is"}


@pytest.mark.anyio
async def test_the_arguments_of_a_compensation_are_resolved_alike() -> None:
    paused = Step.model_validate(single(compensate={"tool": "jobs.resume", "args": {"job": {"ref": "inputs.job"}}}))
    assert await undo(paused, {"job": "retry"}, {}, cut=cut) == {"job": "retry"}
    with pytest.raises(Permanent, match="a person must take it back"):
        await undo(step(), {}, {}, cut=cut)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "args",
    [
        {"charges": {"ref": "steps.look.missing"}},
        {"charges": {"ref": "steps.look.count.deeper"}},
        {"charges": {"cut": {"ref": "steps.look.count"}, "count": 1}},
        {"charges": {"cut": {"ref": "steps.look.found"}, "count": {"ref": "steps.look.flags"}}},
        {"charges": {"cut": {"ref": "steps.look.found"}, "start": 1_203, "count": 1}},
    ],
)
async def test_a_reference_that_finds_nothing_usable_is_refused(args: dict[str, Any]) -> None:
    with pytest.raises(Permanent) as refused:
        await resolve(step(batch=None, args=args), {}, RESULTS, cut=cut)
    assert refused.value.code == "plan_invalid"


def guarded(when: str, expect: str = "result.refunded == args.charges.count") -> tuple[Plan, Step]:
    made = plan(LOOK, REFUND | {"when": when, "expect": expect}, inputs={"canary": 10})
    return made, made.steps[1]


def test_a_step_is_due_unless_its_guard_says_otherwise() -> None:
    assert is_due(*guarded("steps.look.count > inputs.canary"), RESULTS).is_true
    assert not is_due(*guarded("steps.look.count < inputs.canary"), RESULTS).is_true
    assert is_due(plan(LOOK), Step.model_validate(LOOK), {}).is_true


def test_a_guard_over_a_skipped_step_does_not_hold_and_says_why() -> None:
    assert is_due(*guarded("steps.look.count > 0"), {"look": {"skipped": True}}).reason
    assert not is_due(*guarded("has(steps.look.count)"), {}).reason


@pytest.mark.parametrize(("refunded", "met"), [(500, True), (499, False), ("500", False), (None, False)])
def test_an_expectation_compares_what_came_back_with_what_was_asked(refunded: Json, met: bool) -> None:
    """R2"""
    asked: dict[str, Json] = {"charges": SET | {"count": 500}}
    assert is_met(*guarded("true"), RESULTS, {"refunded": refunded}, asked).is_true is met
