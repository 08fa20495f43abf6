"""Runbooks: plans as data, refused with a sentence that names what is wrong."""

from pathlib import Path

import pytest

from graphs.planning import runbooks
from graphs.planning.validation import validate
from memory.errors import Permanent
from tests.graphs.cards import CARDS
from tests.graphs.texts import DOUBLE, REFUND, TABLE


@pytest.mark.parametrize("text", [DOUBLE, REFUND, TABLE])
def test_a_runbook_is_a_plan_that_fits_the_catalogue(text: str) -> None:
    document = runbooks.parse(text)
    inputs = runbooks.examples(document.runbook)
    repair = runbooks.plan(document.runbook, "goal", inputs)
    assert validate(repair, CARDS) == []
    assert [(pin.id, pin.version) for pin in repair.pins] == [(document.runbook.id, document.runbook.version)]


def test_the_text_is_what_people_read() -> None:
    document = runbooks.parse(DOUBLE, version=7)
    assert (document.title, document.text) == ("Double charge", DOUBLE)
    assert document.runbook.version == 7


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("---\nid", "id", "begins with a line"),
        ("\n---\n# Double", "\n# Double", "closed by a line"),
        ("review_by: 2027-05-31", "review_by: 2027-15-31", "date or number that is none"),
        ("review_by: 2027-05-31", "review_by: 0", "YYYY-MM-DD"),
        ("version: ", "version: 1.", "version"),
        ("severity: high", "severity: [", "no valid YAML"),
        ("severity: high", "severity: fun", "severity"),
        ("utterances: [billed twice, ", "utterances: [", "utterances"),
        ("review_by: 2027-05-31", "review_by: soon", "review_by"),
        ("owner: billing", "owner: billing\nnotes: none", "notes"),
        ("    backout: Refunds cannot be taken back.\n", "", "backout"),
        ("id: shop.double-charge", "id: Double Charge", "id"),
        ("from: probe, value: result.found.count", "from: probe", "rows"),
        ("from: probe, value", "from: ticket, value", "rows"),
    ],
)
def test_a_text_that_is_no_runbook_is_refused_by_name(old: str, new: str, says: str) -> None:
    with pytest.raises(Permanent, match=says) as refusal:
        runbooks.parse(DOUBLE.replace(old, new, 1))
    assert refusal.value.code == "plan_invalid"


@pytest.mark.parametrize(
    ("text", "old", "new", "says"),
    [
        (DOUBLE, "tool: jobs.pause", "tool: jobs.stop", "no tool 'jobs.stop'"),
        (DOUBLE, "result.count > 0}\nnothing", "result.count > inputs.most}\nnothing", "undeclared"),
        (DOUBLE, "value: result.found.count", "value: found.count", "undeclared"),
        (DOUBLE, "ref: inputs.job", "ref: inputs.jobs", "nothing before it provides"),
        (DOUBLE, "probe: {tool: charges.duplicates", "probe: {tool: jobs.pause, args: {job: x}", "is a write"),
        (REFUND, "ref: inputs.charge}}\n  condition", "ref: inputs.sum}}\n  condition", "not known before it"),
        (REFUND, "result.customers > 1", "result.customers >", "is not valid"),
        (REFUND, "tool: charges.show\n  args: {charge:", "tool: tickets.read\n  args: {ticket:", "outsiders wrote"),
    ],
)
def test_what_cannot_be_run_is_found_before_anyone_asks(text: str, old: str, new: str, says: str) -> None:
    new_text = text.replace(old, new, 1)
    assert new_text != text
    problems = runbooks.problems(runbooks.parse(new_text).runbook, CARDS)
    assert any(says in problem for problem in problems), problems


def test_a_folder_is_read_whole_and_by_id(tmp_path: Path) -> None:
    for number, text in enumerate((TABLE, DOUBLE)):
        (tmp_path / f"{number}.md").write_text(text)
    assert [document.runbook.id for document in runbooks.load(tmp_path)] == ["db.table-full", "shop.double-charge"]


@pytest.mark.parametrize("second", [DOUBLE, "no front matter"])
def test_a_broken_or_repeated_file_is_named(tmp_path: Path, second: str) -> None:
    (tmp_path / "a.md").write_text(DOUBLE)
    (tmp_path / "b.md").write_text(second)
    with pytest.raises(Permanent, match=r"'b\.md'") as refusal:
        runbooks.load(tmp_path)
    assert refusal.value.code == "configuration"


def test_the_same_inputs_give_the_same_plan() -> None:
    """R16"""
    first, second = (
        runbooks.plan(runbooks.parse(DOUBLE).runbook, "g", {"job": "j", "canary": 1, "rows": 2}) for _ in "ab"
    )
    assert first.hash == second.hash


GOOD = (runbooks.FOLDER / "billing.single-refund.md").read_text()
ARGS = "    gate: refund\n    args: {charge: {ref: inputs.charge}, amount: {ref: inputs.amount}}\n"
TWO_ARGS = ARGS.replace("    args:", "    args: {charge: {ref: inputs.charge}, amount: 1}\n    args:")


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        (GOOD.replace("severity: low\n", "severity: low\nbudget: {tokens: 1, micros: 1, calls: 1}\n", 1), False),
        (GOOD.replace(ARGS, TWO_ARGS, 1), False),
        (GOOD.replace("\n", "\r\n"), True),
        ("\ufeff" + GOOD, True),
        (GOOD.replace("---\n", "--- \n", 1), True),
        (GOOD.rstrip("\n"), True),
        (GOOD.replace("  - id: before", "\t- id: before"), False),
    ],
    ids=["key twice", "args twice", "crlf", "bom", "trailing space", "no newline at end", "tabs"],
)
def test_what_people_review_is_what_runs(text: str, is_read: bool) -> None:
    """A file as editors of other systems save it is read, and one that can be read two ways is refused by name."""
    assert text != GOOD
    if is_read:
        assert runbooks.parse(text, version=1).runbook == runbooks.parse(GOOD, version=1).runbook
        return
    with pytest.raises(Permanent, match=r"a second time, in line|no valid YAML"):
        runbooks.parse(text, version=1)
