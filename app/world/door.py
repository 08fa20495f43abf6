"""Who may call the world, and how each write is let in once: keys, permits, idempotency, faults; used by every route."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from app.world.faults import Faults
from app.world.store import Connection

Write = Callable[[Connection, "Caller", dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a write happens, as the permit says; empty while permits are off."""

    subject: str = ""
    actor: str = ""
    run: str = ""


@dataclass(slots=True)
class World:
    """What the routes share."""

    instance: str
    pool: AsyncConnectionPool[Connection]
    keys: Mapping[str, str]
    """Service key by agent role."""
    permits: bool = True
    faults: Faults = field(default_factory=Faults)

    def role(self, request: Request, *, write: bool) -> str:
        """Return whose key this is; raises 401 for none and 403 for one that may only read."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        for role, key in self.keys.items():
            if hmac.compare_digest(key.encode(), token.encode()):
                if write and role != "executor":
                    raise HTTPException(403, f"the key of the {role} may only read")
                return role
        raise HTTPException(401, "no valid service key")

    async def read(self, request: Request, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Answer a read and log who asked."""
        role = self.role(request, write=False)
        if self.faults.delay:
            await asyncio.sleep(self.faults.delay)
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement.replace("{i}", self.instance).encode(), values)
            rows = await cursor.fetchall()
            await self._log(connection, request, Caller(actor=role), "read")
        return rows

    async def write(self, request: Request, service: str, tool: str, work: Write) -> Response:
        """Do a write once per idempotency key: replay, or consume the permit, work, record and commit; then answer.

        The fault profile may break before anything happens, or drop the connection after the commit.
        """
        role = self.role(request, write=True)
        key, body = request.headers.get("idempotency-key", ""), await _body(request)
        if not key:
            raise HTTPException(400, "a write needs an Idempotency-Key")
        if self.faults.breaks():
            raise HTTPException(500, "something broke before anything happened")
        body_hash = seen(body)
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"{self.instance}/{service}/{key}"])
            if recorded := await self._recorded(connection, service, key):
                if recorded["body_hash"] != body_hash:
                    raise HTTPException(422, "this Idempotency-Key was used with another body")
                return JSONResponse(recorded["response"], headers={"Idempotent-Replay": "true"})
            caller = await self._admit(connection, request, tool, body_hash) if self.permits else Caller(actor=role)
            response = await work(connection, caller, body)
            await connection.execute(
                f"insert into {self.instance}_billing.operations values (%s, %s, %s, %s)".encode(),
                [service, key, body_hash, Jsonb(response)],
            )
            await self._log(connection, request, caller, "done")
        if self.faults.drops():
            _hang_up(request)
        return JSONResponse(response)

    async def operation(self, request: Request, service: str, key: str) -> dict[str, Any]:
        """Return what was recorded under a key; raises 404 if nothing was."""
        self.role(request, write=False)
        async with self.pool.connection() as connection:
            recorded = await self._recorded(connection, service, key)
        if recorded is None:
            raise HTTPException(404, "nothing was done under this key")
        return {"response": recorded["response"]}

    async def _recorded(self, connection: Connection, service: str, key: str) -> dict[str, Any] | None:
        cursor = await connection.execute(
            f"select body_hash, response from {self.instance}_billing.operations where service = %s and key = %s".encode(),
            [service, key],
        )
        return await cursor.fetchone()

    async def _admit(self, connection: Connection, request: Request, tool: str, body_hash: str) -> Caller:
        jti = request.headers.get("countersign-permit", "")
        try:
            async with connection.transaction():
                cursor = await connection.execute("select * from permits.consume(%s, %s, %s)", [jti, tool, body_hash])
                row = await cursor.fetchone() or {}
        except psycopg.Error as error:
            if error.sqlstate in {"CS401", "CS403"}:
                raise HTTPException(int(error.sqlstate[2:]), error.diag.message_primary or "") from error
            raise
        return Caller(row["subject"], row["actor"], row["run"])

    async def _log(self, connection: Connection, request: Request, caller: Caller, outcome: str) -> None:
        await connection.execute(
            f"insert into {self.instance}_billing.requests (path, correlation, subject, actor, key, outcome) "
            "values (%s, %s, %s, %s, %s, %s)".encode(),
            [request.url.path, request.headers.get("x-correlation-id"), caller.subject, caller.actor,
             request.headers.get("idempotency-key"), outcome],
        )  # fmt: skip


def canonical(value: Any) -> str:
    """Return the one text of a JSON value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def seen(body: Mapping[str, Any]) -> str:
    """Return the hash that a permit is bound to: the body with each list replaced by its count and digest."""
    brief: dict[str, Any] = {}
    for name, value in body.items():
        if isinstance(value, list):
            lines = "\n".join(canonical(item) for item in value)  # pyright: ignore[reportUnknownVariableType]  # JSON
            value = {"count": len(value), "digest": hashlib.sha256(lines.encode()).hexdigest()}  # pyright: ignore[reportUnknownArgumentType]  # JSON
        brief[name] = value
    return hashlib.sha256(canonical(brief).encode()).hexdigest()


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "the body must be an object")
    return body  # pyright: ignore[reportUnknownVariableType]  # JSON object, keys are text


def _hang_up(request: Request) -> None:
    """Close the connection without a word, as a crashing proxy would."""
    transport = request.scope.get("transport")
    if transport is None:
        raise HTTPException(500, "this server cannot drop connections; run it on a socket")
    transport.abort()
