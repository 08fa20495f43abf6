"""First rows of results, for those who may see them; called by the API.

Of a run's results they are for its requester, and of what a question asks about for those who are asked as well.

A text that a run recalled is shown only while it is remembered: forgotten and expired ones are left out, though the
run's copy stays until its requester is forgotten.
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


async def read(database: Database, access: Access, run: str, results: Mapping[str, Any]) -> dict[str, list[ResultRow]]:
    """Return the first rows of each slice in the results of a run, by its path there (`call.found`).

    Empty for whoever did not start the run, and without slices of other runs' handles.
    """
    slices = dict(list(_slices(results, ""))[:_RESULTS])
    if not slices:
        return {}
    rows = await database.rows(
        access,
        _READ,
        list(slices),
        [part["handle"] for part in slices.values()],
        [part["start"] for part in slices.values()],
        [part["start"] + min(part["count"], ROWS) for part in slices.values()],
        run,
    )
    first_rows: dict[str, list[ResultRow]] = {}
    for row in rows:
        first_rows.setdefault(row["place"], []).append(json.loads(row["row"]))
    return first_rows


async def sample(database: Database, access: Access, approval: str, count: int) -> list[ResultRow]:
    """Return the first rows of what a round asks about: for its requester and whoever may decide, else none."""
    rows = await database.rows(access, "select * from sample_of_question(%s, %s)", approval, count)
    return [json.loads(row["row"]) for row in rows]


def _slices(results: Mapping[str, Any], path: str, level: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in results.items():
        if isinstance(value, Mapping) and level < _LEVELS:
            inner, inner_path = cast(Mapping[str, Any], value), f"{path}.{name}" if path else name
            if {"handle", "start", "count", "digest"} <= inner.keys():
                yield inner_path, inner
            else:
                yield from _slices(inner, inner_path, level + 1)
