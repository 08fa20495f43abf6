"""The references of settings and commands are those of the code."""

import re
import shlex
from typing import Any

import typer

from app.cli import app
from tests.contracts import references
from tests.contracts.test_repository import files


def test_the_settings_page_is_that_of_the_code() -> None:
    assert references.SETTINGS.read_text() == references.settings_page(), "run: python -m tests.contracts.references"


def test_the_commands_page_is_that_of_the_command_line() -> None:
    assert references.COMMANDS.read_text() == references.commands_page(), "run: python -m tests.contracts.references"


def test_every_command_that_a_document_names_exists_with_its_options() -> None:
    """In fences and in running text, up to the first word that is neither a command nor an option."""
    unknown = [f"{name}: {line}" for name, line in _command_lines() if not _is_known(shlex.split(line, posix=False))]
    assert unknown == []


def test_every_setting_that_a_document_names_exists() -> None:
    known = set(re.findall(r"COUNTERSIGN_\w+", references.SETTINGS.read_text()))
    known |= {f"{name}_FILE" for name in known}
    names = {name for _, text in _documents() for name in re.findall(r"\bCOUNTERSIGN_[A-Z_]*[A-Z]\b", text)}
    assert names - known == set()


def _documents() -> list[tuple[str, str]]:
    return [
        (path.name, path.read_text(encoding="utf-8"))
        for path in files()
        if path.suffix == ".md" and path != references.COMMANDS
    ]


def _command_lines() -> list[tuple[str, str]]:
    """Return what documents write after `countersign`, by document."""
    patterns = (r"`countersign ([^`]+)`", r"^(?:\.venv/bin/)?countersign ([^#\n]+)")
    return [
        (name, line.replace("\n", " "))
        for name, text in _documents()
        for pattern in patterns
        for line in re.findall(pattern, text, re.MULTILINE)
    ]


def _is_known(words: list[str]) -> bool:
    """Return whether a line begins with a command, and has no options that the command lacks."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and (below := command.get_command(None, words[0])):
        command, words = below, words[1:]
    known_options = (option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))
    options = {"--debug", "--help", "--json", *known_options}
    asked = {word.split("=", 1)[0] for word in words if word.startswith("--")}
    return not (hasattr(command, "commands") and words and not words[0].startswith("-")) and asked <= options
