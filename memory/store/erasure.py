"""Erasure of memories: on request, at the end of a run, and by expiry; called by the API, runs and housekeeping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from memory.errors import Permanent
from memory.postgres.codes import member
from memory.postgres.database import Connection, Database
from memory.scope import Access, Principal

_FORGET_CODES: tuple[Literal["ok", "held"], ...] = ("ok", "held")
_PERSON_CODES: tuple[Literal["ok", "forbidden", "busy", "held"], ...] = ("ok", "forbidden", "busy", "held")


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """Proof that a person was forgotten, without any of their texts; the authority's journal has the same."""

    person: str
    """Keyed hash of the person's id, in hexadecimal."""
    counts: Mapping[str, int]
    """Number of rows by what they were."""


async def forget(
    database: Database, access: Access, *, id: str | None = None, key: str | None = None, whole_scope: bool = False
) -> int:
    """Delete from the write scope one memory by id, one subject by key, or everything; returns the number of rows.

    Older versions of a forgotten subject go with it, archived ones too, and an archived row can be named by its id. The
    journal of the tenant's authority gets counts and a keyed digest. Raises Permanent("conflict") while one of them is
    under legal hold; then nothing goes.
    """
    if [id is not None, key is not None, whole_scope].count(True) != 1:
        raise Permanent("bad_request", "say exactly one of: the id, the key, or everything")
    row = await database.call(access, "forget_subject", id, key, whole_scope)
    if member(_FORGET_CODES, row["code"], "forget_subject") == "held":
        raise Permanent("conflict", f"archived row {row['about']!r} is under legal hold; lift that first")
    return row["gone"] + row["archived"]


async def forget_person(database: Database, person: Principal, *, requester: str) -> ErasureReceipt:
    """Forget a person in one transaction, and leave a keyed tombstone for each text, so that it is not taken in again.

    Deleted are their memories in every scope with vectors, words, links and archived copies; results, checkpoints,
    transcripts, prompts, requests and arguments of their runs; and their words in the journal, whose chain has facts
    and digests only and still verifies. Raises Permanent: `forbidden` unless `requester` is the person or an
    administrator of the tenant, `busy` while a run of theirs is open, `conflict` while something is under legal hold.
    """
    row = await database.call(Access.of(Principal(person.tenant, requester)), "forget_person", person.id)
    code = member(_PERSON_CODES, row["code"], "forget_person")
    if code == "forbidden":
        raise Permanent("forbidden", f"{requester!r} may not forget {person.id!r}; ask them, or an administrator")
    if code == "busy":
        raise Permanent(
            "busy", f"open runs of {person.id!r}, or judged by them: {row['about']}; cancel them or wait, then forget"
        )
    if code == "held":
        raise Permanent("conflict", f"{row['about']!r} of {person.id!r} is under legal hold; lift that first")
    return ErasureReceipt(row["about"], row["counts"])


async def erase_run(connection: Connection, run: str) -> int:
    """Delete a run's working memory in the transaction that ends it; its scope must be among the entered reads."""
    cursor = await connection.execute("select erase_run(%s) as gone", [run])
    return int((await cursor.fetchone() or {})["gone"])


async def sweep(database: Database, *, limit: int = 1000) -> int:
    """Delete up to `limit` expired rows of all tenants and as many archived ones whose retention has ended.

    Returns their number; callers repeat until it is 0.
    """
    async with database.worker() as connection:
        cursor = await connection.execute(
            "select sweep_memories(%s) + sweep_memory_archive(%s) as gone", [limit, limit]
        )
        return int((await cursor.fetchone() or {})["gone"])
