"""Results of large reads, stored by handle, so that agents pass references and never the rows themselves.

The gateway gives a step's `RunRows` to the tool that runs; the API shows people samples.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from psycopg import sql
from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres import locks
from memory.postgres.database import Connection, Database
from memory.runs.rows import ResultRow, Tally, digest, pages
from memory.scope import Access
from memory.store import search, write
from memory.store.models import Provenance, SearchResult

Classify = Callable[[ResultRow], str | None]

_PART = "from result_rows where handle = %(handle)s and ord >= %(start)s and ord < %(end)s"
_HEADER = "insert into results (handle, run, name, count, total, currency, digest, shape) "
_ROWS = f"select row {_PART} order by ord"
_SHARED = "coalesce(case when min(currency) <> max(currency) then '*' else min(currency) end, '')"
_DIGEST = f"select rows_digest(string_agg(row, E'\n' order by ord)) as digest {_PART}"


class ResultSlice(TypedDict):
    """A part of a result by reference; plain JSON, as it stands in results, arguments and approvals."""

    handle: str
    start: int
    count: int
    digest: str
    """SHA-256 over the canonical rows, joined by newlines."""
    total: int
    """Sum of the rows' `amount`."""
    currency: NotRequired[str]
    """What these are in: empty without any, `*` if in several; absent where an older release cut it."""


