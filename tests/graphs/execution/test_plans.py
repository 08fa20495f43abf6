"""Plans of runs: parsed once per content address, and never another than the state names."""

import sys
import threading
from collections import Counter
from types import FrameType

import pytest

from graphs.execution.plans import plan_of, step_of
from graphs.planning.plan import Plan
from graphs.planning.validation import steps_under_taint
from graphs.state import State
from memory.errors import Permanent
from tests.graphs.stage import HOLD, POLICY, Stages, pay, pay_all, plan, read


def state_of(plan: Plan, **values: int) -> State:
    state: State = {"plan": plan.model_dump(mode="json"), "plan_hash": plan.hash}
    return {**state, "cursor": values.get("cursor", 0)}


def test_equal_addresses_give_one_value() -> None:
    state = state_of(plan(pay("a")))
    assert plan_of(state) is plan_of(state_of(plan(pay("a"))))


def test_a_plan_that_its_hash_does_not_name_is_refused() -> None:
    """R3: the hash is what people approve; another text under it must not be run."""
    own_state, other = state_of(plan(pay("mine"), goal="once")), plan(pay("other"), goal="once")
    own_state["plan"] = other.model_dump(mode="json")
    with pytest.raises(Permanent) as error:
        plan_of(own_state)
    assert error.value.code == "plan_invalid"


def test_a_text_put_under_a_hash_that_was_parsed_before_is_not_run() -> None:
    original = plan(pay("original"))
    state = state_of(original)
    assert plan_of(state) == original
    state["plan"] = plan(pay("other")).model_dump(mode="json")
    assert plan_of(state) == original


def test_a_state_without_plan_has_none_even_if_its_hash_is_known() -> None:
    state = state_of(plan(pay("a")))
    plan_of(state)
    state["plan"] = None
    with pytest.raises(Permanent, match="no plan"):
        plan_of(state)


def test_after_the_last_step_there_is_none() -> None:
    assert step_of(state_of(plan(pay("a")), cursor=1)) is None


@pytest.mark.anyio
async def test_a_governed_run_parses_its_plan_once_and_derives_its_taint_once(stages: Stages) -> None:
    """One more parse is the border's: a client's plan is checked when the run starts."""
    stage = stages(policy=POLICY + HOLD)
    run = await stage.start(plan=plan(read(), pay("a", gate="money"), pay_all(gate="money"), goal="counted"))
    driver, calls = stage.driver(), Counter[str]()
    names = {Plan.refs_look_back.__code__: "parse", steps_under_taint.__code__: "taint"}

    def count(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code in names:
            calls[names[frame.f_code]] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        await driver.drive(run)
        await stage.decide(run)
        await driver.drive(run)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert ((await stage.row(run)).status, len(stage.shop.payments)) == ("done", 26)
    assert calls == {"parse": 2, "taint": 1}
