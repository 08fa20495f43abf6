"""Versions of knowledge items, which plans pin: publish, approve, list, show; for planners, API and `app.bootstrap`.

A published version never changes. Publishing is a person's act, outside any run, and voids approvals that pin an older
version. Who published a version is an author of what plans that rest on it ask, until another person approves it.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from memory.embeddings.lexical import LEXICAL
from memory.errors import Code, Permanent
from memory.knowledge.models import (
    ItemKind,
    KnowledgeItem,
    KnowledgeVersion,
    PublicationResult,
    VersionStanding,
    check,
    digest,
    from_row,
    phrases,
)
from memory.knowledge.search import embed_phrases, find
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.scope import Access

__all__ = ["KnowledgeItem", "approve", "current", "find", "import_items", "ls", "publish", "show", "standing"]

PublishCode = Literal["ok", "known", "forbidden", "group", "kind", "conflict", "next", "no_approver_left"]
ApproveCode = Literal["ok", "known", "forbidden", "group", "not_found", "author_excluded"]
_CODES: tuple[PublishCode, ...] = get_args(PublishCode)
_APPROVE_CODES: tuple[ApproveCode, ...] = get_args(ApproveCode)
_NO_APPROVAL: Mapping[ApproveCode, tuple[Code, str]] = {
    "not_found": ("not_found", "there is no {0}; list what is with `knowledge ls`"),
    "author_excluded": ("author_excluded", "{0} is published by {1!r}; ask another person"),
    "forbidden": ("forbidden", "{0} must be approved by a person, outside runs"),
    "group": ("forbidden", "{1!r} may not approve {0}; ask somebody of 'ops', 'finance' or 'admin'"),
}
_STANDING = """
select k.published_by, not exists (select 1 from principals q where q.id = k.published_by) as is_shipped,
  array(select w.approver from knowledge_approvals w
         where w.id = k.id and w.version = k.version order by w.at) as approvers,
  array(select q.id from principals q
         where q.id <> k.published_by and q.groups && publisher_groups() order by q.id) as candidates
  from knowledge k where k.id = %s and k.version = %s
"""
_log = logging.getLogger(__name__)

_CURRENT = """
(select k.* from knowledge k where not exists (
   select 1 from knowledge n where n.tenant = k.tenant and n.id = k.id and n.version > k.version)) as current
