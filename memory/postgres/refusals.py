"""Refusals of the database as errors of ours: what is missing or does not take a record, and what to do.

Statements raise what the driver raises, and their callers catch what they expect. The edges, which survive everything
else, ask here before they call it unforeseen.
"""

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from memory.errors import ControlError, Permanent, Temporary
from memory.postgres import limits

DriverError = psycopg.Error
"""Whatever the driver raises."""
_MOST = 300
_LOGIN = (
    "password authentication failed",
    r'role ".*" does not exist',
    r'role ".*" is not permitted to log in',
    r"no pg_hba\.conf entry",
)
_NO_LOGIN, _NO_DATABASE = "28", "3D"
_READ_ONLY, _FULL, _ENTRY_TIME = "25006", "53100", "XT001"


def refusal_of(error: BaseException) -> ControlError | None:
    """Return the error of ours for one that the driver raised, or None for any other."""
    if isinstance(error, psycopg.Error) and (outage := outage_of(error, "the database")):
        return outage
    # Without a code of the server's it is the driver that complains, of a mistake of ours.
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return None
    return Permanent(
        "record_refused",
        f"the database refuses what must be recorded: {_reason(error)}; mend it (docs/operating.md says how), then "
        "resume the run, or ask again",
    )


def outage_of(error: psycopg.Error, target: str) -> Temporary | None:
    """Return a state of the whole database that passes, as an error of ours; None if it is about one statement."""
    reason = one_line(error)
    if is_read_only(error):
        message = f"{target} takes no writes at the moment ({reason}); nothing was recorded; make it writable again"
        return Temporary("database_read_only", message, delay=1.0)
    if error.sqlstate == _FULL:
        message = f"the disk of {target} is full ({reason}); nothing was recorded; make room there"
        return Temporary("database_full", message, delay=1.0)
    if is_entry_late(error):
        message = f"the clock of {target} was set meanwhile ({reason}); nothing was recorded; try again"
        return Temporary("unavailable", message)
    if isinstance(error, psycopg.OperationalError | psycopg.errors.IdleInTransactionSessionTimeout):
        return Temporary("unavailable", f"{target} is unavailable ({reason}); start it or wait, then try again")
    return None


def outage_at(url: str, error: psycopg.Error) -> ControlError | None:
    """Return why the database at an address does not serve, or None if the error is about one statement."""
    options = conninfo_to_dict(url)
    target = f"database {options.get('dbname')!r} on host {options.get('host') or 'localhost'!r}"
    if isinstance(error, psycopg.OperationalError) and is_login_refusal(error):
        message = f"{target} refuses role {options.get('user')!r}: {one_line(error)}; check DATABASE_URL"
        return Permanent("configuration", message)
    return outage_of(error, target)


def unreachable(url: str, error: psycopg.OperationalError) -> ControlError:
    """Return why no session can be had at an address."""
    outage = outage_at(url, error)
    assert outage is not None, "an operational error is always an outage"
    return outage


def owner_unreachable(error: psycopg.OperationalError) -> ControlError:
    """Return that no session as the owner can be had."""
    return Temporary("unavailable", f"cannot reach the database as owner: {one_line(error)}; check its URL")


def held_up(error: psycopg.errors.LockNotAvailable) -> ControlError:
    """Return that somebody else holds a lock for too long."""
    message = f"somebody has held a lock that this needs for {limits.LOCK_SECONDS} s ({error.diag.message_primary})"
    return Temporary("lock_timeout", f"{message}; try again, and look in pg_locks who it is if it stays so", delay=1.0)


def is_read_only(error: BaseException | None) -> bool:
    """Return whether the database takes no writes, as a standby does, or one that its operator has set so."""
    return isinstance(error, psycopg.Error) and error.sqlstate == _READ_ONLY


def is_entry_late(error: BaseException | None) -> bool:
    """Return whether the database refused an entry for its time alone, so that nothing after it was executed."""
    return isinstance(error, psycopg.Error) and error.sqlstate == _ENTRY_TIME


def is_no_text(error: BaseException) -> bool:
    """Return whether a value was refused for what it holds, as a NUL character in a text."""
    return isinstance(error, psycopg.DataError)


def is_login_refusal(error: psycopg.OperationalError) -> bool:
    """Return whether the server answered and does not let this role in, so that waiting does not help."""
    return is_secret_refusal(error) or _says(error, _NO_DATABASE, r'database ".*" does not exist')


def is_secret_refusal(error: psycopg.OperationalError) -> bool:
    """Return whether the server itself says that role and password do not fit: nothing else means wrong secrets."""
    return _says(error, _NO_LOGIN, *_LOGIN)


def _says(error: psycopg.OperationalError, sqlstate_class: str, *patterns: str) -> bool:
    if error.sqlstate is not None:
        return error.sqlstate.startswith(sqlstate_class)
    # Before a session stands the driver passes on the server's words, but not its code.
    return any(re.search(rf"FATAL:  {pattern}", str(error)) for pattern in patterns)


def one_line(error: BaseException) -> str:
    """Return what the driver says as one line; the server's own words come in several."""
    return " ".join(str(error).split())[:_MOST]


def _reason(error: psycopg.Error) -> str:
    """Return the first line of what the server says, without values of rows, and its code."""
    text = (error.diag.message_primary or str(error)).partition("\n")[0][:_MOST]
    return f"{text} ({error.sqlstate})"
