"""Rules for files of the repository: addresses, paths, claims, licences, locks."""

import fnmatch
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.measures import ROOT

_REGISTRIES = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "npm" + "js.",
    "ghcr" + ".io",
    "docker" + ".io",
    "quay" + ".io",
)
_MACHINE = re.compile(r"(?<![\w.$}])/(?:work|home|Users|root|tmp)/[\w.]")
_CLAIMS = re.compile(r"exactly[ -]once|tamper-?proof|\bsandboxed\b|unhackable|100 ?% safe", re.IGNORECASE)
_PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def files() -> Iterator[Path]:
    """Yield every file that a clone would hold."""
    patterns = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()] + [".git"]
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
                if path.is_dir():
                    folders.append(path)
                else:
                    yield path


def _texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    for path in files():
        if not suffixes or path.suffix in suffixes:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("host", _REGISTRIES)
def test_no_registry_is_named(host: str) -> None:
    """Where packages come from is the installation's business: a mirror must do as well."""
    assert [name for name, text in _texts() if host in text] == []


def test_no_path_of_one_machine_is_written_down() -> None:
    assert [name for name, text in _texts() if _MACHINE.search(text)] == []


def test_documents_claim_only_what_is_shown() -> None:
    assert [name for name, text in _texts(".md", ".ipynb") if _CLAIMS.search(text)] == []


def _lock(name: str) -> str:
    return (ROOT / name).read_text()


LOCKS = [f"requirements/{name}.lock" for name in ("dev", "run", "embeddings", "notebooks", "installer")]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashes_and_no_address(name: str) -> None:
    """R67: every distribution is the one that was looked at, wherever it is fetched from."""
    blocks = re.split(r"\n(?=\w)", _lock(name))
    assert "://" not in _lock(name)
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_images_run_what_was_tested() -> None:
    dev_pins = dict(_PIN.findall(_lock("requirements/dev.lock")))
    run_pins = dict(_PIN.findall(_lock("requirements/run.lock")))
    assert run_pins.items() <= dev_pins.items()
    assert not {"pytest", "ruff"} & run_pins.keys()


def test_locks_answer_the_declared_dependencies(tmp_path: Path) -> None:
    fresh = tmp_path / "requirements.lock"
    shutil.copy(ROOT / "requirements/dev.lock", fresh)
    uv = [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    extras = ["--extra", "models", "--extra", "notebooks", "--group", "dev"]
    options = ["--universal", "--generate-hashes", *extras, "pyproject.toml", "-o", fresh]
    result = subprocess.run([*uv, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if re.search(r"(?i)fetch|connect|dns|network|timed out|offline", result.stderr):
        pytest.skip("the package index does not answer")
    assert result.returncode == 0, result.stderr
    assert _PIN.findall(fresh.read_text()) == _PIN.findall(_lock("requirements/dev.lock"))


def test_git_refuses_the_other_lock_file(tmp_path: Path) -> None:
    """It would carry the addresses of whatever index wrote it."""
    assert not (ROOT / "uv.lock").exists()
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (tmp_path / "uv.lock").touch()
    subprocess.run([git, "init", "--quiet", "."], cwd=tmp_path, check=True)
    result = subprocess.run([git, "add", "uv.lock"], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode != 0


def _licence(name: str) -> str:
    metadata = importlib.metadata.metadata(name)
    values = [value for key in ("License-Expression", "License", "Classifier") for value in metadata.get_all(key) or []]
    return " ".join(value[:80] for value in values if "::" not in value or value.startswith("License"))


def test_nothing_installed_is_under_the_gpl() -> None:
    """The LGPL of the Postgres driver is fine for a plain dependency."""
    strict = re.compile(r"\bA?GPL|GNU (?:Affero )?General Public")
    present = {distribution.name.lower().replace("_", "-") for distribution in importlib.metadata.distributions()}
    names = [name for name, _ in _PIN.findall(_lock("requirements/dev.lock")) if name in present]
    assert [name for name in names if strict.search(_licence(name))] == []


def test_direct_dependencies_have_the_licences_that_were_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w-]", line, maxsplit=1)[0] for line in project["dependencies"]]
    unknown = {"cedarpy"}  # Apache-2.0 by the file it ships; its metadata are silent
    licences = re.compile(r"MIT|BSD|Apache|LGPL-3.0-only|Public Domain")
    assert [name for name in names if name not in unknown and not licences.search(_licence(name))] == []


_HELP = """
import sys
from app.cli import main
sys.argv = ["countersign", "--help"]
try:
    main()
finally:
    print("loaded:", sorted({name.partition(".")[0] for name in sys.modules} & {"langgraph", "mcp", "langchain_core"}))
"""


def test_the_command_line_starts_without_the_engine() -> None:
    result = subprocess.run([sys.executable, "-c", _HELP], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "loaded: []" in result.stdout, result.stdout + result.stderr
