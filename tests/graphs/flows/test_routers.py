"""Routers of the governed flow: each leads from every state that its node leaves to the right node."""

from collections.abc import Awaitable, Callable
from typing import Any, cast, get_args, get_type_hints

import pytest

from graphs.flows import governed
from graphs.state import State
from tests.graphs.stage import close, pay, plan, read

pytestmark = pytest.mark.anyio
Router = Callable[[State], Awaitable[str]]
ROUTERS: dict[str, Router] = {
    "planner": governed.after_planner,
    "researcher": governed.after_researcher,
    "executor": governed.after_executor,
    "gate": governed.after_gate,
    "auditor": governed.after_auditor,
    "start": governed.after_start,
}
REPAIR = plan(read(), close("x"), pay("a"))
LOOK = plan(read(), kind="investigation", source="runbook")


def at(cursor: int, plan: Any = REPAIR, **values: Any) -> State:
    state = {"plan": plan.model_dump(mode="json"), "plan_hash": plan.hash, "cursor": cursor, **values}
    return cast(State, state)


HOLD = {"state": "held", "approval": "a1"}
DENIAL = {"state": "denied", "code": "approval_rejected"}
FAILURE = {"state": "failed", "code": "unavailable"}
QUESTION: dict[str, Any] = {"question": "which?", "candidates": []}
CASES: list[tuple[str, State, str]] = [
    ("start", {"request": "billed twice"}, "planner"),
    ("start", at(0), "researcher"),
    ("start", at(1), "executor"),
    ("start", at(3), "auditor"),
    ("start", at(1, LOOK), "planner"),
    ("planner", {"request": "", "clarify": cast(Any, QUESTION), "answered": False}, "gate"),
    ("planner", {"request": "", "verdict": "nothing_wrong"}, "auditor"),
    ("planner", at(0, LOOK), "researcher"),
    ("planner", at(1), "executor"),
    ("planner", at(3), "auditor"),
    ("researcher", at(0), "researcher"),
    ("researcher", at(1), "executor"),
    ("researcher", at(3), "auditor"),
    ("researcher", at(1, LOOK), "planner"),
    ("researcher", at(1, audit=True), "auditor"),
    ("researcher", at(0, outcome=DENIAL), "auditor"),
    ("researcher", at(0, failure=FAILURE, undo=[]), "auditor"),
    ("researcher", at(2, failure=FAILURE, undo=["close_x"]), "executor"),
    ("executor", at(2), "executor"),
    ("executor", at(0), "researcher"),
    ("executor", at(3), "auditor"),
    ("executor", at(1, outcome=HOLD), "gate"),
    ("executor", at(1, outcome=DENIAL), "auditor"),
    ("executor", at(1, stale=True), "planner"),
    ("executor", at(2, audit=True), "auditor"),
    ("executor", at(2, failure=FAILURE, undo=["close_x"]), "executor"),
    ("executor", at(2, failure=FAILURE, undo=["close_x"], outcome=HOLD), "gate"),
    ("executor", at(2, failure=FAILURE, undo=[]), "auditor"),
    ("gate", at(1, outcome=None), "executor"),
    ("gate", at(0, outcome=None, accepted=["read"]), "researcher"),
    ("gate", at(3, outcome=None, accepted=["nothing adds up"]), "auditor"),
    ("gate", at(1, outcome=HOLD), "gate"),
    ("gate", at(1, outcome=DENIAL), "auditor"),
    ("gate", at(1, outcome=None, stale=True), "planner"),
    ("gate", at(2, failure=FAILURE, undo=["close_x"], outcome=None), "executor"),
    ("gate", at(2, failure=FAILURE, undo=[], outcome=None), "auditor"),
    ("gate", {"clarify": cast(Any, QUESTION), "answered": True}, "planner"),
    ("gate", {"clarify": cast(Any, QUESTION)}, "gate"),
    ("auditor", at(2), "executor"),
    ("auditor", at(2, outcome=HOLD), "gate"),
    ("auditor", at(0), "researcher"),
    ("auditor", at(3, end={"status": "done"}), "__end__"),
]


@pytest.mark.parametrize(("node", "state", "target"), CASES)
async def test_a_state_leads_where_its_node_meant(node: str, state: State, target: str) -> None:
    """R4"""
    assert await ROUTERS[node](state) == target


@pytest.mark.parametrize("node", ROUTERS)
def test_a_router_names_its_targets_and_no_others(node: str) -> None:
    """LangGraph draws what the return type says; a target that nothing leads to would be a false line."""
    targets = set(get_args(get_type_hints(ROUTERS[node])["return"]))
    assert targets == {target for name, _, target in CASES if name == node}
