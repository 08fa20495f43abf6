"""References of a step: values, parts of results, batches and conditions."""

from collections.abc import Mapping
from typing import Any

import pytest

from graphs.execution.binding import Results, StepValues
from graphs.planning.plan import Step
from memory.errors import Permanent
from memory.runs.results import ResultSlice
from tests.graphs.planning.test_plan import LOOK, REFUND, plan
from tools.action import Json

SET: dict[str, Json] = {"handle": "h_dup1", "start": 0, "count": 1_203, "digest": "0" * 64, "total": 12_030}
RESULTS: Mapping[str, Mapping[str, Json]] = {"look": {"found": SET, "count": 1_203, "flags": {"deep": {"x": 1}}}}


async def cut(part: ResultSlice, start: int, count: int) -> ResultSlice:
    return ResultSlice(handle=part["handle"], start=start, count=count, digest="1" * 64, total=part["total"])


def values(step: dict[str, Any], results: Results = RESULTS, **inputs: Json) -> StepValues:
    """Return the refunding step, changed, after the look that it refers to."""
    repair = plan(LOOK, REFUND | step, inputs=inputs)
    return StepValues(repair, repair.steps[1], results)


@pytest.mark.parametrize(
    ("size", "start", "count"), [(500, 0, 3), (500, 10, 3), (401, 0, 3), (1_203, 0, 1), (5, 1_203, 0)]
)
def test_a_batched_step_has_as_many_batches_as_the_rows_need(size: int, start: int, count: int) -> None:
    assert values({"batch": REFUND["batch"] | {"size": size, "start": start}}).batches() == count


def test_a_step_without_batch_has_none() -> None:
    assert StepValues(plan(LOOK), Step.model_validate(LOOK), RESULTS).batches() is None


@pytest.mark.anyio
@pytest.mark.parametrize(("batch", "start", "count"), [(0, 10, 500), (1, 510, 500), (2, 1_010, 193)])
async def test_batches_cover_the_rows_once_and_end_short(batch: int, start: int, count: int) -> None:
    step = values({"batch": REFUND["batch"] | {"start": {"ref": "inputs.canary"}}}, canary=10)
    charges_batch = {"charges": SET | {"start": start, "count": count, "digest": "1" * 64}}
    assert await step.arguments(cut, batch) == charges_batch


@pytest.mark.anyio
async def test_references_and_cuts_become_values() -> None:
    canary = {"charges": {"cut": {"ref": "steps.look.found"}, "count": {"ref": "inputs.canary"}}}
    first_ten = {"charges": SET | {"count": 10, "digest": "1" * 64}}
    assert await values({"batch": None, "args": canary}, canary=10).arguments(cut) == first_ten
    deep = {"charges": {"ref": "steps.look.flags.deep"}, "note": "as is"}
    assert await values({"batch": None, "args": deep}).arguments(cut) == {"charges": {"x": 1}, "note": "as is"}


@pytest.mark.anyio
async def test_the_arguments_of_a_compensation_are_resolved_alike() -> None:
    undo = {"tool": "jobs.resume", "args": {"job": {"ref": "inputs.job"}}}
    assert await values({"batch": None, "compensate": undo}, job="retry").undo_arguments(cut) == {"job": "retry"}
    with pytest.raises(Permanent, match="a person must take it back"):
        await values({}).undo_arguments(cut)


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
    with pytest.raises(Permanent) as error:
        await values({"batch": None, "args": args}).arguments(cut)
    assert error.value.code == "plan_invalid"


def test_a_step_is_due_unless_its_guard_says_otherwise() -> None:
    assert values({"when": "steps.look.count > inputs.canary"}, canary=10).due().is_true
    assert not values({"when": "steps.look.count < inputs.canary"}, canary=10).due().is_true
    assert values({}, {}).due().is_true


def test_a_guard_over_a_skipped_step_does_not_hold_and_says_why() -> None:
    assert values({"when": "steps.look.count > 0"}, {"look": {"skipped": True}}).due().reason
    assert not values({"when": "has(steps.look.count)"}, {}).due().reason


@pytest.mark.parametrize(("count", "is_met"), [(500, True), (499, False), ("500", False), (None, False)])
def test_an_expectation_compares_what_came_back_with_what_was_asked(count: Json, is_met: bool) -> None:
    """R2"""
    arguments: dict[str, Json] = {"charges": SET | {"count": 500}}
    assert values({}).expectation({"refunded": count}, arguments).is_true is is_met
