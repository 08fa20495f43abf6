"""Examples of policies: promises in comments, that the rules must keep before they are put in force."""

from pathlib import Path

import pytest

from memory.errors import Permanent
from tests.tools.support import POLICY, TOOLS
from tools import policy_examples
from tools.catalog import Catalog
from tools.policy import PolicySet

POLICIES = PolicySet({"test.cedar": POLICY}, Catalog(TOOLS).cards)


def test_examples_are_found_in_comments_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text('//! hold:2 executor shop.refund {"exposure": 1001}\n' + POLICY)
    (promise,) = policy_examples.read(tmp_path)
    assert (promise.file, promise.line, promise.verdict, promise.tool) == ("a.cedar", 1, "hold:2", "shop.refund")
    assert promise.judged_by(POLICIES) == "hold:2"


@pytest.mark.parametrize(
    "facts", ['{"amount": 1, "amount": 2}', '{"amount": ', "{1}", "amount 5", "", '{"amuont": 1}', '{"facts": "a=b"}']
)
def test_an_example_that_can_be_read_two_ways_or_none_is_refused(tmp_path: Path, facts: str) -> None:
    """An example that nobody reads would promise what nobody checks."""
    (tmp_path / "p.cedar").write_text(f"// one\n//! allow executor shop.pay {facts}\n")
    with pytest.raises(Permanent, match=r"'p\.cedar', line 2"):
        policy_examples.read(tmp_path)


@pytest.mark.parametrize(
    ("promise", "verdict"),
    [
        ('allow executor shop.refund {"amount": 13}', "deny:policy_denied"),
        ("hold:1 executor shop.charge {}", "allow"),
        ('hold:1 executor shop.refund {"exposure": 1001}', "hold:2"),
        ("allow executor shop.none {}", "deny:policy_error"),
        ('allow executor shop.charge {"tainted": "no"}', "deny:policy_error"),
    ],
)
def test_an_example_that_does_not_hold_is_named_by_file_and_line(tmp_path: Path, promise: str, verdict: str) -> None:
    (tmp_path / "a.cedar").write_text(f"//! allow executor shop.charge {{}}\n\n//! {promise}\n")
    with pytest.raises(Permanent) as error:
        policy_examples.check(POLICIES, tmp_path)
    assert "'a.cedar', line 3" in str(error.value)
    assert f"is {verdict}, not {promise.split(maxsplit=1)[0]}" in str(error.value)
