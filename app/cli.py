"""Command line `countersign`: its command groups, and the one edge where errors become messages and exit codes."""

import io
import logging
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import typer

from app.commands.signs import is_text
from app.commands.tree import CommandTree
from app.exit_codes import FAILURE, INTERRUPTION, OK, USAGE
from memory.errors import ControlError, Permanent

_LOG = logging.getLogger(__name__)
_ABOUT = "Agents propose, Countersign permits, a human countersigns what matters, and every effect can prove it."
_CODES = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 waiting for an approval, 4 denied by policy, 5 budget stopped, "
    "6 journal verification failed, 69 service unavailable, 130 interrupted. Add --debug anywhere for tracebacks."
)

# Plain help: what draws boxes around it takes longer to import than all the rest.
app = typer.Typer(
    name="countersign", cls=CommandTree, help=_ABOUT, epilog=_CODES, no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def before() -> None:
    """Do nothing before a command; with it the root is a group, although nothing is imported yet."""


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
    """Return the tree of commands."""
    return typer.main.get_command(app)


def _report(failure: Exception, *, as_json: bool) -> int:
    """Print an error as one message, with `as_json` as an object too; return its exit code."""
    from app.commands.terminal import emit, exit_code, note

    error = _cause(failure)
    if not isinstance(error, (ControlError, typer.BadParameter)):
        # Only where nobody of ours says what failed: the driver takes longer to import than most commands to run.
        from memory.postgres.refusals import refusal_of

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
