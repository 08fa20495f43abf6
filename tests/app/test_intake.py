"""Intake and run judge arguments alike: what a plan may hold is what admission takes, and nothing else."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.api import start_run
from memory.errors import Permanent
from tools.action import Action
from tools.admission import admit
from tools.catalog import Catalog

CATALOG = Catalog.discover()
PROPER: Mapping[str, dict[str, Any]] = {
    "billing.duplicates": {"night": "2026-11-27"},
    "billing.charges": {"of": "ann@example.com"},
    "billing.jobs": {"kind": "any"},
    "billing.pause_job": {"job": "retry-1"},
    "billing.refund": {"charge": "ch_0a1b2c3d4e5f", "amount": 100},
    "billing.charge": {"invoice": "in_a1", "amount": 100},
    "cloud.volumes": {"volume": ""},
    "cloud.extend_volume": {"volume": "prod/db", "size": 1, "gigabytes": 10, "price": 0},
    "cloud.drop_table": {"table": "staging/log"},
    "tickets.comment": {"ticket": "t_1001", "text": "done"},
    "memory.recall": {"query": "office", "limit": 5},
}
ODD: list[Any] = [
    True, False, 0, -1, 1, 100, 10**9, 2**63 - 1, 2**63, 100.0, 1e300, "", "100", "true", "\n", "\0", "\ud800", None,
    "١٢٣٤", "2٠26-11-27", "ch_0a1b2c3d4e5f\n", "\nch_0a1b2c3d4e5f", "ch_0a1b2c3d4e5f ", "CH_0a1b2c3d4e5f",
    "prod/db\n", "Prod/db", "staging/db", "t_1001\n", "t_١٠٠١", "in_a1\r\n", "latest\n", "open", "x" * 2001,
    ["a"], [], {"a": 1},
]  # fmt: skip


def is_taken_at_intake(tool: str, args: Mapping[str, Any]) -> bool:
    step = {"id": "s", "tool": tool, "effect": CATALOG.cards[tool].effect, "args": args, "backout": "none"}
    try:
        plan = start_run.read({"id": "p", "goal": "g", "steps": [{**step, "expect": "size(result) >= 0"}]})
    except Permanent:
        return False
    return not start_run.intake_problems(CATALOG, plan)


def is_taken_as_input(tool: str, args: Mapping[str, Any]) -> bool:
    """Return whether a plan is taken that holds the arguments as its inputs."""
    references = {name: {"ref": f"inputs.{name}"} for name in args}
    step = {"id": "s", "tool": tool, "effect": CATALOG.cards[tool].effect, "args": references, "backout": "none"}
    body = {"id": "p", "goal": "g", "inputs": args, "steps": [{**step, "expect": "size(result) >= 0"}]}
    try:
        return not start_run.intake_problems(CATALOG, start_run.read(body))
    except Permanent:
        return False


def is_admitted(tool: str, args: Mapping[str, Any]) -> bool:
    try:
        admit(Action("r", "s", "executor", tool, args, "p", "alice"), CATALOG)
    except Permanent as error:
        return error.code != "invalid_arguments"
    return True


PLAIN = st.from_regex(r"\A[a-z/_-]{1,9}\n?\Z")
NUMBERS: list[Any] = [100.0, 1e300, True, "100"]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a proper call of a shipped tool, or one that is wrong in a place or two."""
    tool = draw(st.sampled_from(sorted(PROPER)))
    args = dict(PROPER[tool])
    for name in draw(st.lists(st.sampled_from([*sorted(args), "surprise"]), max_size=2)):
        value = draw(
            st.sampled_from(ODD) | st.integers() | st.text(max_size=20) | st.from_regex(r"\A[a-z/_-]{1,9}\n?\Z")
        )
        args = {key: kept for key, kept in args.items() if key != name} | ({} if value == [] else {name: value})
    return tool, args


@settings(max_examples=600, deadline=None)
@given(calls())
@example(("billing.refund", {"charge": "ch_0a1b2c3d4e5f\n", "amount": 100}))
@example(("billing.refund", {"charge": "ch_0a1b2c3d4e5f", "amount": 100.0}))
@example(("billing.refund", {"charge": "ch_0a1b2c3d4e5f", "amount": "100"}))
@example(("billing.refund", {"charge": "ch_0a1b2c3d4e5f", "amount": True}))
@example(("billing.duplicates", {"night": "٢٠٢٦-11-27"}))
@example(("tickets.comment", {"ticket": "t_1001", "text": "a\0b"}))
def test_intake_takes_what_admission_admits_and_nothing_else(call: tuple[str, dict[str, Any]]) -> None:
    """R2"""
    tool, args = call
    assert is_taken_at_intake(tool, args) == is_admitted(tool, args)
    # Lists are no inputs.
    if not any(isinstance(value, list) for value in args.values()):
        assert is_taken_as_input(tool, args) == is_admitted(tool, args)


@pytest.mark.parametrize("tool", PROPER)
def test_proper_calls_are_taken_by_both(tool: str) -> None:
    assert (is_taken_at_intake(tool, PROPER[tool]), is_admitted(tool, PROPER[tool])) == (True, True)


@pytest.mark.parametrize("tool", PROPER)
@pytest.mark.parametrize(
    "value", [value for value in ODD if isinstance(value, float) or value is True or value == "100"]
)
def test_nothing_is_converted_into_a_number(tool: str, value: object) -> None:
    for name, proper in PROPER[tool].items():
        if isinstance(proper, int):
            args = PROPER[tool] | {name: value}
            assert (is_taken_at_intake(tool, args), is_admitted(tool, args)) == (False, False)


def patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for name, part in schema.items():  # pyright: ignore[reportUnknownVariableType]  # JSON is walked, not known
            if name == "pattern" and isinstance(part, str):
                yield part
            else:
                yield from patterns(part)  # pyright: ignore[reportUnknownArgumentType]  # same
    elif isinstance(schema, list):
        for part in schema:  # pyright: ignore[reportUnknownVariableType]  # same
            yield from patterns(part)  # pyright: ignore[reportUnknownArgumentType]  # same


@pytest.mark.parametrize("card", CATALOG.cards.values(), ids=CATALOG.cards)
def test_a_pattern_says_where_a_value_begins_and_ends_and_means_the_same_to_every_reader(card: Any) -> None:
    """Classes such as `digit` hold other characters for one engine than for another."""
    for pattern in patterns(card.schema):
        assert (pattern[0], pattern[-1]) == ("^", "$")
        assert not re.search(r"\\[dws]", pattern, re.IGNORECASE)
