"""The tree of commands: what one command line needs is imported, and the list of all says what each says of itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli import app
from app.client_settings import ClientSettings, load_client
from app.commands import tree
from app.commands.terminal import table
from app.commands.tree import BRANCHES
from app.settings import load
from memory.errors import Permanent

_LOADED = """
import sys
from app import cli
cli.run({argv})
print(*[name for name in {names} if name in sys.modules])
"""
_HEAVY = ("rich", "httpx2", "psycopg", "pydantic", "app.settings", "app.client", "app.commands.terminal", "fastapi")


def loaded(folder: Path, *argv: str, names: tuple[str, ...], **environ: str) -> list[str]:
    """Return which of these modules a command line has imported when it ends."""
    script = _LOADED.format(argv=list(argv), names=names)
    process = subprocess.run(
        [sys.executable, "-c", script], env=environ, cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return process.stdout.splitlines()[-1].split()


def test_help_imports_no_command(tmp_path: Path) -> None:
    files = (Path(tree.__file__).parent).glob("*.py")
    commands = tuple(f"app.commands.{file.stem}" for file in files if file.stem not in ("__init__", "signs", "tree"))
    assert loaded(tmp_path, "--help", names=(*_HEAVY, *commands)) == []


def test_a_command_imports_its_own_module_and_what_it_asks_with(tmp_path: Path) -> None:
    """Neither the model of all settings nor what draws on terminals."""
    names = ("rich", "psycopg", "app.settings", "app.commands.approvals", "app.commands.live", "fastapi", "langgraph")
    environ = {"COUNTERSIGN_URL": "http://127.0.0.1:9", "COUNTERSIGN_KEY": "x"}
    assert loaded(tmp_path, "runs", "ls", names=(*names, "httpx2"), **environ) == ["httpx2"]


@pytest.mark.parametrize("name", BRANCHES)
def test_the_list_says_what_each_command_says_of_itself(name: str) -> None:
    root: Any = get_command(app)
    text = " ".join(root.get_command(None, name).help.split())
    assert text.startswith(BRANCHES[name].help.rstrip("."))


@pytest.mark.parametrize(
    "environ",
    [
        {"COUNTERSIGN_URL": "http://one/", "COUNTERSIGN_KEY": "k"},
        {"COUNTERSIGN_URL": "http://one"},
        {"COUNTERSIGN_URL": "http://one", "COUNTERSIGN_KEY": "", "COUNTERSIGN_LANES": "3"},
        {"COUNTERSIGN_PORT": "8100", "countersign_key": "k"},
        {},
    ],
    ids=repr,
)
def test_a_client_goes_where_all_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    whole = load()
    assert load_client() == ClientSettings(whole.api, whole.key.get_secret_value() if whole.key else None)


@pytest.mark.parametrize("file", ["countersign.toml", ".env"])
def test_a_client_looks_into_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNTERSIGN_URL", "http://one")
    (tmp_path / file).write_text('key = "k"' if file.endswith("toml") else "COUNTERSIGN_KEY=k")
    assert load_client() == ClientSettings("http://one", "k")


def test_a_wrong_name_of_ours_stops_a_client_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_URL", "http://one")
    monkeypatch.setenv("COUNTERSIGN_KAY", "x")
    with pytest.raises(Permanent, match="COUNTERSIGN_KEY"):
        load_client()


ROWS = [{"run": "a" * 36, "reason": None, "n": 5, "text_of": "two words"}, {"run": "b", "reason": "x" * 20, "n": 12}]


def test_a_plain_table_is_the_one_that_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """Of two ways to print it the quick one is taken where nobody looks at a screen and all signs are ASCII."""
    columns = ("run", "reason", "n", "text_of")
    table(ROWS, columns, "")
    plain = capsys.readouterr().out
    table([{**ROWS[0], "text_of": "two wörds"}, ROWS[1]], columns, "")
    drawn = capsys.readouterr().out
    assert [line.rstrip().replace("o", "ö") for line in plain.splitlines()] == [
        line.rstrip().replace("o", "ö") for line in drawn.splitlines()
    ]
