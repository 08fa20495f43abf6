"""Results of large reads, stored by handle, so that agents pass references and never the rows themselves.

The gateway gives a step's `RunRows` to the tool that runs; people see first rows (previews.py).
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import Permanent
from memory.postgres import limits, locks
from memory.postgres.database import Connection, Database
from memory.runs.groups import SHARED_CURRENCY, Classify, Rule, keep_groups, sort, spans
from memory.runs.rows import PAGE, ResultRow, ResultSlice, Tally, pages
from memory.scope import Access
from memory.store import search, write
from memory.store.models import Provenance, SearchResult

_PART = "from result_rows where handle = %(handle)s and ord >= %(start)s and ord < %(end)s"
_HEADER = "insert into results (handle, run, name, count, total, currency, digest, shape, checkpoint) "
_PAGE_ROWS = "select row from result_rows where handle = %s and ord >= %s and ord < %s order by ord"
_DIGEST = f"select rows_digest(string_agg(row, E'\n' order by ord)) as digest {_PART}"
_MEASURES = f"""
select count(*) as count, coalesce(sum(amount), 0)::bigint as total, {SHARED_CURRENCY} as currency,
       rows_digest(string_agg(row, E'\n' order by ord)) as digest {_PART}
"""


class RunRows:
    """The results of one run, seen from one of its steps; other runs' and tenants' handles are refused."""

    def __init__(
        self,
        database: Database,
        access: Access,
        run: str,
        step: str,
        *,
        embedder: Embedder = LEXICAL,
        page: int = PAGE,
        checkpoint: str = "",
    ) -> None:
        self._database = database
        self._access = access
        self._run = run
        self._step = step
        self._embedder = embedder
        self._page = page
        self._checkpoint = checkpoint or None

    def handle(self, name: str) -> str:
        """Return the handle of a named result of this step, kept or not; the database takes no other for it."""
        address = "\n".join([self._access.principal.tenant, self._run, f"{self._step}/{name}"])
        return "h_" + hashlib.sha256(address.encode()).hexdigest()[:24]

    async def keep(self, name: str, rows: AsyncIterator[ResultRow]) -> ResultSlice:
        """Store rows under this step and return the slice of all; the first writer wins, also after a crash.

        Raises Permanent("bad_request") for rows that hold floats, NUL characters or broken text.
        """
        async with self._database.transaction(self._access) as connection:
            handle = await self._lock(connection, name)
            if existing := await self._find_slice(connection, handle):
                return existing
            await limits.allow_rest(connection)
            tally = Tally()
            async for page in pages(rows):
                await self._insert(connection, handle, page, tally)
            await connection.execute(
                _HEADER + "values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [handle, self._run, f"{self._step}/{name}", *tally.sums.values(), Jsonb(tally.shape), self._checkpoint],
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
        """Yield the rows of a slice in order, as `pages` does."""
        async for page in self.pages(part):
            for row in page:
                yield row

    async def pages(self, part: ResultSlice) -> AsyncIterator[list[ResultRow]]:
        """Yield the rows of a slice in order and in lists of at most `page`, each read when it is asked for.

        Before the first its digest, total and currency are found right: kept rows never change. Raises
        Permanent("forged_authority") for a slice that claims others than its rows have: what policies and people's
        limits were compared with must be what is sent.
        """
        await self._check_rows(part)
        end = part["start"] + part["count"]
        for start in range(part["start"], end, self._page):
            last = min(start + self._page, end)
            rows = await self._database.rows(self._access, _PAGE_ROWS, part["handle"], start, last)
            if len(rows) != last - start:
                raise _forgery(part)
            yield [json.loads(row["row"]) for row in rows]

    async def _check_rows(self, part: ResultSlice) -> None:
        async with self._database.transaction(self._access) as connection:
            await self._check_bounds(connection, part)
            cursor = await connection.execute(_MEASURES, _span(part))
            measures = await cursor.fetchone() or {}
        if (measures["count"], measures["digest"]) != (part["count"], part["digest"]):
            raise _forgery(part)
        if measures["total"] != part["total"]:
            message = f"the rows of {part['handle']!r} come to {measures['total']}, not {part['total']} minor units"
            raise Permanent("forged_authority", f"{message}; cut the slice again")
        # A slice of an older release names no currency; whoever takes it for money refuses it.
        if (currency := part.get("currency")) and currency != measures["currency"]:
            message = f"the rows of {part['handle']!r} are in {measures['currency'] or 'nothing'}, not {currency}"
            raise Permanent("forged_authority", f"{message}; cut the slice again")

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
        self,
        part: ResultSlice,
        classify: Classify,
        *,
        fields: frozenset[str],
        names: Sequence[str],
        otherwise: str,
        on_piece: Callable[[], None] = lambda: None,
    ) -> dict[str, ResultSlice]:
        """Partition a slice by a rule over `fields`; returns one slice per name, empty ones included.

        `classify` is asked once per distinct combination of the fields and answers a name, or None for `otherwise`.
        `on_piece` is called after each of the pieces in which many rows are gone through.
        """
        case_names = list(dict.fromkeys([*names, otherwise]))
        async with self._database.transaction(self._access) as connection:
            await self._check_digest(connection, part)
            handles = {name: await self._lock(connection, name) for name in sorted(case_names)}
            if await self._find_slice(connection, handles[otherwise]) is None:
                rule = Rule(classify, sorted(fields), otherwise)
                await sort(connection, spans(part, self._page), rule, handles, on_piece)
                titles = {handle: f"{self._step}/{name}" for name, handle in handles.items()}
                await keep_groups(connection, self._run, self._checkpoint, part["handle"], titles)
                on_piece()
            slices = {name: await self._find_slice(connection, handles[name]) for name in case_names}
        return {name: group for name, group in slices.items() if group is not None}

    async def _measure(self, part: ResultSlice, start: int, end: int, size: int) -> list[ResultSlice]:
        if start < part["start"] or size < 1:
            raise Permanent("bad_request", f"no batches of {size!r} rows from {start!r}; both must be positive")
        async with self._database.transaction(self._access) as connection:
            await self._check_digest(connection, part)
            cursor = await connection.execute(
                f"""
                select min(ord) as start, count(*) as count, rows_digest(string_agg(row, E'\n' order by ord)) as digest,
                       sum(amount)::bigint as total, {SHARED_CURRENCY} as currency
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
