"""Export and import of memories as lines of JSON, from one scope into another or a fresh install.

Called by the API and by `archive`. There is one object per line, without vectors: the embedder of the destination makes
them. The first line names the format; then come memories, later tellings (`link`), and pruned memories that can be
restored (`archived`). Unknown columns are left out, so that older and newer files can be imported.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Literal, get_args
from uuid import UUID, uuid5

import psycopg
from psycopg.types.json import Jsonb

from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.embeddings.vectors import Parameter, embed_texts, parameters
from memory.errors import Code, Permanent
from memory.postgres import limits, locks
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access, Scope
from memory.store.fingerprints import fingerprint, marks, terms
from memory.store.models import Memory, from_row
from memory.store.transfer_format import FORMAT, ArchiveLine, LinkLine, MemoryLine, Origin, TransferLine, read

PAGE = 500
"""Lines of one query; between two of them no connection is held, however long the reader takes."""
_BATCH = 100
"""Lines of one statement."""
_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Characters that some readers take for the end of a line."""
_PIN_LIMIT = 200
"""Most memories that may be pinned in a scope by imports; further ones lose their pin."""
_USE_LIMIT = 1000
"""Most cited uses that a file may claim for a memory."""
DERIVED_COLUMNS = (
    *("tenant", "scope_kind", "scope_id", "scope", "embedder", "embedding", "digest", "near", "terms"),
    *("size", "asks", "dated", "outcome_of", "summary_of", "posted"),
)
"""Columns that the destination computes again."""
_MEMORIES = """
select to_jsonb(m) - %s::text[] as line, m.created as at, m.id::text as id from memories m
 where m.scope = %s and (m.expires is null or m.expires > clock_timestamp())
   and m.created <= %s and (m.created, m.id) > (%s::timestamptz, %s::uuid) order by m.created, m.id limit %s
"""
_LINKS = """
select jsonb_build_object('link', to_jsonb(l) - array['id', 'scope'] - array_remove(%s::text[], 'digest')) as line,
       l.told as at, l.id::text as id
  from memory_links l join memories m on m.id = l.memory
 where l.scope = %s and (m.expires is null or m.expires > clock_timestamp())
   and l.told <= %s and (l.told, l.id) > (%s::timestamptz, %s::bigint) order by l.told, l.id limit %s
"""
_ARCHIVE = """
select jsonb_build_object('archived', (to_jsonb(a) - array['tenant', 'scope', 'writer', 'hold', 'gone', 'id'])
         || jsonb_build_object('content', a.content - %s::text[])) as line, a.pruned as at, a.id::text as id
  from memory_archive a where a.scope = %s and a.content is not null
   and a.pruned <= %s and (a.pruned, a.id) > (%s::timestamptz, %s::uuid) order by a.pruned, a.id limit %s
"""
_SECTIONS = ((_MEMORIES, str(UUID(int=0))), (_LINKS, "0"), (_ARCHIVE, str(UUID(int=0))))
_TAKE = {
    kind: "select taken.* from jsonb_array_elements(%(rows)s) with ordinality as given (line, place) "
    f"cross join lateral {call} as taken order by given.place"
    for kind, call in (
        (MemoryLine, "take_memory(given.line, (%(vectors)s::vector[])[given.place])"),
        (LinkLine, "take_link(given.line)"),
        (ArchiveLine, "take_archived(given.line)"),
    )
}
# The lock of pruning: neither shall see half of the other, nor an import the same import.
ImportCode = Literal["kept", "known", "expired", "forgotten", "taken", "gone"]
_CODES: tuple[ImportCode, ...] = get_args(ImportCode)
_REFUSALS: Mapping[ImportCode, tuple[Code, str]] = {
    "forgotten": ("tainted", "this was forgotten on request and is not taken in again; let the person say it"),
    "taken": ("conflict", "another value of its subject is here; forget that one first, or leave the line out"),
}

MemoryRow = Mapping[str, Any]
"""Columns of a memory, link or archived row by name, as JSON."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Answer of the database to one row."""

    code: ImportCode
    memory: Memory | None = None
    """The memory, if it was a memory and was `kept`."""


