"""README and the page on extending do what they say: their files are added to a copy, their commands are run there."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from memory.postgres.embedded import attach
from tests.contracts.compose import free_port, wait_until
from tests.contracts.measures import ROOMS, ROOT
from tests.contracts.test_repository import files
from tests.fakes.openai_endpoint import endpoint

README = (ROOT / "README.md").read_text()
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^\*\*`([^`]+)`\*\*\n```\w+\n(.*?)^```$", EXTENDING, re.MULTILINE | re.DOTALL))
_LINK = re.compile(r"\]\((?!\w+:)([^)#]+)")
_OWN_VARIABLES = ("COUNTERSIGN_", "DATABASE_", "PYTEST_", "CS_TEST_")
_PEOPLE = ("alice", "bob", "dave")
_BIN = Path(sys.executable).parent


def test_every_link_leads_somewhere() -> None:
    dead_links = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in files()
        if path.suffix == ".md"
        for link in _LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert dead_links == []


def test_the_commands_of_make_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in files() if path.suffix == ".md"]
    targets = {target for text in texts for target in re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE)}
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@dataclass(frozen=True)
class Stranger:
    """Somebody with a copy of the sources who has only the README."""

    folder: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Settings besides those that keep this installation apart from others."""

    def add_files(self, names: Iterable[str]) -> None:
        """Write files of the page on extending where it says."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FILES[name])

    def run(self, *command: str, key: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command line of ours in the copy."""
        return subprocess.run(
            [_BIN / "countersign", *command],
            env=self.environment | {"COUNTERSIGN_KEY": key},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Return an environment in which the copy is what gets imported."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
        variables = {"COUNTERSIGN_DATA_DIR": str(self.folder / "data"), "COUNTERSIGN_PORT": str(self.port)}
        return {**outside, **variables, **self.settings, "PYTHONPATH": str(self.folder)}

    @contextmanager
    def serve(self) -> Generator[None]:
        """Keep API and worker running for the length of the block."""
        log = self.folder / "serve.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [_BIN / "countersign", "serve"], env=self.environment, cwd=self.folder, stdout=out, stderr=out
            )
        try:
            wait_until(lambda: process.poll() is not None or _answers(self.port))
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            process.wait(20)


