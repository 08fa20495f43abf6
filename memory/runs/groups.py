"""Groups of result rows: a slice sorted by a rule into one result per name, piece by piece; called by `results`."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import sql

from memory.postgres.database import Connection
from memory.runs.rows import ResultRow, ResultSlice

Classify = Callable[[ResultRow], str | None]

SHARED_CURRENCY = "coalesce(case when min(currency) <> max(currency) then '*' else min(currency) end, '')"
"""SQL for the currency that rows share, as `rows.common_currency` says it."""
_COMBINATIONS = """
select distinct {} as fields from result_rows where handle = %(handle)s and ord >= %(start)s and ord < %(end)s
"""
_MOVE = """
with part as (
  insert into result_rows (tenant, handle, ord, amount, currency, row)
  select (select current_tenant()), g.handle,
         g.first + row_number() over (partition by g.handle order by r.ord) - 1, r.amount, r.currency, r.row
    from result_rows r
    join unnest(%(groups)s::jsonb[], %(targets)s::text[], %(firsts)s::int[]) as g (fields, handle, first)
      on g.fields = {}
   where r.handle = %(handle)s and r.ord >= %(start)s and r.ord < %(end)s returning handle)
select handle, count(*) as count from part group by handle
"""
_HEADERS = f"""
insert into results (handle, run, name, count, total, currency, digest, shape, checkpoint)
select n.handle, %(run)s, n.name, count(r.ord), coalesce(sum(r.amount), 0), {SHARED_CURRENCY},
       rows_digest(string_agg(r.row, E'\n' order by r.ord)), (select shape from results where handle = %(source)s),
       %(checkpoint)s::text
  from unnest(%(handles)s::text[], %(names)s::text[]) as n (handle, name)
  left join result_rows r on r.handle = n.handle group by n.handle, n.name order by n.name
"""


class Rule:
    """A classification over named fields, in the order in which SQL groups by them."""

    def __init__(self, classify: Classify, fields: Sequence[str], otherwise: str) -> None:
        self._classify = classify
        self._fields = fields
        self._otherwise = otherwise
        self._names: dict[str, str] = {}

    def combination(self) -> sql.Composable:
        """Return SQL for the fields of a row as one jsonb array."""
        fields = [sql.SQL("row::jsonb -> {}").format(sql.Literal(field)) for field in self._fields]
        return sql.SQL("jsonb_build_array({})").format(sql.SQL(", ").join(fields))

    def name(self, values: Sequence[Any]) -> str:
        """Return the name for one combination; the classification is asked once for each."""
        text = json.dumps(values)
        if text not in self._names:
            row = dict(zip(self._fields, values, strict=True))
            self._names[text] = self._classify(row) or self._otherwise
        return self._names[text]


async def sort(
    connection: Connection,
    pieces: Iterable[Mapping[str, Any]],
    rule: Rule,
    handles: Mapping[str, str],
    on_piece: Callable[[], None],
) -> None:
    """Store the rows of a slice's `spans` under the handle of their group's name; `on_piece` is called after each."""
    counts = Counter[str]()
    for span in pieces:
        counts.update(await _sort_piece(connection, span, rule, handles, counts))
        on_piece()


async def _sort_piece(
    connection: Connection, span: Mapping[str, Any], rule: Rule, handles: Mapping[str, str], counts: Counter[str]
) -> dict[str, int]:
    """Store the rows of a span behind the `counts` that earlier ones have put into each group; returns how many."""
    combination = rule.combination()
    cursor = await connection.execute(sql.SQL(_COMBINATIONS).format(combination), span)
    groups = [row["fields"] for row in await cursor.fetchall()]
    targets = [handles[rule.name(fields)] for fields in groups]
    firsts = [counts[target] for target in targets]
    values = {**span, "groups": [*map(json.dumps, groups)], "targets": targets, "firsts": firsts}
    cursor = await connection.execute(sql.SQL(_MOVE).format(combination), values)
    return {row["handle"]: row["count"] for row in await cursor.fetchall()}


async def keep_groups(
    connection: Connection, run: str, checkpoint: str | None, source: str, names: Mapping[str, str]
) -> None:
    """Store what each group is, empty ones too; `names` are the results' names by handle."""
    values = {
        "run": run,
        "checkpoint": checkpoint,
        "source": source,
        "handles": list(names),
        "names": list(names.values()),
    }
    await connection.execute(_HEADERS, values)


def spans(part: ResultSlice, size: int) -> Iterator[dict[str, Any]]:
    """Yield the places of a slice's rows, in pieces of at most `size`."""
    end = part["start"] + part["count"]
    for start in range(part["start"], end, size):
        yield {"handle": part["handle"], "start": start, "end": min(start + size, end)}
