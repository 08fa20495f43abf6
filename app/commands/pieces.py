"""A file of memories on its way to the API: in pieces that it takes, each whole or not at all; for `memory import`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from app.client import Api
from app.commands.terminal import note
from memory.errors import ControlError


def lines(file: Path) -> list[str]:
    """Return the lines of a file, or of the standard input for `-`; a usage error, or Permanent("bad_request")."""
    try:
        text = (_piped() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"{str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        message = f"{str(file)!r} is no UTF-8 text ({error.reason} at byte {error.start}); export the memories again"
        raise typer.BadParameter(message) from error
    return [*filter(str.strip, text.split("\n"))]


def _piped() -> bytes:
    with open(0, "rb", closefd=False) as pipe:
        return pipe.read()


async def send(api: Api, held: Sequence[str]) -> dict[str, int]:
    """Import lines; returns how many went in and how many were there. What an error leaves in may be sent again."""
    # Late, since it brings the models of all lines along.
    from memory.exported import pieces

    done = {"imported": 0, "known": 0}
    every = list(pieces(held))
    tell: Callable[[str], object] = note if len(every) > 1 else str
    first = 2
    for number, piece in enumerate(every, 1):
        try:
            answer = await api.post("/api/memory/import", {"lines": piece})
        except ControlError:
            tell(f"piece {number} of {len(every)} is not in; its line 2 is line {first} of the file, blanks aside")
            raise
        done = {name: count + answer[name] for name, count in done.items()}
        first += len(piece) - 1
        tell(f"piece {number} of {len(every)} is in")
    return done
