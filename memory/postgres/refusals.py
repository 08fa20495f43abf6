"""Refusals of the database as errors of ours: what is missing or does not take a record, and what to do.

Statements raise what the driver raises, and their callers catch what they expect. The edges, which survive everything
else, ask here before they call it unforeseen.
"""

import psycopg

from memory.errors import Permanent

DriverError = psycopg.Error
"""Whatever the driver raises."""
_MOST = 300


def refusal_of(error: BaseException) -> Permanent | None:
    """Return the error of ours for one that the driver raised, or None for any other."""
    # Without a code of the server's it is the driver that complains, of a mistake of ours.
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return None
    return Permanent(
        "record_refused",
        f"the database refuses what must be recorded: {_reason(error)}; mend it (docs/operating.md says how), then "
        "resume the run, or ask again",
    )


def _reason(error: psycopg.Error) -> str:
    """Return the first line of what the server says, without values of rows, and its code."""
    text = (error.diag.message_primary or str(error)).partition("\n")[0][:_MOST]
    return f"{text} ({error.sqlstate})"
