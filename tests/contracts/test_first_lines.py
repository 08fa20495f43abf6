"""README's twelve lines run as printed: to the interrupt, through a decision, to the end, and back over the history."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.measures import ROOT

README = (ROOT / "README.md").read_text()
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_lines_of_the_readme_lead_a_run_to_its_end(tmp_path: Path) -> None:
    """R124"""
    program = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert program.returncode == 0, program.stderr
    first, *history = program.stdout.splitlines()
    assert first.startswith("{'kind': 'approval'")
    assert history[0] == "-1 ('__start__',)"
    assert "5 ('gate',)" in history
    assert history[-1].endswith(" ()")


def test_the_readme_is_short_and_says_what_it_is_on_its_first_screen() -> None:
    lines = README.splitlines()
    assert len(lines) <= 160
    screen = "\n".join(lines[:50])
    for term in ("LangGraph", "`StateGraph`", "`interrupt()`", "resume", "checkpointer", "thread", "store", "stream"):
        assert term in screen
