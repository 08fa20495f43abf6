"""Check of the journal as it stands: the lines of an export, given to the verifier that strangers use.

The API checks what people ask for, a duty of the workers everything (`checks`).
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from memory.evidence.columns import column_problems
from memory.evidence.lines import lines
from memory.evidence.signers import Signers, signers
from memory.evidence.verifier import ExportCheck
from memory.postgres.database import Connection

_PORTION = 500
"""Lines that are checked in one go, outside the event loop."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check; `problems` name places and what is wrong there."""

    counts: Mapping[str, int]
    problems: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    """What a reader must know beside the problems, such as that no head is signed."""

    @property
    def ok(self) -> bool:
        """Return whether everything holds."""
        return not self.problems


async def check(connection: Connection, run: str | None = None) -> Check:
    """Check the entered tenant's journal and rows, or those of one run, in the caller's snapshot.

    Raises Permanent("not_found") for a run of which nothing is there.
    """
    examination = ExportCheck()
    portion: list[str] = []
    async with aclosing(lines(connection, run)) as texts:
        async for line in texts:
            portion.append(line)
            if len(portion) == _PORTION:
                await asyncio.to_thread(_feed, examination, portion)
                portion = []
    await asyncio.to_thread(_feed, examination, portion)
    problems = [{**problem.place, "what": problem.sentence} for problem in examination.finish()]
    problems += await column_problems(connection, run, problems)
    counts = dict(examination.counts)
    return Check(counts, tuple(problems), _notes(counts, None if run is not None else await signers(connection)))


def _notes(counts: Mapping[str, int], signers: Signers | None) -> tuple[str, ...]:
    """Return the notes of a check; without signers only one run was looked at."""
    notes = [f"{counts['forgotten']} entries had their words forgotten"] if counts.get("forgotten") else []
    if signers is None:
        return (*notes, "log and heads are checked when no run is named")
    if signers.unsigned and signers.unsigned == signers.heads:
        notes.append("no head is signed: set COUNTERSIGN_SIGNING_KEY, or whoever owns the tables can write all anew")
    return (*notes, *signers.remarks)


def _feed(examination: ExportCheck, portion: list[str]) -> None:
    for line in portion:
        examination.feed(line)