class RunRows:
    """The results of one run, seen from one of its steps; other runs' and tenants' handles are refused."""

    def __init__(
        self, database: Database, access: Access, run: str, step: str, *, embedder: Embedder = LEXICAL
    ) -> None:
        self._database = database
        self._access = access
        self._run = run
        self._step = step
        self._embedder = embedder

    def handle(self, name: str) -> str:
        """Return the handle of a named result of this step, kept or not."""
        address = json.dumps([self._access.principal.tenant, self._run, self._step, name])
        return "h_" + hashlib.sha256(address.encode()).hexdigest()[:24]

    async def keep(self, name: str, rows: AsyncIterator[ResultRow]) -> ResultSlice:
        """Store rows under this step and return the slice of all; the first writer wins, also after a crash.

        Raises Permanent("bad_request") for rows that hold floats, NUL characters or broken text.
        """
        async with self._database.transaction(self._access) as connection:
            handle = await self._lock(connection, name)
            if existing := await self._find_slice(connection, handle):
                return existing
            tally = Tally()
            async for page in pages(rows):
                await self._insert(connection, handle, page, tally)
            await connection.execute(
                _HEADER + "values (%s, %s, %s, %s, %s, %s, %s, %s)",
                [handle, self._run, f"{self._step}/{name}", *tally.sums.values(), Jsonb(tally.shape)],
            )
        return ResultSlice(handle=handle, start=0, **tally.sums)

    async def recall(self, name: str, query: str, limit: int) -> tuple[ResultSlice, SearchResult]:
        """Keep under this step what the access's memory answers, best first; scores in thousandths.

        Texts lie here and not in any journal, so that whoever wrote them can still be forgotten.
        """
        result = await search.recall(self._database, self._access, query, limit=limit, embedder=self._embedder)
        return await self.keep(name, _memory_rows(result)), result

    async def remember(self, text: str) -> str:
        """Put a text into the run's working memory as what it is, words from elsewhere; returns its id.

        Raises Permanent("tainted") for a text that only says what the run recalled.
        """
        origin = Provenance(run=self._run, step=self._step)
        memory = await write.remember(
            self._database, self._access, text, trust="untrusted", provenance=origin, embedder=self._embedder
        )
        return memory.id

    async def read(self, part: ResultSlice) -> AsyncIterator[ResultRow]:
        """Yield the rows of a slice in order, after its digest was found right."""
        async with self._database.transaction(self._access) as connection:
            await self._check_bounds(connection, part)
            cursor = await connection.execute(_ROWS, _span(part))
            texts = [str(row["row"]) for row in await cursor.fetchall()]
        if len(texts) != part["count"] or digest(texts) != part["digest"]:
            raise _forgery(part)
        for text in texts:
            yield json.loads(text)

    async def sample(self, part: ResultSlice, count: int) -> list[ResultRow]:
        """Return the first rows of a slice, for people to look at."""
        async with self._database.transaction(self._access) as connection:
            await self._check_digest(connection, part)
            first = {**_span(part), "end": part["start"] + min(count, part["count"])}
            cursor = await connection.execute(_ROWS, first)
            return [json.loads(row["row"]) for row in await cursor.fetchall()]

    async def slice_of(self, handle: str) -> ResultSlice:
        """Return the slice that covers a handle of this run; raises Permanent("forged_authority") for any other."""
        async with self._database.transaction(self._access) as connection:
            if entire := await self._find_slice(connection, handle):
                return entire
        raise _foreign(handle)

    async def cut(self, part: ResultSlice, start: int, count: int) -> ResultSlice:
        """Return up to `count` rows of a slice, counted from its own beginning, as a slice with digest and total."""
        first = part["start"] + start
        slices = await self._measure(part, first, min(first + count, part["start"] + part["count"]), max(count, 1))
        return slices[0] if slices else ResultSlice(handle=part["handle"], start=first, **Tally().sums)

    async def cuts(self, part: ResultSlice, start: int, size: int) -> list[ResultSlice]:
        """Return every batch of `size` rows of a slice, counted from its `start`, in one query."""
        return await self._measure(part, part["start"] + start, part["start"] + part["count"], size)

    async def split(
        self, part: ResultSlice, classify: Classify, *, fields: frozenset[str], names: Sequence[str], otherwise: str
    ) -> dict[str, ResultSlice]:
        """Partition a slice by a rule over `fields`; returns one slice per name, empty ones included.

        `classify` is asked once per distinct combination of the fields and answers a name, or None for `otherwise`.
        """
        case_names = list(dict.fromkeys([*names, otherwise]))
        async with self._database.transaction(self._access) as connection:
            await self._check_digest(connection, part)
            handles = {name: await self._lock(connection, name) for name in sorted(case_names)}
            if await self._find_slice(connection, handles[otherwise]) is None:
                await self._partition(connection, part, _Rule(classify, sorted(fields), otherwise), handles)
            slices = {name: await self._find_slice(connection, handles[name]) for name in case_names}
        return {name: group for name, group in slices.items() if group is not None}

    async def _partition(
        self, connection: Connection, part: ResultSlice, rule: "_Rule", handles: Mapping[str, str]
    ) -> None:
        combination = rule.combination()
        cursor = await connection.execute(
            sql.SQL("select distinct {} as fields ").format(combination) + sql.SQL(_PART), _span(part)
        )
        groups = [row["fields"] for row in await cursor.fetchall()]
        targets = [handles[rule.name(fields)] for fields in groups]
        await connection.execute(
            sql.SQL(
                """
                insert into result_rows (tenant, handle, ord, amount, currency, row)
                select (select current_tenant()), g.handle,
                       row_number() over (partition by g.handle order by r.ord) - 1, r.amount, r.currency, r.row
                  from result_rows r
                  join unnest(%(groups)s::jsonb[], %(chosen)s::text[]) as g (fields, handle) on g.fields = {}
                 where r.handle = %(handle)s and r.ord >= %(start)s and r.ord < %(end)s
                """
            ).format(combination),
            {**_span(part), "groups": [json.dumps(fields) for fields in groups], "chosen": targets},
        )
        await connection.execute(
            _HEADER
            + f"""
            select n.handle, %(run)s, n.name, count(r.ord), coalesce(sum(r.amount), 0), {_SHARED},
                   rows_digest(string_agg(r.row, E'\n' order by r.ord)),
                   (select shape from results where handle = %(source)s)
              from unnest(%(handles)s::text[], %(names)s::text[]) as n (handle, name)
              left join result_rows r on r.handle = n.handle group by n.handle, n.name
            """,
            {
                "run": self._run,
                "source": part["handle"],
                "handles": list(handles.values()),
                "names": [f"{self._step}/{name}" for name in handles],
            },
        )

    async def _measure(self, part: ResultSlice, start: int, end: int, size: int) -> list[ResultSlice]:
        if start < part["start"] or size < 1:
            raise Permanent("bad_request", f"no batches of {size!r} rows from {start!r}; both must be positive")
        async with self._database.transaction(self._access) as connection:
            await self._check_digest(connection, part)
            cursor = await connection.execute(
                f"""
                select min(ord) as start, count(*) as count, rows_digest(string_agg(row, E'\n' order by ord)) as digest,
                       sum(amount)::bigint as total, {_SHARED} as currency
                  from result_rows where handle = %(handle)s and ord >= %(start)s and ord < %(end)s
                 group by (ord - %(start)s) / %(size)s order by 1
                """,
                {"handle": part["handle"], "start": start, "end": end, "size": size},
            )
            return [ResultSlice(handle=part["handle"], **row) for row in await cursor.fetchall()]

    async def _insert(self, connection: Connection, handle: str, page: Sequence[ResultRow], tally: Tally) -> None:
        start = tally.count
        texts, amounts, currencies = tally.add(page)
        # Row security does not allow COPY, and arrays are slow to write; canonical rows hold no line breaks.
        await connection.execute(
            """
            insert into result_rows (tenant, handle, ord, amount, currency, row)
            select (select current_tenant()), %s, %s + x.ord - 1, x.amount::bigint, nullif(x.currency, ''), x.row
              from rows from (string_to_table(%s, E'\n'), string_to_table(%s, E'\n'), string_to_table(%s, E'\n'))
                   with ordinality as x (row, amount, currency, ord)
            """,
            [handle, start, "\n".join(texts), "\n".join(map(str, amounts)), "\n".join(currencies)],
        )

    async def _lock(self, connection: Connection, name: str) -> str:
        handle = self.handle(name)
        await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, %s))", [handle, locks.RESULT])
        return handle

    async def _find_slice(self, connection: Connection, handle: str) -> ResultSlice | None:
        cursor = await connection.execute(
            "select handle, 0 as start, count, digest, total, currency from results where handle = %s and run = %s",
            [handle, self._run],
        )
        row = await cursor.fetchone()
        return ResultSlice(**row) if row else None

    async def _check_bounds(self, connection: Connection, part: ResultSlice) -> ResultSlice:
        entire = await self._find_slice(connection, part["handle"])
        if entire is None:
            raise _foreign(part["handle"])
        if not 0 <= part["start"] <= part["start"] + part["count"] <= entire["count"]:
            raise _forgery(part)
        return entire

    async def _check_digest(self, connection: Connection, part: ResultSlice) -> None:
        entire = await self._check_bounds(connection, part)
        actual = entire["digest"]
        if part["count"] != entire["count"]:
            cursor = await connection.execute(_DIGEST, _span(part))
            actual = (await cursor.fetchone() or {}).get("digest")
        if part["digest"] != actual:
            raise _forgery(part)


