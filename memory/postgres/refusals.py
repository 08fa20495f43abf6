"""Refusals of the database as errors of ours: what is missing or does not take a record, and what to do.

Statements raise what the driver raises, and their callers catch what they expect. The edges, which survive everything
else, ask here before they call it unforeseen.
"""

import psycopg

from memory.errors import ControlError, Permanent, Temporary

DriverError = psycopg.Error
"""Whatever the driver raises."""
_MOST = 300
_LOGIN = ("authentication failed", "does not exist", "no pg_hba.conf entry", "not permitted to log in")


def refusal_of(error: BaseException) -> ControlError | None:
    """Return the error of ours for one that the driver raised, or None for any other."""
    if isinstance(error, psycopg.OperationalError):
        return Temporary("unavailable", f"the database went away ({one_line(error)}); wait, then try again")
    # Without a code of the server's it is the driver that complains, of a mistake of ours.
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return None
    return Permanent(
        "record_refused",
        f"the database refuses what must be recorded: {_reason(error)}; mend it (docs/operating.md says how), then "
        "resume the run, or ask again",
    )


def is_login_refusal(error: psycopg.OperationalError) -> bool:
    """Return whether the server answered and does not let this role in, so that waiting does not help."""
    return error.sqlstate is None and any(sign in str(error) for sign in _LOGIN)


def one_line(error: BaseException) -> str:
    """Return what the driver says as one line; the server's own words come in several."""
    return " ".join(str(error).split())[:_MOST]


def _reason(error: psycopg.Error) -> str:
    """Return the first line of what the server says, without values of rows, and its code."""
    text = (error.diag.message_primary or str(error)).partition("\n")[0][:_MOST]
    return f"{text} ({error.sqlstate})"
