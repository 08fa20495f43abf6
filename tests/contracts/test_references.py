"""The references of settings and commands are those of the code."""

from tests.contracts import references


def test_the_settings_page_is_that_of_the_code() -> None:
    assert references.SETTINGS.read_text() == references.settings_page(), "run: python -m tests.contracts.references"


def test_the_commands_page_is_that_of_the_command_line() -> None:
    assert references.COMMANDS.read_text() == references.commands_page(), "run: python -m tests.contracts.references"
