"""The first rows of what a run found, for the person who asked for it to look at; called by the API.

Nobody else is shown them. A text that a run recalled is shown only as long as it is remembered: what was forgotten or
has expired since is left out, though the run's copy stays until its requester is forgotten.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from memory.postgres.database import Database
from memory.runs.rows import ResultRow
from memory.scope import Access

ROWS = 20
"""Rows of a result that are shown."""
_RESULTS = 20
_LEVELS = 8
_READ = """
select g.place, w.row
  from unnest(%s::text[], %s::text[], %s::int[], %s::int[]) as g (place, handle, first, after)
  join runs u on u.id = %s and u.kind = 'run' and u.requester = current_principal()
  join results r on r.run = u.id and r.handle = g.handle
  join result_rows w on w.handle = r.handle and w.ord >= g.first and w.ord < g.after
 where case when not r.shape ?& array['id', 'said', 'scope', 'text', 'trust'] then true
            when not pg_input_is_valid(w.row::jsonb ->> 'id', 'uuid') then false
            else exists (select from memories m where m.id = (w.row::jsonb ->> 'id')::uuid
                            and (m.expires is null or m.expires > clock_timestamp())) end
 order by g.place, w.ord
"""


async def first(database: Database, access: Access, run: str, found: Mapping[str, Any]) -> dict[str, list[ResultRow]]:
    """Return the first rows of each slice in `found`, the results of a run, by its place there (`call.found`).

    Empty for whoever did not start the run, and without slices of other runs' handles.
    """
    parts = dict(list(_slices(found, ""))[:_RESULTS])
    if not parts:
        return {}
    rows = await database.rows(
        access,
        _READ,
        list(parts),
        [part["handle"] for part in parts.values()],
        [part["start"] for part in parts.values()],
        [part["start"] + min(part["count"], ROWS) for part in parts.values()],
        run,
    )
    shown: dict[str, list[ResultRow]] = {}
    for row in rows:
        shown.setdefault(row["place"], []).append(json.loads(row["row"]))
    return shown


def _slices(found: Mapping[str, Any], place: str, level: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in found.items():
        if isinstance(value, Mapping) and level < _LEVELS:
            inner, within = cast(Mapping[str, Any], value), f"{place}.{name}" if place else name
            if {"handle", "start", "count", "digest"} <= inner.keys():
                yield within, inner
            else:
                yield from _slices(inner, within, level + 1)
