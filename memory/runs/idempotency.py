"""Answers to requests with an Idempotency-Key; the API looks them up before it starts or decides anything."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from memory.errors import Permanent
from memory.postgres import locks
from memory.postgres.database import Connection

KEEP_HOURS = 48


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One keyed request of one person; equal bodies on one route have equal hashes."""

    key: str
    route: str
    hash: str

    @classmethod
    def of(cls, key: str, route: str, body: object) -> "IdempotentRequest":
        """Describe a request by its parsed body."""
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
        return cls(key, route, hashlib.sha256(f"{route}\n{text}".encode()).hexdigest())


async def earlier_answer(connection: Connection, request: IdempotentRequest) -> Mapping[str, Any] | None:
    """Return the body of the answer that this request got before, or None and hold its key until the transaction ends.

    Raises Permanent("idempotency_mismatch") if the key came with another body, Permanent("conflict") while the first
    request with this key is still at work.
    """
    cursor = await connection.execute(
        "select pg_try_advisory_xact_lock(%s, hashtext(concat_ws('/', current_tenant(), current_principal(), "
        "%s::text))) as ok",
        [locks.REQUEST, request.key],
    )
    row = await cursor.fetchone() or {}
    if not row["ok"]:
        raise at_work(request)
    cursor = await connection.execute("select hash, answer from requests where key = %s", [request.key])
    old = await cursor.fetchone()
    if old is None:
        return None
    if old["hash"] != request.hash:
        raise mismatch(request)
    return old["answer"]


def at_work(request: IdempotentRequest) -> Permanent:
    """Return that the first request with this key has not been answered yet."""
    return Permanent("conflict", f"a request with Idempotency-Key {request.key!r} is still at work; ask again soon")


def mismatch(request: IdempotentRequest) -> Permanent:
    """Return that a key came with another body."""
    message = f"Idempotency-Key {request.key!r} was used for another request; choose a new key for a new request"
    return Permanent("idempotency_mismatch", message)


async def record(connection: Connection, request: IdempotentRequest, answer: Mapping[str, Any]) -> None:
    """Keep the answer, in the transaction that did the work; the person's old ones go."""
    await connection.execute(
        "delete from requests where created < (select clock_timestamp()) - make_interval(hours => %s)", [KEEP_HOURS]
    )
    await connection.execute(
        "insert into requests (key, route, hash, answer) values (%s, %s, %s, %s)",
        [request.key, request.route, request.hash, Jsonb(answer)],
    )
