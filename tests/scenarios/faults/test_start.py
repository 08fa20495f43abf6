"""Faults of the rules themselves: a process that cannot read them, or understands them otherwise, does not start."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memory.errors import Permanent
from tests.scenarios.faults import page
from tools.catalog import Catalog
from tools.policy import PolicySet

SHIPPED = Path(__file__).parents[3] / "tools" / "policies"


def spoil(text: str) -> Callable[[Path], None]:
    """Return a change that writes another text into a policy file."""

    def change(folder: Path) -> None:
        (folder / "tickets.cedar").write_text(text)

    return change


def replace(old: str, new: str) -> Callable[[Path], None]:
    """Return a change that replaces a text in the billing rules."""

    def change(folder: Path) -> None:
        text = (folder / "billing.cedar").read_text()
        assert old in text
        (folder / "billing.cedar").write_text(text.replace(old, new))

    return change


def is_binary(folder: Path) -> None:
    """Make a policy file that is no text."""
    (folder / "tickets.cedar").write_bytes(b"\xff\xfe\x00")


CHANGES = {
    "no Cedar": spoil("permit everything please"),
    "an approval rule that needs nobody": replace('@approvals("2")', '@approvals("0")'),
    "an unattended tool that is not there": spoil("// unattended: tickets.nothing\n"),
    "a fact that no tool has": spoil(
        '@id("x") @layer("hard") forbid (principal, action, resource) when { context.shoe };'
    ),
    "a rule without a layer": spoil('@id("x") forbid (principal, action, resource);'),
    "no text": is_binary,
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_rules_that_cannot_be_read_are_a_configuration_error(tmp_path: Path, change: Callable[[Path], None]) -> None:
    shutil.copytree(SHIPPED, tmp_path / "rules")
    change(tmp_path / "rules")
    with pytest.raises(Permanent) as refusal:
        PolicySet.load(Catalog.discover().cards, tmp_path / "rules")
    assert refusal.value.code == "configuration"


def test_the_page_of_faults_is_up_to_date() -> None:
    assert page.PAGE.read_text() == page.page(), "run: python -m tests.scenarios.faults.page"
