"""Dependencies of routes: services, caller, and the checks and cursors that several routes share."""

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar, cast

from fastapi import Depends, Query, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from app import auth
from app.api.brake import Brake
from memory.clock import Clock
from memory.embeddings.embedder import Embedder
from memory.embeddings.lexical import LEXICAL
from memory.errors import ControlError, Permanent
from memory.evidence import log
from memory.evidence.signing_key import SigningKey
from memory.governance import principals
from memory.governance.feed import Feed
from memory.postgres.database import Connection, Database
from memory.postgres.refusals import DriverError
from memory.runs.queue import RunStart
from memory.runs.records import DEFAULT_FLOW
from memory.scope import Access, Principal
from tools.catalog import Catalog
from tools.policy import PolicySet

CALLER = "caller"
"""Where a scope says who calls."""
_LOG = logging.getLogger(__name__)
_BEARER = HTTPBearer(auto_error=False, scheme_name="bearer")
_DEEPEST = 100
"""Depth of nested mappings and lists, each mapping counted twice; honest bodies stay far below."""
_HEADER = APIKeyHeader(name="X-Api-Key", auto_error=False, scheme_name="key")


class Wakes(Protocol):
    """The run queue, as far as routes need it."""

    async def defer(self, connection: Connection, run: str) -> None:
        """Have a worker look at a run, if the caller's transaction commits."""
        ...

    async def accept(self, database: Database, access: Access, start: RunStart) -> Mapping[str, Any] | None:
        """Start a run and have a worker look at it; returns the earlier answer if its request came before."""
        ...


Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that routes work with; built by `app.wiring`, or by a test."""

    database: Database
    catalog: Catalog
    queue: Wakes
    feed: Feed
    clock: Clock
    policy: str
    """Version of the policies that this process was started with."""
    budget: Mapping[str, int]
    """Bounds of a run: tokens, micros, calls; runbooks bring their own, given plans may only ask for less."""
    embedder: Embedder = LEXICAL
    """What memory is written and searched with."""
    flows: tuple[str, ...] = (DEFAULT_FLOW,)
    """Names of the flows that runs may be led by."""
    rules: PolicySet | None = None
    """The policies of that version, to say whom an edit would ask; without them, those who are asked now."""
    brake: Brake = field(default_factory=Brake)
    """Counts wrong keys."""
    signing_key: SigningKey | None = None
    """Signs the heads of logs; None leaves them unsigned."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated person of one request."""

    principal: Principal
    access: Access
    credential: str
    """Hash of the key that they came with, in hexadecimal."""


def services_of(request: Request) -> Services:
    """Return the services that this app was created with."""
    return cast(Services, request.app.state.services)


async def caller_by_key(request: Request) -> Caller:
    """Return who calls, by their key alone; raises Permanent("unauthenticated"), and Temporary for too many of those.

    The guard asks once per request, before it reads the body.
    """
    services = services_of(request)
    secret = auth.secret_of(request.headers.items())
    try:
        principal = await principals.authenticate(services.database, secret)
    except Permanent as error:
        raise services.brake.refuse(address_of(request), error) from None
    return Caller(principal, Access.of(principal), auth.credential_of(secret))


def address_of(request: Request) -> str:
    """Return the client's address: that of the connection, or what a configured proxy says."""
    return request.client.host if request.client else ""


def caller_of(
    request: Request, _bearer: Annotated[Any, Depends(_BEARER)] = None, _key: Annotated[Any, Depends(_HEADER)] = None
) -> Caller:
    """Return who calls, as the guard found out; the two schemes are there for the OpenAPI document."""
    caller = request.scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise Permanent("unauthenticated", "nobody asked for a key here; report it with the trace id")
    return caller


ServicesDep = Annotated[Services, Depends(services_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]


async def extend_log(services: ServicesDep, caller: CallerDep) -> str:
    """Take what is new in the caller's tenant into its log, for routes that show evidence.

    Reading goes on if that fails: what is there can be shown all the same. Returns why the log is signed no more, empty
    if it is.
    """
    try:
        await log.extend(services.database, caller.principal.tenant, services.signing_key)
    except (ControlError, DriverError) as error:
        _LOG.warning("the log of tenant %r was not extended: %s", caller.principal.tenant, error)
        return str(error) if isinstance(error, ControlError) and error.code == "journal_broken" else ""
    return ""


ExtendedLog = Depends(extend_log)
Limit = Annotated[int, Query(ge=1, le=200, description="how many at most")]
Cursor = Annotated[
    str | None, Query(alias="cursor", min_length=1, max_length=500, description="`next` of the page before")
]


# Refused here, since Postgres takes neither zero bytes nor lone surrogates and would answer with an error of ours.
def _refuse_unstorable(value: object, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"this is nested more than {_DEEPEST} deep")
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("text may not hold zero bytes")
        value.encode()  # a lone surrogate is a ValueError too
    elif isinstance(value, Mapping):
        for item in cast(Mapping[str, object], value).items():
            _refuse_unstorable(list(item), depth + 1)
    elif isinstance(value, list):
        for item in cast(list[object], value):
            _refuse_unstorable(item, depth + 1)


class RequestBody(BaseModel):
    """Base of request bodies: unknown fields are errors, and every text in it can be stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _holds_storable_text(cls, value: Any) -> Any:
        _refuse_unstorable(value)
        return value


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("this may not be empty")
    return text


class _NotBlank:
    """Rule for texts that is checked in our words, and stated in the schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_refuse_blank, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"minLength": 1, "pattern": r"\S", **handler(schema)}


NotBlank = _NotBlank()


def cursor(*values: object) -> str:
    """Return an opaque cursor: the sort values of a list's last row."""
    text = json.dumps([value.isoformat() if isinstance(value, datetime) else value for value in values])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def moment(text: str | None) -> tuple[datetime, str] | None:
    """Return the (time, id) that a cursor stands for; raises Permanent("bad_request") for a made-up one."""
    if not text:
        return None
    try:
        at, name = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        _refuse_unstorable(name)
        return datetime.fromisoformat(at).astimezone(UTC), str(name)
    # A cursor comes from outside: any damage to it is the sender's mistake, none an error of ours.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Permanent("bad_request", f"cursor {text!r} is not one that a list returned; leave it out") from error


def page(
    rows: Sequence[Row], limit: int, position: Callable[[Row], tuple[datetime, str]], show: Callable[[Row], Any]
) -> dict[str, Any]:
    """Return a page from `limit` + 1 rows ordered by `position`; the extra row only says that there is a next page."""
    items = rows[:limit]
    next_cursor = cursor(*position(items[-1])) if len(rows) > limit else None
    return {"items": [show(row) for row in items], "next": next_cursor}
