"""Shipped runbooks: valid against the real catalogue, without any registration."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from graphs.planning import runbooks
from graphs.planning.runbooks import RunbookDocument
from graphs.planning.validation import taint_of
from memory.errors import Permanent
from memory.knowledge.models import check
from tools.catalog import Catalog, ToolCard

RUNBOOKS = {document.runbook.id: document for document in runbooks.load()}
OLD = Path(__file__).parents[1] / "graphs" / "data" / "db.disk-full.v2.md"


@pytest.fixture(scope="module")
def cards() -> Mapping[str, ToolCard]:
    return Catalog.discover().cards


def test_the_default_install_ships_three_runbooks() -> None:
    assert RUNBOOKS.keys() >= {"billing.double-charge", "billing.single-refund", "db.disk-full"}


@pytest.mark.parametrize("document", RUNBOOKS.values(), ids=RUNBOOKS)
def test_a_shipped_runbook_fits_the_catalogue(document: RunbookDocument, cards: Mapping[str, ToolCard]) -> None:
    """R2"""
    assert runbooks.problems(document.runbook, cards) == []


@pytest.mark.parametrize("document", RUNBOOKS.values(), ids=RUNBOOKS)
def test_a_shipped_runbook_is_a_knowledge_item_named_like_its_file(document: RunbookDocument) -> None:
    item = runbooks.item(document)
    check(item)
    assert (runbooks.FOLDER / f"{item.id}.md").read_text() == item.body
    assert item.review_by > date(2026, 11, 21)


@pytest.mark.parametrize("document", RUNBOOKS.values(), ids=RUNBOOKS)
def test_no_shipped_runbook_acts_on_what_outsiders_wrote(
    document: RunbookDocument, cards: Mapping[str, ToolCard]
) -> None:
    """R49"""
    plan = runbooks.plan(document.runbook, "", runbooks.examples(document.runbook))
    assert taint_of(plan, cards) == frozenset()


@pytest.mark.parametrize("document", RUNBOOKS.values(), ids=RUNBOOKS)
def test_what_cannot_be_taken_back_is_checked_or_comes_last(
    document: RunbookDocument, cards: Mapping[str, ToolCard]
) -> None:
    """Money and data, that is: a ticket too many is closed by hand."""
    steps = document.runbook.steps
    for index, step in enumerate(steps[:-1]):
        card = cards[step.tool]
        is_costly = "amount" in card.facts or card.effect == "destructive"
        if is_costly and not card.reversible:
            assert any(later.audit for later in steps[index + 1 :])


def test_every_playbook_that_a_tool_names_is_a_shipped_runbook(cards: Mapping[str, ToolCard]) -> None:
    playbooks = {card.playbook for card in cards.values() if card.effect != "read"}
    assert playbooks <= RUNBOOKS.keys()


def test_ten_come_before_the_rest_and_share_one_question_with_them() -> None:
    steps = {step.id: step for step in RUNBOOKS["billing.double-charge"].runbook.steps}
    assert list(steps).index("pause") < list(steps).index("duplicates") < list(steps).index("canary")
    assert {steps[name].gate for name in ("canary", "refund", "notify")} == {"refunds"}
    assert steps["canary_check"].audit
    assert steps["totals"].audit
    assert list(steps)[-1] == "notify"


def test_the_old_advice_to_drop_a_table_is_a_valid_runbook_that_policy_must_stop(cards: Mapping[str, ToolCard]) -> None:
    old = runbooks.parse(OLD.read_text()).runbook
    assert (old.id, old.version) == ("db.disk-full", 2)
    assert runbooks.problems(old, cards) == []
    assert "destructive" in {step.effect for step in old.steps}


def test_a_strangers_runbook_works_from_its_file_alone(tmp_path: Path, cards: Mapping[str, ToolCard]) -> None:
    (tmp_path / "ops.quiet-night.md").write_text(STRANGER)
    (document,) = runbooks.load(tmp_path)
    assert runbooks.problems(document.runbook, cards) == []


def test_a_strangers_mistake_is_named(tmp_path: Path, cards: Mapping[str, ToolCard]) -> None:
    (tmp_path / "a.md").write_text(STRANGER.replace("expect: result.count >= 0", "expect: results.count >= 0"))
    (document,) = runbooks.load(tmp_path)
    assert "'results.count'" in "".join(runbooks.problems(document.runbook, cards))
    (tmp_path / "a.md").write_text(STRANGER.replace("owner: me\n", ""))
    with pytest.raises(Permanent, match=r"'a\.md'.*owner"):
        runbooks.load(tmp_path)


STRANGER = """---
id: ops.quiet-night
version: 1
severity: low
owner: me
review_by: 2027-05-31
utterances: [was it quiet, nothing odd tonight, any open tickets, check the queue, look at the tickets]
probe: {tool: tickets.list, condition: result.count > 0}
nothing_wrong: No ticket is open.
steps:
  - {id: look, tool: tickets.list, effect: read, args: {status: open}, expect: result.count >= 0}
backout: Nothing is changed.
---
# Quiet night
"""
