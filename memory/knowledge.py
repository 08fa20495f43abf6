"""What is known: small items with versions that plans pin; called by planners, the API and the import at start-up.

A published version never changes. Publishing is a person's act, outside any run, and voids what rests on older ones.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from memory.database import Connection, Database
from memory.embedding import LEXICAL, Embedder, Vector, literal, parse, presence, rarity
from memory.errors import Permanent
from memory.items import Hit, Item, Kind, Known, Published, check, digest, from_row, phrases
from memory.scope import Access

_log = logging.getLogger(__name__)

_CURRENT = """
(select distinct on (k.id) k.* from knowledge k order by k.id, k.version desc) as current
"""


async def publish(database: Database, access: Access, item: Item, *, embedder: Embedder = LEXICAL) -> Published:
    """Publish a version as the access's principal; the same version with the same text changes nothing.

    A version that becomes current voids, in the same transaction, every open approval that pins an older one.
    Raises Permanent: `bad_request` for an item outside the schema, `forbidden` for text that no person vouches for or
    from inside a run, `conflict` if the version exists with another text.
    """
    check(item)
    vectors = await embedder.embed(phrases(item))
    row = await database.call(access, "publish_knowledge", _parameters(item, vectors, embedder))
    if row["code"] == "forbidden":
        raise Permanent(
            "forbidden", f"{item.id!r} must be published by a person, outside runs; let one read and publish it"
        )
    if row["code"] == "conflict":
        raise Permanent(
            "conflict", f"{item.id!r} version {row['version']} exists with another text; publish it as a new version"
        )
    return Published(int(row["version"]), row["code"] == "ok", list(row["woken"]))


async def import_all(database: Database, access: Access, items: Iterable[Item]) -> list[Published]:
    """Publish shipped items that are missing, each with its version; any number of processes may do so at once.

    A version that people published with a text of their own stays, and the log says so.
    """
    wanted = list(items)
    async with database.transaction(access) as connection:
        found = await connection.execute("select id, version, digest from knowledge")
        known = {(row["id"], row["version"]): str(row["digest"]) for row in await found.fetchall()}
    published: list[Published] = []
    for item in wanted:
        there = known.get((item.id, item.version))
        if there is None:
            published.append(await publish(database, access, item))
        elif there != digest(item.body):
            _log.warning("%r version %s was published here with another text and is kept", item.id, item.version)
    return published


async def current(database: Database, access: Access, id: str) -> Known:
    """Return the newest version; raises Permanent("not_found")."""
    return await show(database, access, id, None)


async def show(database: Database, access: Access, id: str, version: int | None) -> Known:
    """Return exactly the text that a run pinned, however often it was edited since; None means the newest."""
    async with database.transaction(access) as connection:
        found = await connection.execute(
            "select * from knowledge where id = %(id)s and (%(version)s::int is null or version = %(version)s) "
            "order by version desc limit 1",
            {"id": id, "version": version},
        )
        row = await found.fetchone()
    if row is None:
        name = id if version is None else f"{id} version {version}"
        raise Permanent("not_found", f"nothing is known as {name!r}; list what is with `knowledge ls`")
    return from_row(row)


async def ls(
    database: Database, access: Access, *, kind: Kind | None = None, id: str | None = None, limit: int = 100
) -> list[Known]:
    """Return current items by id, or with `id` the versions of one, newest first."""
    source = _CURRENT if id is None else "knowledge"
    async with database.transaction(access) as connection:
        found = await connection.execute(
            f"""
            select * from {source} where (%(kind)s::text is null or kind = %(kind)s)
               and (%(id)s::text is null or id = %(id)s) order by id, version desc limit %(limit)s
            """.encode(),
            {"kind": kind, "id": id, "limit": limit},
        )
        return [from_row(row) for row in await found.fetchall()]


async def find(
    database: Database,
    access: Access,
    text: str,
    kind: Kind = "runbook",
    limit: int = 3,
    *,
    embedder: Embedder = LEXICAL,
) -> list[Hit]:
    """Return the current items most similar to `text`: the best of title, utterances and body counts.

    Rare terms weigh more than common ones, and ties go to the smaller id.
    """
    (vector,) = await embedder.embed([text])
    async with database.transaction(access) as connection:
        values = {
            "kind": kind,
            "embedder": embedder.id,
            "query": literal(vector),
            "weights": literal(await _weights(connection, kind, embedder, len(vector))),
            "limit": limit,
        }
        found = await connection.execute(_SEARCH.encode(), values)
        return [
            Hit(row["id"], row["version"], row["title"], row["body"], round(float(row["score"]), 6))
            for row in await found.fetchall()
        ]


_SEARCH = f"""
select current.id, current.version, current.title, current.body,
       max(greatest(0, 1 - coalesce(nullif(
         (p.embedding * %(weights)s::vector) <=> (%(query)s::vector * %(weights)s::vector), 'NaN'), 1))) as score
  from {_CURRENT} join knowledge_phrases p on p.id = current.id and p.version = current.version
 where current.kind = %(kind)s and current.embedder = %(embedder)s
 group by current.id, current.version, current.title, current.body
 order by score desc, current.id limit %(limit)s
"""


async def _weights(connection: Connection, kind: Kind, embedder: Embedder, dimensions: int) -> Vector:
    found = await connection.execute(
        f"""
        select count(presence)::int as items, sum(presence)::text as counts from {_CURRENT}
         where kind = %s and embedder = %s
        """.encode(),
        [kind, embedder.id],
    )
    row = await found.fetchone() or {}
    return rarity(parse(row["counts"]), row["items"]) if row.get("counts") else (1.0,) * dimensions


def _parameters(item: Item, vectors: Sequence[Vector], embedder: Embedder) -> dict[str, Any]:
    # The body uses so many terms that it would make every one of them look common.
    short = vectors[1:]
    return {
        "id": item.id,
        "version": item.version,
        "kind": item.kind,
        "title": item.title,
        "body": item.body,
        "digest": digest(item.body),
        "owner": item.owner,
        "review_by": item.review_by.isoformat(),
        "note": item.note,
        "trust": item.trust,
        "embedder": embedder.id,
        "presence": literal(presence(short)) if embedder.lexical else None,
        "phrases": [literal(vector) for vector in vectors],
    }
