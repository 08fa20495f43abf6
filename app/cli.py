"""Command line `countersign`: its command groups, and the one edge where errors become messages and exit codes."""

import io
import logging
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import typer

from app.commands import (
    approvals,
    config,
    effects,
    journal,
    keys,
    kill,
    knowledge,
    limits,
    memory,
    runs,
    serve,
    tools,
    transcripts,
    verdicts,
)
from app.commands.signs import is_text
from app.commands.terminal import FAILURE, INTERRUPTION, OK, USAGE, emit, exit_code, note
from memory.errors import ControlError, Permanent

_LOG = logging.getLogger(__name__)
_ABOUT = "Agents propose, Countersign permits, a human countersigns what matters, and every effect can prove it."
_CODES = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 waiting for an approval, 4 denied by policy, 5 budget stopped, "
    "6 journal verification failed, 69 service unavailable, 130 interrupted. Add --debug anywhere for tracebacks."
)

app = typer.Typer(name="countersign", help=_ABOUT, epilog=_CODES, no_args_is_help=True, add_completion=True)
for command in (serve.up, serve.demo, serve.serve, serve.worker, serve.world, serve.migrate, serve.doctor):
    app.command(rich_help_panel="Start")(command)
for command in (runs.chat, effects.explain, effects.receipt, kill.kill, kill.unkill):
    app.command()(command)
for command in (verdicts.policy, verdicts.rederive):
    journal.journal.command()(command)
app.add_typer(runs.runs, name="runs")
app.add_typer(approvals.app, name="approvals")
app.add_typer(effects.effects, name="effects")
app.add_typer(journal.journal, name="journal")
app.add_typer(memory.memory, name="memory")
app.add_typer(transcripts.transcripts, name="transcripts")
app.add_typer(knowledge.knowledge, name="knowledge")
app.add_typer(keys.keys, name="keys")
app.add_typer(limits.limits, name="limits")
app.add_typer(tools.tools, name="tools")
app.add_typer(config.config, name="config")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line and leave the process with its exit code."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Run a command line and return its exit code; errors are one message on stderr, without a traceback."""
    debug = "--debug" in argv
    arguments = [argument for argument in argv if argument != "--debug"]
    _prepare_streams()
    if (problem := _unreadable(arguments)) is not None:
        return _report(typer.BadParameter(problem), as_json="--json" in arguments)
    if debug:
        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
    try:
        _command()(arguments, prog_name="countersign", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except KeyboardInterrupt:
        return INTERRUPTION
    except Exception as error:  # noqa: BLE001  # the edge: whatever it is, people get one message and a code
        _LOG.debug("this is where it happened", exc_info=True)
        return _report(error, as_json="--json" in arguments)
    return OK


def _prepare_streams() -> None:
    # Whatever the terminal's encoding lacks is shown as an escape; it is no reason to fail half-way.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _unreadable(arguments: Sequence[str]) -> str | None:
    """Return what is wrong with an argument that is no text; the system hands its bytes on as they are."""
    for number, argument in enumerate(arguments, 1):
        if not is_text(argument):
            return f"argument {number}, {argument!r}, is no UTF-8 text; write it again"
    return None


@cache
def _command() -> Any:
    """Return the whole tree of commands; making it takes longer than most of them run."""
    return typer.main.get_command(app)


def _report(failure: Exception, *, as_json: bool) -> int:
    """Print an error as one message, with `as_json` as an object too; return its exit code."""
    # Only where something failed: the driver takes longer to import than most commands to run.
    from memory.postgres.refusals import refusal_of

    error = _cause(failure)
    error = refusal_of(error) or error
    if isinstance(error, typer.BadParameter):
        code, detail, status = "bad_request", error.message, USAGE
    elif isinstance(error, ControlError):
        code, detail, status = error.code, str(error), exit_code(error)
    else:
        code, status = "internal", FAILURE
        detail = f"{type(error).__name__}: {error} (next: repeat it with --debug and report what that prints)"
    note(f"{code}: {detail}")
    script = error.script if isinstance(error, Permanent) else ""
    for line in script.splitlines():
        note(line)
    if as_json:
        emit({"error": {"code": code, "detail": detail, **({"script": script} if script else {})}})
    return status


def _cause(error: Exception) -> BaseException:
    """Return the first error of an exception group: the group's own message says nothing."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[0]
    return cause
