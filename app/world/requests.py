"""Entrance of the demo business: service keys, permits, idempotency, rate limit and faults; used by all its routes."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from typing import Annotated, Any, TypeVar, cast
from uuid import uuid4

import psycopg
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel, ValidationError

from app.world.faults import Faults, RateLimit
from app.world.store import WorldConnection

Row = dict[str, Any]
BodyT = TypeVar("BodyT", bound=BaseModel)


@dataclass(slots=True)
class World:
    """One instance of the business, opened; `service.open_world` makes it."""

    instance: str
    pool: AsyncConnectionPool[WorldConnection]
    keys: Mapping[str, str]
    """Service key by agent role."""
    permits: bool = True
    faults: Faults = field(default_factory=Faults)
    rate_limit: RateLimit = field(default_factory=RateLimit)

    def role(self, request: Request, *, write: bool) -> str:
        """Return whose key this is; raises 401 for none, 403 for one that may only read, 429 for too many calls."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        role = next((name for name, key in self.keys.items() if compare_digest(key.encode(), token.encode())), None)
        if role is None:
            raise HTTPException(401, "no valid service key")
        if write and role != "executor":
            raise HTTPException(403, f"the key of the {role} may only read")
        if not self.rate_limit.allows(role):
            raise HTTPException(429, "too many calls in this second", {"Retry-After": "1"})
        return role


@dataclass(frozen=True, slots=True)
class Desk:
    """Context of one request: its connection, and the subject, actor and run that its permit names."""

    connection: WorldConnection
    instance: str
    faults: Faults
    path: str
    role: str
    """Whose service key it was."""
    correlation: str = ""
    subject: str = ""
    actor: str = ""
    run: str = ""
    key: str = ""
    """The client's idempotency key."""
    item_key: str = ""
    """The client's pattern for the keys of the items of a batch, such as `refund:{charge}`."""

    @property
    def behalf(self) -> dict[str, str]:
        """Return the run, subject and actor that every written row carries."""
        return {"run": self.run, "subject": self.subject, "actor": self.actor}

    async def rows(self, statement: str, **values: Any) -> list[Row]:
        """Run a statement, in which {i} stands for the instance, and return its rows."""
        cursor = await self.connection.execute(statement.replace("{i}", self.instance).encode(), values)
        return await cursor.fetchall()

    async def row(self, statement: str, **values: Any) -> Row | None:
        """Return the first row, if there is one."""
        rows = await self.rows(statement, **values)
        return rows[0] if rows else None

    async def count(self, statement: str, **values: Any) -> int:
        """Run a statement that returns no rows and return how many it touched."""
        cursor = await self.connection.execute(statement.replace("{i}", self.instance).encode(), values)
        return cursor.rowcount

    async def log(self, outcome: str) -> None:
        """Record the request with its caller and outcome."""
        await self.count(
            "insert into {i}_billing.requests (path, correlation, role, subject, actor, key, outcome) values"
            " (%(path)s, %(correlation)s, %(role)s, %(subject)s, %(actor)s, %(key)s, %(outcome)s)",
            path=self.path, correlation=self.correlation, role=self.role, subject=self.subject, actor=self.actor,
            key=self.key, outcome=outcome,
        )  # fmt: skip

    async def operation(self, service: str, key: str) -> Row | None:
        """Return the `body_hash` and `response` recorded under a key."""
        return await self.row(
            "select body_hash, response from {i}_billing.operations where service = %(service)s and key = %(key)s",
            service=service,
            key=key,
        )


async def reading(request: Request) -> AsyncGenerator[Desk]:
    """Admit and log a read, for any role."""
    world = _world(request)
    role = world.role(request, write=False)
    if world.faults.delay:
        await asyncio.sleep(world.faults.delay)
    async with world.pool.connection() as connection:
        desk = _desk(world, connection, request, role)
        await desk.log("read")
        yield desk


Reading = Annotated[Desk, Depends(reading)]

Work = Callable[[Desk, BodyT], Awaitable[Row]]