class _Rule:
    """A classification over named fields, in the order in which SQL groups by them."""

    def __init__(self, classify: Classify, fields: Sequence[str], otherwise: str) -> None:
        self._classify = classify
        self._fields = fields
        self._otherwise = otherwise

    def combination(self) -> sql.Composable:
        """Return SQL for the fields of a row as one jsonb array."""
        fields = [sql.SQL("row::jsonb -> {}").format(sql.Literal(field)) for field in self._fields]
        return sql.SQL("jsonb_build_array({})").format(sql.SQL(", ").join(fields))

    def name(self, values: Sequence[Any]) -> str:
        """Return the name for one combination."""
        return self._classify(dict(zip(self._fields, values, strict=True))) or self._otherwise


async def _memory_rows(result: SearchResult) -> AsyncIterator[ResultRow]:
    for hit in result.hits:
        memory = hit.memory
        yield {
            "id": memory.id,
            "scope": str(memory.scope),
            "text": memory.body,
            "trust": memory.trust,
            "score": round(hit.score * 1000),
            "said": memory.created.isoformat(),
        }


def _span(part: ResultSlice) -> dict[str, Any]:
    return {"handle": part["handle"], "start": part["start"], "end": part["start"] + part["count"]}


def _foreign(handle: str) -> Permanent:
    return Permanent(
        "forged_authority", f"{handle!r} is no result of this run; use a handle that one of its steps gave"
    )


def _forgery(part: ResultSlice) -> Permanent:
    return Permanent(
        "forged_authority",
        f"rows {part['start']}+{part['count']} of {part['handle']!r} are not those that were kept; cut the slice again",
    )