async def export(database: Database, access: Access) -> AsyncIterator[str]:
    """Yield the access's write scope as lines, oldest first, with what was superseded; expired rows stay behind.

    Pages are read one by one. Memories written after the first page was read are left out, and those forgotten
    meanwhile are missing, so that no subject has two current values.
    """
    scope = str(_write_scope(access, "export"))
    yield json.dumps({"format": FORMAT, "scope": scope})
    (start_row,) = await database.rows(access, "select clock_timestamp() as at")
    for query, start in _SECTIONS:
        at, id = "-infinity", start
        while True:
            page = await database.rows(access, query, list(DERIVED_COLUMNS), scope, start_row["at"], at, id, PAGE)
            for row in page:
                yield json.dumps(row["line"], ensure_ascii=False, sort_keys=True).translate(_BREAKS)
            if len(page) < PAGE:
                break
            at, id = page[-1]["at"], page[-1]["id"]


async def import_lines(
    database: Database, access: Access, lines: Iterable[str], *, embedder: Embedder = LEXICAL
) -> tuple[int, int]:
    """Put exported lines into the access's write scope, all or none; returns the numbers of new and of present lines.

    The importer becomes their writer; another writer's name stays as the fact `imported_from`. An id that is in use
    elsewhere is replaced, always by the same one. Expired memories, and links to them, count as neither.

    Raises Permanent: `bad_request` naming the line that is no memory, `tainted` for what somebody had forgotten,
    `conflict` for a subject with another value here, `forbidden` without a write scope.
    """
    scope = _write_scope(access, "write to")
    rows = read(lines)
    counts = Counter[ImportCode]()
    async with database.transaction(access) as connection:
        await limits.allow_rest(connection)
        await locks.hold_scope(connection, scope)
        importer = _Importer(access, scope, max(0, _PIN_LIMIT - await _pin_count(connection, scope)))
        for batch in _batches(rows):
            drafts = [importer.draft(line) for _, line in batch]
            results = await _insert_lines(connection, batch, drafts, embedder)
            for (number, _), result in zip(batch, results, strict=True):
                if result.code in _REFUSALS:
                    code, message = _REFUSALS[result.code]
                    raise Permanent(code, f"line {number}: {message}")
                counts[result.code] += 1
    return counts["kept"], counts["known"]


async def put(connection: Connection, access: Access, row: MemoryRow, *, embedder: Embedder = LEXICAL) -> Memory:
    """Write an archived row back into the access's write scope, with its id, writer, times and history.

    Raises Permanent: `conflict` if the row or another value of its subject is there, `bad_request` for a row that is no
    memory, `tainted` if it was forgotten, `not_found` if it has expired, `forbidden` without a write scope.
    """
    draft = _with_scope(row, _write_scope(access, "write to"))
    try:
        (result,) = await _embed_and_insert(connection, [draft], embedder)
    except (psycopg.errors.IntegrityError, psycopg.errors.DataError) as error:
        raise Permanent("bad_request", f"{row.get('id')!r} is no memory: {error.diag.message_primary}") from error
    if result.memory:
        return result.memory
    if result.code == "expired":
        raise Permanent("not_found", f"{row.get('id')!r} has expired meanwhile and cannot be taken back")
    raise Permanent(*_REFUSALS.get(result.code, ("conflict", f"memory {row.get('id')!r} is here")))


async def _insert_lines(
    connection: Connection, batch: Sequence[tuple[int, TransferLine]], drafts: Sequence[MemoryRow], embedder: Embedder
) -> list[ImportResult]:
    kind = type(batch[0][1])
    try:
        if kind is MemoryLine:
            return await _insert_memories(connection, drafts, embedder)
        return await _insert(connection, kind, drafts)
    except (psycopg.errors.IntegrityError, psycopg.errors.DataError) as error:
        lines = f"one of the lines {batch[0][0]} to {batch[-1][0]}"
        raise Permanent("bad_request", f"{lines} cannot be taken in: {error.diag.message_primary}") from error


async def _insert_memories(
    connection: Connection, drafts: Sequence[MemoryRow], embedder: Embedder
) -> list[ImportResult]:
    """Write memories; a model embeds only those that are not here yet."""
    ids = await _present_ids(connection, drafts)
    is_present = [bool(ids & {row["id"], row["spare"]}) for row in drafts]
    new = [row for row, present in zip(drafts, is_present, strict=True) if not present]
    results = iter(await _embed_and_insert(connection, new, embedder))
    return [ImportResult("known") if present else next(results) for present in is_present]


async def _embed_and_insert(
    connection: Connection, drafts: Sequence[MemoryRow], embedder: Embedder
) -> list[ImportResult]:
    if not drafts:
        return []
    texts = [f"{row['speaker']}: {row['body']}" if row.get("speaker") else str(row["body"]) for row in drafts]
    embedder, vectors = await embed_texts(embedder, texts)
    rows = [{**row, "embedder": embedder.id} for row in drafts]
    return await _insert(connection, MemoryLine, rows, parameters(vectors))


