"""Pages of rounds by status, newest first, each read from an index; used by `approvals`."""

from collections.abc import Mapping, Sequence

_PAGE = "order by opened desc, id desc limit %(limit)s"
_ANY = ("status = %(status)s",)
_CONDITIONS: Mapping[str | None, Sequence[str]] = {
    None: ("true",),
    "open": ("status = 'open' and expires > clock_timestamp()",),
    "expired": ("status = 'expired'", "status = 'open' and expires <= clock_timestamp()"),
}
"""Conditions by status, each by its index: what expired and was not closed yet is still open there."""


def page(columns: str, *, status: str | None, of_run: bool, goes_on: bool) -> str:
    """Return the query of a page, with the parameters status, run, limit, and at and id if it goes on from a round.

    A condition that does not apply is not written: an index cannot use what may be null.
    """
    narrow = f"{'and run = %(run)s' if of_run else ''} {'and (opened, id) < (%(at)s, %(id)s)' if goes_on else ''}"
    conditions = _CONDITIONS.get(status, _ANY)
    sources = (f"(select * from approvals where {condition} {narrow} {_PAGE})" for condition in conditions)
    return f"select {columns} from ({' union all '.join(sources)}) as approvals {_PAGE}"
