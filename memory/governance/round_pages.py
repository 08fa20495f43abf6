"""Pages of rounds by status, newest first, each read from an index; used by `approvals`."""

from collections.abc import Mapping, Sequence
from datetime import datetime

_ORDER = "order by opened desc, id desc limit %s"
_ANY = ("status = %s",)
_CONDITIONS: Mapping[str | None, Sequence[str]] = {
    None: ("true",),
    "open": ("status = 'open' and expires > clock_timestamp()",),
    "expired": ("status = 'expired'", "status = 'open' and expires <= clock_timestamp()"),
}
"""Conditions by status, each by its index: what expired and was not closed yet is still open there."""


def page(
    columns: str, *, status: str | None, run: str | None, before: tuple[datetime, str] | None, limit: int
) -> tuple[str, list[object]]:
    """Return the query of a page and its values; the arguments are those of `approvals.ls`.

    A condition that does not apply is not written: an index cannot use what may be null.
    """
    narrow, narrow_values = "", list[object]()
    if run is not None:
        narrow, narrow_values = f"{narrow} and run = %s", [*narrow_values, run]
    if before is not None:
        narrow, narrow_values = f"{narrow} and (opened, id) < (%s, %s)", [*narrow_values, *before]
    sources, values = list[str](), list[object]()
    for condition in _CONDITIONS.get(status, _ANY):
        sources.append(f"(select * from approvals where {condition}{narrow} {_ORDER})")
        values += [*([status] if "%s" in condition else []), *narrow_values, limit]
    return f"select {columns} from ({' union all '.join(sources)}) as approvals {_ORDER}", [*values, limit]
