"""Plans: explicit, content-addressed, and refused before any call when they cannot be run as written."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from graphs.planning.plan import Plan
from graphs.planning.validation import literals, taint_of, validate
from tests.graphs.cards import CARDS

LOOK: dict[str, Any] = {
    "id": "look",
    "tool": "charges.duplicates",
    "effect": "read",
    "args": {},
    "expect": "result.count > 0",
}
REFUND: dict[str, Any] = {
    "id": "refund",
    "tool": "charges.refund_batch",
    "effect": "write",
    "args": {},
    "batch": {"of": {"ref": "steps.look.found"}, "into": "charges", "size": 500},
    "expect": "result.refunded == args.charges.count",
    "backout": "Refunds cannot be taken back; charge again after asking the customer.",
}


def plan(*steps: dict[str, Any], **fields: Any) -> Plan:
    return Plan.model_validate({"id": "p", "source": "given", "goal": "repair", "steps": steps, **fields})


def single(tool: str = "charges.refund", effect: str = "write", **fields: Any) -> dict[str, Any]:
    step: dict[str, Any] = {
        "id": "act",
        "tool": tool,
        "effect": effect,
        "args": {},
        "expect": "size(result) > 0",
        "backout": "none",
    }
    return step | fields


def test_a_plan_that_fits_the_catalogue_has_no_problems() -> None:
    assert validate(plan(LOOK, REFUND), CARDS) == []


@pytest.mark.parametrize("missing", ["args", "expect", "effect", "tool"])
def test_a_step_without_inputs_or_expectation_is_refused(missing: str) -> None:
    """R2"""
    with pytest.raises(ValidationError):
        plan({name: value for name, value in LOOK.items() if name != missing})


def test_an_effect_without_backout_is_refused() -> None:
    with pytest.raises(ValidationError, match="backout"):
        plan(LOOK, REFUND | {"backout": " "})


def test_a_step_can_only_look_back() -> None:
    with pytest.raises(ValidationError, match="nothing before it provides"):
        plan(REFUND, LOOK)


def test_a_misspelt_reference_is_never_taken_for_a_literal() -> None:
    with pytest.raises(ValidationError):
        plan(LOOK | {"args": {"night": {"ref": "step.look"}}})


def test_an_investigation_only_reads() -> None:
    with pytest.raises(ValidationError, match="only reads"):
        plan(LOOK, REFUND, kind="investigation")


def test_equal_plans_have_equal_hashes_in_every_process() -> None:
    """R3 R16"""
    text = plan(LOOK, REFUND).model_dump_json()
    code = f"from graphs.planning.plan import Plan; print(Plan.model_validate_json({text!r}).hash)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == plan(LOOK, REFUND).hash


def test_any_edit_gives_another_hash() -> None:
    """R3"""
    edits = [plan(LOOK), plan(LOOK, REFUND | {"gate": "g"}), plan(LOOK, REFUND, goal="Repair")]
    assert len({edit.hash for edit in [plan(LOOK, REFUND), *edits]}) == 4


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (single("charges.void"), "there is no tool"),
        (single("tables.drop", args={"table": "t"}), "is a destructive"),
        (single(args={"charge": "ch_000001", "amount": 5, "to": "x"}), "takes no argument 'to'"),
        (single(args={"charge": "ch_000001"}), "'amount' of 'charges.refund' is missing"),
        (single(args={"charge": "ch_000001", "amount": "5"}), "'5': Input should be a valid integer"),
        (single(args={"charge": "ch_000001", "amount": True}), "True: Input should be a valid integer"),
        (single(args={"charge": "ch_000001", "amount": 0}), "0: Input should be greater than 0"),
        (single(args={"charge": "somebody", "amount": 5}), "'somebody': String should match pattern"),
        (
            single(args={"charge": "ch_000001", "amount": 5, "reason": "fun"}),
            "'fun': Input should be 'duplicate' or 'goodwill'",
        ),
        (single("charges.refund_batch", args={"charges": "h_abcdef"}), "should be an object"),
        (single("tickets.answer", args={"ticket": "t", "text": 5}), "5: Input should be a valid string"),
        (single("jobs.pause", args={}, batch=REFUND["batch"]), "takes no argument 'charges'"),
        (single("jobs.pause", args={}, batch=REFUND["batch"] | {"into": "job"}), "it takes no part of a result"),
        (single("jobs.pause", args={"job": "j"}, expect="true"), "looks at no result"),
        (single("jobs.pause", args={"job": "j"}, expect="result.paused = true"), "is not valid"),
        (single("jobs.pause", args={"job": "j"}, when="result.paused"), "undeclared"),
        (single("jobs.pause", args={"job": "j"}, when="steps.later.count > 0"), "undeclared"),
        (single("jobs.pause", args={"job": "j"}, compensate={"tool": "jobs.stop", "args": {}}), "is no tool"),
        (single("jobs.pause", args={"job": "j"}, compensate={"tool": "jobs.resume", "args": {}}), "compensation"),
        (
            single("jobs.pause", args={"job": "j"}, compensate={"tool": "tickets.answer", "args": {}}),
            "by 'jobs.resume'",
        ),
        (
            single("sets.split", "read", args={"rows": {"ref": "steps.look.found"}, "cases": ["odd: a +"]}),
            "is not valid",
        ),
    ],
)
def test_what_cannot_be_run_is_named(step: dict[str, Any], says: str) -> None:
    """R2"""
    problems = validate(plan(LOOK, step), CARDS)
    assert any(says in problem and "'act'" in problem for problem in problems), problems


def test_a_model_may_pass_on_references_flags_choices_and_defaults() -> None:
    """R5"""
    act = single(args={"charge": {"ref": "inputs.charge"}, "amount": {"ref": "steps.look.sum"}, "reason": "duplicate"})
    assert validate(plan(LOOK, act, source="model", inputs={"charge": "ch_000001"}), CARDS) == []


@pytest.mark.parametrize(
    "args",
    [
        {"charge": "ch_000001", "amount": {"ref": "steps.look.sum"}},
        {"charge": {"ref": "steps.look.first"}, "amount": 5},
    ],
)
def test_a_model_may_not_write_ids_and_amounts(args: dict[str, Any]) -> None:
    """R5 R17"""
    assert "is a literal" in validate(plan(LOOK, single(args=args), source="model"), CARDS)[0]
    assert validate(plan(LOOK, single(args=args)), CARDS) == []


def test_a_model_may_not_write_the_arguments_of_a_compensation() -> None:
    undo = {"tool": "jobs.resume", "args": {"job": "payroll"}}
    act = single("jobs.pause", args={"job": {"ref": "inputs.job"}}, compensate=undo)
    assert "is a literal" in validate(plan(act, source="model", inputs={"job": "j"}), CARDS)[0]


def test_a_model_may_repeat_what_a_person_wrote_into_a_runbook() -> None:
    act = single("jobs.pause", args={"job": "invoice-retry"})
    assert validate(plan(act, source="model"), CARDS, literals(plan(act))) == []


def test_what_outsiders_wrote_stays_marked_through_later_steps() -> None:
    """R49"""
    read = single("tickets.read", "read", id="ticket", args={"ticket": "t1"})
    look = LOOK | {"args": {"night": {"ref": "steps.ticket.night"}}}
    assert taint_of(plan(read, look, REFUND), CARDS) == {"ticket", "look", "refund"}


def test_a_model_may_not_turn_what_outsiders_wrote_into_an_effect() -> None:
    """R49"""
    read = single("tickets.read", "read", id="ticket", args={"ticket": {"ref": "inputs.ticket"}})
    act = single(args={"charge": {"ref": "steps.ticket.charge"}, "amount": {"ref": "steps.ticket.amount"}})
    problems = validate(plan(read, act, source="model", inputs={"ticket": "t1"}), CARDS)
    assert len(problems) == 2
    assert "outsider" in problems[0]