async def _insert(
    connection: Connection, kind: type[TransferLine], drafts: Sequence[MemoryRow], vectors: Sequence[Parameter] = ()
) -> list[ImportResult]:
    values = {"rows": Jsonb(list(drafts)), "vectors": vectors}
    cursor = await connection.execute(_TAKE[kind].encode(), values)
    return [_result(row, is_memory=kind is MemoryLine) for row in await cursor.fetchall()]


def _result(row: Mapping[str, Any], *, is_memory: bool) -> ImportResult:
    code = member(_CODES, row["code"], "take_memory")
    return ImportResult(code, from_row(row) if is_memory and code == "kept" else None)


async def _present_ids(connection: Connection, drafts: Sequence[MemoryRow]) -> set[str]:
    scopes = list({f"{row['scope_kind']}:{row['scope_id']}" for row in drafts})
    ids = list(chain.from_iterable((row["id"], row["spare"]) for row in drafts))
    cursor = await connection.execute(
        "select id::text from memories where scope = any(%s) and id = any(%s::uuid[])", [scopes, ids]
    )
    return {row["id"] for row in await cursor.fetchall()}


async def _pin_count(connection: Connection, scope: Scope) -> int:
    cursor = await connection.execute("select count(*) as n from memories where scope = %s and pinned", [str(scope)])
    return int((await cursor.fetchone() or {})["n"])


@dataclass(slots=True)
class _Importer:
    """Turns lines of a file into rows of the importer, in their scope."""

    access: Access
    scope: Scope
    pins: int
    """Memories that may still be pinned."""

    def draft(self, line: TransferLine) -> MemoryRow:
        """Return the row of a line; counts down the pins, so lines come in the order of the file."""
        match line:
            case MemoryLine():
                return self._memory(line)
            case LinkLine():
                return self._link(line)
            case ArchiveLine():
                return self._archive(line)

    def _memory(self, line: MemoryLine) -> MemoryRow:
        is_pinned = line.pinned and self.pins > 0
        self.pins -= is_pinned
        successor = line.superseded_by and self._spare(line.superseded_by)
        return {**self._content(line), "pinned": is_pinned, "superseded_spare": successor}

    def _link(self, line: LinkLine) -> MemoryRow:
        row = line.model_copy(update={"provenance": self._origin(line)}).model_dump(mode="json")
        return row | _scope_columns(self.scope) | {"spare": self._spare(line.memory)}

    def _archive(self, line: ArchiveLine) -> MemoryRow:
        # Pinned memories are never pruned, so none in an archive is pinned.
        content = {**self._content(line.content), "pinned": False}
        return {**line.model_dump(mode="json"), "content": content, "spare": self._spare(line.content.id)}

    def _content(self, line: MemoryLine) -> MemoryRow:
        update = {"provenance": self._origin(line), "uses": min(line.uses, _USE_LIMIT)}
        row = line.model_copy(update=update).model_dump(mode="json")
        return _with_scope(row, self.scope) | {"spare": self._spare(line.id)}

    def _origin(self, line: MemoryLine | LinkLine) -> Origin:
        return line.provenance.attributed_to(self.access.principal.id)

    def _spare(self, id: UUID) -> str:
        """Return the id for a memory whose own is in use elsewhere; the same at every import."""
        return str(uuid5(id, f"{self.access.principal.tenant}/{self.scope}"))


def _scope_columns(scope: Scope) -> dict[str, Any]:
    return {"scope_kind": scope.kind, "scope_id": scope.id}


def _with_scope(row: MemoryRow, scope: Scope) -> dict[str, Any]:
    body = str(row["body"])
    return {
        **row,
        **_scope_columns(scope),
        "near": fingerprint(body),
        "terms": terms(body),
        "marks": marks(body, row.get("session"), row.get("place")),
    }


def _batches(rows: Sequence[tuple[int, TransferLine]]) -> Iterator[Sequence[tuple[int, TransferLine]]]:
    """Yield the lines in their order, in batches of one kind."""
    for _, group in groupby(rows, lambda row: type(row[1])):
        entries = list(group)
        for start in range(0, len(entries), _BATCH):
            yield entries[start : start + _BATCH]


def _write_scope(access: Access, verb: str) -> Scope:
    if access.writes is None:
        raise Permanent("forbidden", f"{access.principal.id!r} has no scope to {verb} here; work inside one")
    return access.writes
