"""Admission: keys and digests for a well-formed action, a code for any other, before anything is decided."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from memory.errors import Permanent
from tools.action import Action, Json, Pin, canonical, digest, digest_of_lines
from tools.admission import admit
from tools.catalog import Catalog
from tools.facts import Fact
from tools.money import Money
from tools.tool import Call, SliceArgument, tool


class Batch(BaseModel):
    """Some things and a note."""

    model_config = ConfigDict(extra="forbid")

    rows: SliceArgument
    tags: list[str] = []
    note: str = ""


def key_of(args: Batch) -> str:
    return args.note.split(":")[1] if args.note.startswith("key") else args.note


@tool(
    "test.batch",
    effect="write",
    target=lambda args: f"table/{args.note}",
    amount=lambda args: args.rows.money,
    facts=(
        Fact("environment", lambda args: " Prod", ("prod", "staging")),
        Fact("big", lambda args: len(args.tags)),
        Fact("owner", lambda args: None),
    ),
)
async def batch(args: Batch, call: Call) -> Mapping[str, Json]:
    """Do many."""
    return {}


@tool("test.keyed", effect="write", key=key_of)
async def batch_with_key(args: Batch, call: Call) -> Mapping[str, Json]:
    """Do many under a key."""
    return {}


CATALOG = Catalog([batch, batch_with_key])
ROWS: dict[str, Json] = {
    "handle": "h_abcdef",
    "start": 10,
    "count": 2,
    "digest": "0" * 64,
    "total": 30,
    "currency": "EUR",
}
ACTION = Action("r1", "s1", "executor", "test.batch", {"rows": ROWS, "note": "n"}, "p1", "alice")


def test_arguments_are_normalised_with_their_defaults() -> None:
    """R49"""
    assert admit(ACTION, CATALOG).args == {"rows": ROWS, "tags": [], "note": "n"}


def test_the_request_hash_sees_lists_and_slices_by_count_and_digest() -> None:
    admission = admit(replace(ACTION, args={"rows": ROWS, "tags": ["b", "a"], "note": "n"}), CATALOG)
    tags = {"count": 2, "digest": digest_of_lines([canonical("b"), canonical("a")])}
    summary: Json = {"rows": {"count": 2, "digest": "0" * 64}, "tags": tags, "note": "n"}
    assert admission.args_hash == digest(summary)


def test_facts_for_policies_come_from_the_tool_and_never_from_the_agent() -> None:
    """R50"""
    facts = admit(replace(ACTION, exposure=Money(20, "EUR"), is_tainted=True), CATALOG).facts
    assert (facts.amount, facts.exposure, facts.currency) == (30, 30, "EUR")
    assert (facts.target, facts.user) == ("table/n", "alice")
    assert (facts.facts, facts.tainted, facts.approvals) == (("big=0", "environment=prod"), True, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "r2"},
        {"step": "s2"},
        {"role": "planner"},
        {"plan_hash": "p2"},
        {"user": "bob"},
        {"pins": (Pin("a", 1),)},
        {"exposure": Money(9, "EUR")},
        {"args": {"rows": {**ROWS, "currency": "JPY"}, "note": "n"}},
        {"compensates": "e1"},
        {"args": {"rows": ROWS, "note": "other"}},
        {"args": {"rows": {**ROWS, "start": 11}, "note": "n"}},
        {"args": {"rows": {**ROWS, "digest": "1" * 64}, "note": "n"}},
    ],
    ids=str,
)
def test_an_approval_binds_everything_that_matters(change: dict[str, Any]) -> None:
    """R39"""
    assert admit(replace(ACTION, **change), CATALOG).digest("v1") != admit(ACTION, CATALOG).digest("v1")


def test_an_approval_binds_the_policy_and_nothing_that_is_only_for_watchers() -> None:
    """R39"""
    same_action = replace(ACTION, checkpoint="c9", progress={"batch": 3})
    assert admit(same_action, CATALOG).digest("v1") == admit(ACTION, CATALOG).digest("v1")
    assert admit(ACTION, CATALOG).digest("v2") != admit(ACTION, CATALOG).digest("v1")


def test_without_natural_key_the_request_is_the_key() -> None:
    first, second = admit(ACTION, CATALOG), admit(replace(ACTION, plan_hash="p2", step="s9"), CATALOG)
    assert first.key == second.key
    assert "r1" not in first.key, "the claim adds the run whose request it is: a fork's is another's"


def test_equal_calls_are_recognised_across_runs_and_plans() -> None:
    """R21"""
    other = replace(ACTION, run="r2", plan_hash="p2", step="s2")
    assert admit(other, CATALOG).call_hash == admit(ACTION, CATALOG).call_hash


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"rows": ROWS, "surprise": 1},
        {"rows": {**ROWS, "handle": "../../etc"}},
        {"rows": {**ROWS, "count": -1}},
        {"rows": ROWS, "note": "a\0b"},
        {"rows": ROWS, "note": "\ud800"},
        {"rows": ROWS, "note": 0.5},
        {"rows": ROWS, "tags": "drop table"},
        {"rows": {**ROWS, "count": 2**63}},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused(args: dict[str, Json]) -> None:
    """R49"""
    with pytest.raises(Permanent) as error:
        admit(replace(ACTION, args=args), CATALOG)
    assert (error.value.code, "'test.batch' refuses its arguments" in str(error.value)) == ("invalid_arguments", True)


def test_a_tool_whose_key_cannot_be_made_refuses_the_arguments() -> None:
    action = replace(ACTION, tool="test.keyed", args={"rows": ROWS, "note": "key"})
    with pytest.raises(Permanent) as error:
        admit(action, CATALOG)
    assert error.value.code == "invalid_arguments"


def test_an_unknown_tool_is_refused_with_what_exists() -> None:
    """R63"""
    with pytest.raises(Permanent, match=r"no tool 'test\.none'; the catalogue has test\.batch, test\.keyed"):
        admit(replace(ACTION, tool="test.none"), CATALOG)
