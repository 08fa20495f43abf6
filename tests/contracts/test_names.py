"""Names say what they hold: of each folder only a few are pronouns or participles."""

from pathlib import Path

import pytest

from tests.contracts.measures import ROOT
from tests.contracts.names import LIMIT, PART_LIMIT, measure


@pytest.mark.parametrize("folder", ["app", "graphs", "tools", "memory", "tests"])
def test_few_names_are_pronouns_or_participles(folder: str) -> None:
    share = measure(ROOT / folder)
    assert share.names > 1_000
    assert share.percent <= LIMIT, share.empty.most_common(12)
    assert share.part_percent <= PART_LIMIT, share.partly.most_common(12)


def test_what_is_counted(tmp_path: Path) -> None:
    """Every binding counts, of arguments and attributes too; names of the language are left out."""
    (tmp_path / "module.py").write_text(
        "import json as told\n"
        "class Found:\n    def __eq__(self, other): self.kept = other\n"
        "def is_closed(rows, seen):\n    given, total = rows\n    return [each for each in given]\n"
    )
    share = measure(tmp_path)
    assert set(share.empty) == {"told", "Found", "kept", "seen", "given", "each"}
    assert set(share.partly) - set(share.empty) == {"is_closed"}
