"""The import contracts hold, and each of them really catches what it forbids."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.measures import ROOMS, ROOT

VIOLATIONS = {
    "Four rooms": ("memory/planted.py", "def later():\n    import tools.action\n"),
    "Effects are claimed": ("tools/planted.py", "from tools import effects\n"),
    "Adapters are discovered": ("app/planted.py", "import tools.adapters.planted_a\n"),
    "Who plans": ("graphs/draft.py", "import tools.gateway\n"),
    "Adapters do not know": ("tools/adapters/planted_b.py", "from tools.adapters import planted_a\n"),
    "Nodes do not know": ("graphs/nodes/planted.py", "from graphs.nodes import planner\n"),
    "No cycles": ("memory/scope.py", "import memory.journal\n"),
    "Only the lower rooms": ("graphs/planted.py", "import psycopg\n"),
    "The demo business": ("app/settings.py", "import app.world\n"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the sources, with an adapter that every installation could have."""
    folder = tmp_path_factory.mktemp("copy")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tools/adapters/planted_a.py").touch()
    return folder


def _broken(folder: Path) -> str:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if " BROKEN" in line)


def test_every_contract_is_kept() -> None:
    assert _broken(ROOT) == ""


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(copy: Path, contract: str) -> None:
    """R5: nothing that plans can reach anything that acts, not even through other modules."""
    name, line = VIOLATIONS[contract]
    path = copy / name
    before = path.read_text() if path.exists() else None
    path.write_text((before or "") + line)
    try:
        assert contract in _broken(copy)
    finally:
        path.write_text(before) if before is not None else path.unlink()
