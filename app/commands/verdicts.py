"""Commands of the group `journal` that judge again: verdicts from an export, and the policies in force at a moment."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app.commands.terminal import AsJson, ask, emit, note, say, show
from app.exit_codes import BAD_JOURNAL, USAGE
from memory.errors import Permanent

_SHOWN = 50
"""Differences and problems that are printed for people; `--json` has them all."""
_ExportFile = Annotated[Path, typer.Argument(help="An export of the journal.")]
_OwnPolicies = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Judge by the policies of this folder instead.")
]
_SomeExport = Annotated[Path | None, typer.Argument(help="An export of the journal; unset means to ask the service.")]
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ"]
_At = Annotated[datetime | None, typer.Option(formats=_TIMES, help="When, in UTC; unset means now.")]


def rederive(file: _ExportFile, policies: _OwnPolicies = None, as_json: AsJson = False) -> None:
    """Compute every verdict of an export again; exit code 6 if one differs."""
    # Only here: the policy engine takes longer to import than most commands to run.
    from tools import policy
    from tools.rederive import rederive as judge_again

    try:
        result = judge_again(file, policy.read_files([policies]) if policies else None)
    except Permanent as error:
        _refuse(error, as_json)
    show({"ok": result.ok, **asdict(result)}, as_json, _print_verdicts)
    if not result.ok:
        raise typer.Exit(BAD_JOURNAL)


def policy(file: _SomeExport = None, at: _At = None, as_json: AsJson = False) -> None:
    """Print the policies that were in force at a moment, from the journal alone."""
    from memory.evidence import policy_history

    moment = at.replace(tzinfo=UTC) if at else None
    if file is None:
        time = moment.isoformat() if moment else None
        show(ask(lambda api: api.get("/api/journal/policy", at=time)), as_json, _print_policy)
        return
    try:
        answer = policy_history.find_in(file, moment).as_json()
    except Permanent as error:
        if error.code != "bad_request":
            raise
        _refuse(error, as_json)
    show(answer, as_json, _print_policy)


def _refuse(error: Permanent, as_json: bool) -> NoReturn:
    note(f"{error.code}: {error}")
    if as_json:
        emit({"error": {"code": error.code, "detail": str(error)}})
    raise typer.Exit(USAGE)


def _print_verdicts(result: Mapping[str, Any]) -> None:
    different, problems = result["different"], result["problems"]
    for difference in different[:_SHOWN]:
        recorded, computed = _in_words(difference["recorded"]), _in_words(difference["computed"])
        say(f"run {difference['run']!r}, entry {difference['seq']}: recorded {recorded}, computed {computed}")
    for problem in problems[:_SHOWN]:
        say(f"{problem['location']}: {problem['message']}")
    if (more := max(len(different), _SHOWN) + max(len(problems), _SHOWN) - 2 * _SHOWN) > 0:
        say(f"and {more:,} more; --json prints all")
    say(
        f"{result['equal']:,} equal, {len(different):,} different, {result['forgotten']:,} forgotten, "
        f"{result['without_facts']:,} without facts, {result['without_text']:,} without text, "
        f"{len(problems):,} problem(s)"
    )


def _in_words(verdict: Mapping[str, Any]) -> str:
    """Return a verdict on one line, whatever somebody wrote into it."""
    details = ", ".join(f"{name} {value!r}" for name, value in verdict.items() if value not in (None, 0, []))
    return f"({details[:500]})"


def _print_policy(answer: Mapping[str, Any]) -> None:
    say(f"policy {answer['policy']!r} since {answer['since']}, by {answer['by']!r} (entry {answer['entry']})")
    if answer["files"] is None:
        say("its text was not kept: it was put in force by a release before this one")
        return
    for name, text in answer["files"].items():
        say(f"file {name!r}:")
        for line in text.split("\n"):
            say(f"    {line}")
