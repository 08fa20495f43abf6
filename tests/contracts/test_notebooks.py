"""The notebooks are stored with their outputs, run from top to bottom, and show the same again."""

from pathlib import Path

import pytest

from tests.contracts import notebooks
from tests.contracts.notebooks import NOTEBOOKS, printed, read

pytestmark = pytest.mark.anyio
EXPECTED = {
    "langgraph": ["<svg ", "waiting approval", "dave decides: approved", "'permitted', 'outcome'"],
    "checkpoints": ["'decision': 'approve'", "denied approval_rejected", "0 effects", "+++ rejected"],
    "memory": [
        "forged scope: 0 found\nrewritten setting: 0 rows",
        "left out: {'expired': 0, 'superseded': 1,",
        "bob sees []\nforbidden",
        "left: 0\na tool says it again: tainted",
        "journal and tables hold: True",
    ],
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_the_outputs_that_its_text_promises(path: Path) -> None:
    """R92 R94: whom a memory belongs to, why it was found, what would leave and what is left after forgetting."""
    outputs = "\n".join(printed(read(path)))
    assert [text for text in EXPECTED[path.stem] if text not in outputs] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
async def test_a_notebook_shows_the_same_when_it_runs_again(path: Path, tmp_path: Path) -> None:
    """R124 R112: history, state at the gate, a fork that is rejected and has no effects, and the difference."""
    assert printed(await notebooks.execute(path, tmp_path)) == printed(read(path)), (
        "python -m tests.contracts.notebooks"
    )