def _answers(port: int) -> bool:
    script = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/readyz')"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def installation(run_folder: Path) -> Path:
    """Return a data folder made once for all workers: migrated, nobody uses it, keys of people beside the database."""
    folder = run_folder / "installation"
    with (run_folder / "installation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            newcomer = Stranger(ROOT, free_port(), {"COUNTERSIGN_DATA_DIR": str(folder)})
            with attach(folder):
                assert newcomer.run("migrate").returncode == 0
                keys = [newcomer.run("keys", "create", name, "--bootstrap").stdout.strip() for name in _PEOPLE]
            (folder / "keys.json").write_text(json.dumps(keys))
    return folder


@pytest.fixture
def stranger(run_folder: Path, installation: Path) -> Generator[Stranger]:
    """Return somebody whose installation worked before any file was added to it."""
    folder = run_folder / f"readme-{uuid4().hex[:8]}"
    for room in (*ROOMS, "tests"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    subprocess.run(["cp", "-a", installation, folder / "data"], check=True)
    yield Stranger(folder, free_port())
    shutil.rmtree(folder, ignore_errors=True)


def test_the_files_of_the_readme_are_those_that_it_promises() -> None:
    assert [Path(name).suffix for name in FILES] == [".py", ".py", ".cedar", ".md", ".py"]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py")])
def test_the_readmes_code_passes_our_own_checks(name: str) -> None:
    checks = [_BIN / "ruff", "check", "--stdin-filename", name, "-"]
    result = subprocess.run(checks, cwd=ROOT, input=FILES[name], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_the_files_of_the_readme_are_tested_without_being_named_anywhere(stranger: Stranger) -> None:
    """R66: cards, policy examples and runbooks that appear in a folder are checked by the tests that are there."""
    stranger.add_files(FILES)
    tests = [f"tests/contracts/test_{name}.py" for name in ("tools", "policies", "runbooks")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-vv", "-k", "status", *tests],
        env=stranger.environment,
        cwd=stranger.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    names = set(re.findall(r"status\.\w+", result.stdout))
    assert names >= {"status.read", "status.announce", "status.cedar", "status.outage"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tool_a_policy_a_runbook_and_a_flow_work_from_their_files_alone(stranger: Stranger) -> None:
    """R30 R140 R129: the page's commands, as they stand there; then somebody of operations countersigns."""
    stranger.add_files(FILES)
    stranger = replace(stranger, settings={"COUNTERSIGN_FLOWS_DIR": _exports()["COUNTERSIGN_FLOWS_DIR"]})
    migrate, call, chat, chat_with_flow, _ = re.findall(r"^countersign (.+)$", EXTENDING, re.MULTILINE)
    assert "is in force" in stranger.run(migrate).stdout
    alice, bob, dave = _keys(stranger)
    with stranger.serve():
        assert stranger.run(*call.split(), key=alice).returncode == 0
        approval = _open_approval(stranger, chat, alice)
        assert stranger.run("approvals", "approve", approval["id"], "--yes", key=bob).returncode != 0
        assert _countersign(stranger, approval, dave)["status"] == "done"
        assert (stranger.folder / "status.txt").read_text() == "We have an outage and are working on it."
        run = _countersign(stranger, _open_approval(stranger, chat_with_flow, alice), dave)
        _run_memory_commands(stranger, alice)
    assert (run["status"], run["flow"]) == ("done", "status_note")
    assert (stranger.folder / "status.txt").read_text() == "Invoices are late today."


@pytest.mark.slow
def test_the_same_files_work_from_folders_of_ones_own_and_with_a_model(stranger: Stranger, run_folder: Path) -> None:
    """Nothing of one's own has to stand in the checkout."""
    outside = run_folder / f"own-{uuid4().hex[:8]}"
    folders = {"adapters": "TOOLS", "policies": "POLICY", "runbooks": "RUNBOOK", "flows": "FLOWS"}
    for name, text in FILES.items():
        path = outside / Path(name).parent.name / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    settings = {f"COUNTERSIGN_{kind}_DIR": str(outside / name) for name, kind in folders.items()}
    migrate, call, _, chat_with_flow, chat_with_model = re.findall(r"^countersign (.+)$", EXTENDING, re.MULTILINE)
    with endpoint([_draft()]) as model:
        exports = _exports() | {"COUNTERSIGN_MODEL_BASE_URL": model.url} | settings
        stranger = replace(stranger, settings=exports)
        assert "is in force" in stranger.run(migrate).stdout
        alice, _, dave = _keys(stranger)
        with stranger.serve():
            assert stranger.run(*call.split(), key=alice).returncode == 0
            runs = [
                _countersign(stranger, _open_approval(stranger, chat, alice), dave)
                for chat in (chat_with_model, chat_with_flow)
            ]
            refusal = stranger.run("chat", "hello", "--flow", "status_nots", key=alice)
    plans = [(run["status"], run["flow"], run["plan"]["source"]) for run in runs]
    assert plans == [("done", "governed", "model"), ("done", "status_note", "given")]
    assert model.requests[0]["model"] == "gpt-5.4-mini"
    assert (refusal.returncode, "there are governed, status_note" in refusal.stderr) == (1, True)
    shutil.rmtree(outside)


def _exports() -> dict[str, str]:
    """Return the variables that the page on extending sets."""
    return {name: value for name, value in re.findall(r"^export (\w+)=(.+)$", EXTENDING, re.MULTILINE)}


def _draft() -> str:
    """Return the steps of the page's runbook as a model would write them."""
    front = yaml.safe_load(FILES["graphs/runbooks/status.outage.md"].split("---")[1])
    return json.dumps({"goal": "as asked", "steps": front["steps"], "backout": front["backout"]})


def _keys(stranger: Stranger) -> list[str]:
    return json.loads((stranger.folder / "data" / "keys.json").read_text())


def _open_approval(stranger: Stranger, command: str, key: str) -> dict[str, Any]:
    """Run a chat command, which ends with exit code 3, and return the approval that it opened."""
    chat = stranger.run(*shlex.split(command), key=key)
    assert chat.returncode == 3, chat.stderr
    (approval,) = json.loads(stranger.run("approvals", "ls", "--status", "open", "--json", key=key).stdout)["items"]
    return approval


def _countersign(stranger: Stranger, approval: dict[str, Any], key: str) -> dict[str, Any]:
    """Approve and return the run as it ended."""
    assert stranger.run("approvals", "approve", approval["id"], "--yes", key=key).returncode == 0
    run = stranger.run("runs", "show", approval["run"], "--follow", "--json", key=key)
    return json.loads(run.stdout)


def _run_memory_commands(stranger: Stranger, key: str) -> None:
    """Run the README's commands about memory; what is irreversible asks back, so a script says yes."""
    commands = re.findall(r"^countersign (memory .+?)(?: +#.*)?$", README, re.MULTILINE)
    add, search, prune, forget = [stranger.run(*shlex.split(command), key=key) for command in commands]
    assert "remembered as" in add.stdout
    assert "invoices go out on Fridays" in search.stdout
    assert prune.stdout == "nothing has to leave\n"
    assert forget.returncode != 0
    assert "receipt" in stranger.run(*shlex.split(commands[-1]), "--yes", key=key).stdout
    assert "invoices" not in stranger.run(*shlex.split(commands[1]), key=key).stdout