"""


async def publish(
    database: Database, access: Access, item: KnowledgeItem, *, attended: bool = True
) -> PublicationResult:
    """Publish a version as the access's principal; the same version with the same text changes nothing.

    No model is called: words find the version at once; vectors of a model follow in the background. A version that
    becomes current voids, in the same transaction, every open approval that pins an older one.
    Raises Permanent: `bad_request` for an item outside the schema, `forbidden` for text that no person vouches for,
    from inside a run, or by somebody who does not answer for production, `conflict` if the version exists with another
    text or is not the next one, or if the item is of another kind, `no_approver_left` if plans that rest on it ask
    people (`attended`) and nobody but its publisher could approve it.
    """
    check(item)
    vectors = await embed_phrases(phrases(item), LEXICAL)
    document = {**_columns(item), "embedder": vectors.embedder, "attended": attended}
    row = await database.call(access, "publish_knowledge", document, vectors.phrases, vectors.presence)
    code = member(_CODES, row["code"], "publish_knowledge")
    if code not in ("ok", "known"):
        raise _refusal(item, access, code, row["version"])
    return PublicationResult(int(row["version"]), code == "ok", list(row["woken"]))


def _refusal(item: KnowledgeItem, access: Access, code: PublishCode, version: int | None) -> Permanent:
    name = repr(item.id)
    if code == "forbidden":
        return Permanent(
            "forbidden", f"{name} must be published by a person, outside runs; let one read and publish it"
        )
    if code == "group":
        return Permanent("forbidden", f"{access.principal.id!r} may not publish {name}; ask operations or finance")
    if code == "no_approver_left":
        return Permanent(
            "no_approver_left",
            f"nobody but {access.principal.id!r} could approve {name} version {version}, and who published it does not "
            "decide what its plans ask; add somebody to 'ops', 'finance' or 'admin', or let another person publish it",
        )
    messages = {
        "kind": f"{name} is no {item.kind} and stays what it is; publish this text under another id",
        "next": f"the next version of {name} is {version}, not {item.version}; publish it as that one",
    }
    return Permanent(
        "conflict",
        messages.get(code, f"{name} version {version} exists with another text; publish it as a new version"),
    )


async def approve(database: Database, access: Access, id: str, version: int, reason: str = "") -> bool:
    """Agree as the access's person that plans rest on a version; returns False if they did so before.

    Raises Permanent: `not_found`, `author_excluded` for its publisher, `forbidden` for whoever may not publish and from
    inside a run.
    """
    row = await database.call(access, "approve_knowledge", id, version, reason)
    code = member(_APPROVE_CODES, row["code"], "approve_knowledge")
    if code in ("ok", "known"):
        return code == "ok"
    error, message = _NO_APPROVAL[code]
    raise Permanent(error, message.format(f"{id!r} version {version}", access.principal.id))


async def standing(database: Database, access: Access, id: str, version: int) -> VersionStanding:
    """Return who published a version, who approved it, and who could; raises Permanent("not_found")."""
    rows = await database.rows(access, _STANDING, id, version)
    if not rows:
        raise Permanent(
            "not_found", f"there is no {id!r} version {version}; list what is with `knowledge ls --id {id}`"
        )
    row = rows[0]
    return VersionStanding(row["published_by"], row["is_shipped"], tuple(row["approvers"]), tuple(row["candidates"]))


async def import_items(database: Database, access: Access, items: Iterable[KnowledgeItem]) -> list[PublicationResult]:
    """Publish shipped items that are missing, each with its version; any number of processes may do so at once.

    A version that people published with a text of their own stays, and the log says so.
    """
    candidates = list(items)
    async with database.transaction(access) as connection:
        cursor = await connection.execute("select id, version, digest from knowledge")
        digests = {(row["id"], row["version"]): str(row["digest"]) for row in await cursor.fetchall()}
    results: list[PublicationResult] = []
    for item in candidates:
        digest_here = digests.get((item.id, item.version))
        if digest_here is None:
            results.append(await publish(database, access, item))
        elif digest_here != digest(item.body):
            _log.warning("%r version %s was published here with another text and is kept", item.id, item.version)
    return results


async def current(database: Database, access: Access, id: str) -> KnowledgeVersion:
    """Return the newest version; raises Permanent("not_found")."""
    return await show(database, access, id, None)


async def show(database: Database, access: Access, id: str, version: int | None) -> KnowledgeVersion:
    """Return one version with the text as it was published; None means the newest. Raises Permanent("not_found")."""
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            "select * from knowledge where id = %(id)s and (%(version)s::int is null or version = %(version)s) "
            "order by version desc limit 1",
            {"id": id, "version": version},
        )
        row = await cursor.fetchone()
    if row is None:
        name = id if version is None else f"{id} version {version}"
        raise Permanent("not_found", f"nothing is known as {name!r}; list what is with `knowledge ls`")
    return from_row(row)


async def ls(
    database: Database,
    access: Access,
    *,
    kind: ItemKind | None = None,
    id: str | None = None,
    limit: int = 100,
    after: tuple[str, int] | None = None,
) -> list[KnowledgeVersion]:
    """Return current items by id, or with `id` the versions of one, newest first; those after the (id, version)."""
    source = _CURRENT if id is None else "knowledge"
    position = dict(zip(("last", "seen"), after or (None, None), strict=True))
    async with database.transaction(access) as connection:
        cursor = await connection.execute(
            f"""
            select * from {source} where (%(kind)s::text is null or kind = %(kind)s)
               and (%(id)s::text is null or id = %(id)s)
               and (%(last)s::text is null or id > %(last)s or id = %(last)s and version < %(seen)s)
             order by id, version desc limit %(limit)s
            """.encode(),
            {"kind": kind, "id": id, "limit": limit, **position},
        )
        return [from_row(row) for row in await cursor.fetchall()]


def _columns(item: KnowledgeItem) -> dict[str, Any]:
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
    }
