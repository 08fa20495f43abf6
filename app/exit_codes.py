"""Exit codes of the command line; docs/commands.md says what they mean."""

OK, FAILURE, USAGE, WAITING, DENIAL, BUDGET, BAD_JOURNAL, UNAVAILABLE, INTERRUPTION = 0, 1, 2, 3, 4, 5, 6, 69, 130