@dataclass(frozen=True, slots=True)
class Verb:
    """A write: its tool name, the shape of its body, and what it does inside the transaction."""

    tool: str
    body_type: type[BaseModel]
    work: Callable[[Desk, Any], Awaitable[Row]]

    async def serve(self, request: Request) -> Response:
        """Do the work once per key: replay, or consume the permit, work, record and commit; only then answer.

        The fault profile may break before anything happens, or drop the connection after the commit.
        """
        world = _world(request)
        role = world.role(request, write=True)
        body = await _body(request)
        arguments = self._check(body)
        if world.faults.breaks():
            raise HTTPException(500, "something broke before anything happened")
        async with world.pool.connection() as connection, connection.transaction():
            desk = _desk(world, connection, request, role)
            response, is_replay = await self._once(world, desk, request, body, arguments)
        if is_replay:
            return JSONResponse(response, headers={"Idempotent-Replay": "true"})
        if world.faults.drops():
            _hang_up(request)
        return JSONResponse(response)

    async def _once(
        self, world: World, desk: Desk, request: Request, body: Row, arguments: BaseModel
    ) -> tuple[Row, bool]:
        service, body_hash = self.tool.partition(".")[0], permit_digest(body)
        await self._take_turns(world, desk, f"{desk.instance}/{service}/{desk.key}")
        # The key comes before the permit: whoever repeats a request whose permit is used up still learns the answer.
        if operation := await desk.operation(service, desk.key):
            if operation["body_hash"] != body_hash:
                raise HTTPException(422, "this Idempotency-Key was used with another body")
            await desk.log("replay")
            return operation["response"], True
        if world.permits:
            desk = await self._admit(desk, request.headers.get("countersign-permit", ""), body_hash)
        if world.faults.work:
            await asyncio.sleep(world.faults.work)
        response = await self.work(desk, arguments)
        await desk.count(
            "insert into {i}_billing.operations values (%(service)s, %(key)s, %(body_hash)s, %(response)s)",
            service=service, key=desk.key, body_hash=body_hash, response=Jsonb(response),
        )  # fmt: skip
        await desk.log("done")
        return response, False

    @staticmethod
    async def _take_turns(world: World, desk: Desk, name: str) -> None:
        """Let two requests with one key wait for each other, so that the second finds the first one's answer.

        A profile refuses the second instead: what the first will come to is not known yet.
        """
        verb = "pg_try_advisory_xact_lock" if world.faults.busy else "pg_advisory_xact_lock"
        row = await desk.row(f"select {verb}(hashtextextended(%(name)s, 0)) as is_free", name=name)
        if row and row["is_free"] is False:
            raise HTTPException(409, "a request with this Idempotency-Key is at work")

    async def _admit(self, desk: Desk, permit: str, body_hash: str) -> Desk:
        try:
            claims = await desk.row(
                "select * from permits.consume(%(permit)s, %(tool)s, %(body_hash)s)",
                permit=permit,
                tool=self.tool,
                body_hash=body_hash,
            )
        except psycopg.Error as error:
            if error.sqlstate in {"CS401", "CS403"}:
                raise HTTPException(int(error.sqlstate[2:]), error.diag.message_primary or "") from error
            raise
        return replace(desk, **(claims or {}))

    def _check(self, body: Row) -> BaseModel:
        try:
            return self.body_type.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = ".".join(map(str, first["loc"]))
            raise HTTPException(422, f"{self.tool} cannot use this body: {path}: {first['msg']}") from None


def write(router: APIRouter, tool: str, body_type: type[BodyT]) -> Callable[[Work[BodyT]], Work[BodyT]]:
    """Serve the decorated function as `POST /<service>/<verb>`; its body is the tool's resolved arguments."""

    def declare(work: Work[BodyT]) -> Work[BodyT]:
        router.add_api_route(f"/{tool.partition('.')[2]}", Verb(tool, body_type, work).serve, methods=["POST"])
        return work

    return declare


def read_back(router: APIRouter, service: str) -> None:
    """Serve `GET /<service>/operations/{key}`: what was done under a key, or 404."""

    async def operation(desk: Reading, key: str) -> Row:
        row = await desk.operation(service, key)
        if row is None:
            raise HTTPException(404, "nothing was done under this key")
        return {"response": row["response"]}

    router.add_api_route("/operations/{key:path}", operation, methods=["GET"])


def canonical(value: Any) -> str:
    """Return the canonical text of a JSON value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def permit_digest(body: Mapping[str, Any]) -> str:
    """Return the hash that a permit is bound to: the body with each list replaced by its count and digest."""
    return _sha256(canonical({name: _brief(value) for name, value in body.items()}))


def _brief(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    items = cast(list[Any], value)
    return {"count": len(items), "digest": _sha256("\n".join(map(canonical, items)))}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _world(request: Request) -> World:
    return request.app.state.world


def _desk(world: World, connection: WorldConnection, request: Request, role: str) -> Desk:
    headers = request.headers
    return Desk(
        connection, world.instance, world.faults, request.url.path, role,
        correlation=headers.get("x-correlation-id", ""),
        # A client that sends no key gets no protection from sending twice, as with any such service.
        key=headers.get("idempotency-key") or f"unkeyed:{uuid4()}",
        item_key=request.query_params.get("item_key", ""),
    )  # fmt: skip


async def _body(request: Request) -> Row:
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "the body must be an object")
    return cast(Row, body)


def _hang_up(request: Request) -> None:
    """Close the connection without a word, as a crashing proxy would."""
    transport = request.scope.get("transport")
    if transport is None:
        raise HTTPException(500, "the reply was lost; only a server on a socket can drop connections")
    transport.abort()
