"""HTTP client of the business services: shared connections, bound per call to role, run, permit and key.

The gateway binds it; adapters get the `Services` of their call, and use `request_body` and `lookup_in` from here.
"""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import httpx2
from pydantic import BaseModel

from memory.errors import Permanent, Temporary
from tools.action import Json, Role
from tools.certificates import trust_of
from tools.tool import BusinessServices, Call, Function, ServiceRefusal, SliceArgument

_SECONDS = 30.0
SETTLES_WITHIN = 30.0
"""Seconds after which the shipped services are not at work on a request any more: they give one up before."""
_MISSING, _RATE_LIMIT = 404, 429
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20)


class ServiceClient:
    """Connections to the services at one address, with one service key per agent role."""

    def __init__(
        self, url: str, keys: Mapping[str, str], *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._keys = keys
        # The environment's proxies are not asked: service keys go to the configured address and nowhere else.
        self._client = httpx2.AsyncClient(
            base_url=url, timeout=_SECONDS, limits=_LIMITS, transport=transport, trust_env=False, verify=trust_of(url)
        )

    async def __aenter__(self) -> "ServiceClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def bind(self, role: Role, run: str, *, permit: str | None = None, key: str | None = None) -> BusinessServices:
        """Return the services for one call; raises Permanent("configuration") for a role without a service key."""
        if role not in self._keys:
            raise Permanent("configuration", f"role {role!r} has no service key; give it one or use another role")
        headers = {"Authorization": f"Bearer {self._keys[role]}", "X-Correlation-Id": run}
        if permit:
            headers["Countersign-Permit"] = permit
        if key:
            headers["Idempotency-Key"] = key
        return _CallServices(self._client, headers)


class _CallServices:
    def __init__(self, client: httpx2.AsyncClient, headers: Mapping[str, str]) -> None:
        self._client = client
        self._headers = headers

    async def get(self, service: str, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        return await self._send("GET", f"/{service}/{path}", params=params)

    async def post(self, service: str, path: str, body: Mapping[str, Any]) -> Any:
        return await self._send("POST", f"/{service}/{path}", json=body)

    async def find_operation(self, service: str, key: str) -> Mapping[str, Any]:
        try:
            operation = await self.get(service, f"operations/{quote(key, safe='')}")
        except Permanent as error:
            if error.code == "not_found":
                return {}
            raise
        return operation["response"]

    async def _send(self, method: str, path: str, **content: Any) -> Any:
        try:
            response = await self._client.request(method, path, headers=self._headers, **content)
        except _NEVER_SENT as error:
            raise Temporary(
                "tool_failed", f"{path!r} could not be reached; is the service up?", is_unsent=True
            ) from error
        except httpx2.TransportError as error:
            raise Temporary(
                "tool_failed", f"no reply from {path!r} ({type(error).__name__}); it may have acted"
            ) from error
        if not response.is_success:
            raise _refusal(path, response)
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise Temporary("tool_failed", f"{path!r} answered with something that is not JSON") from error


def _refusal(path: str, response: httpx2.Response) -> ServiceRefusal | Temporary:
    message = f"{path!r} answered {response.status_code}: {_detail(response)}"
    if response.status_code == _RATE_LIMIT:
        delay = response.headers.get("Retry-After", "1")
        return Temporary("tool_failed", message, delay=float(delay) if delay.isdigit() else 1.0)
    if response.is_server_error:
        return Temporary("tool_failed", message)
    code = "not_found" if response.status_code == _MISSING else "tool_failed"
    return ServiceRefusal(code, message, response.status_code)


def _detail(response: httpx2.Response) -> str:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return response.text[:200]
    detail = cast(Mapping[str, Any], body).get("detail", body) if isinstance(body, Mapping) else body
    return str(detail)[:200]


async def request_body(args: BaseModel, call: Call) -> dict[str, Any]:
    """Return arguments as a service receives them: every slice replaced by its rows, all else as it is.

    Permits cover this body, so a write sends it unchanged.
    """
    body: dict[str, Any] = args.model_dump(mode="json")
    for name in type(args).model_fields:
        part = getattr(args, name)
        if isinstance(part, SliceArgument):
            body[name] = [dict(row) async for row in call.rows.read(part)]
    return body


async def pages_of(
    call: Call, service: str, path: str, params: Mapping[str, str | int], size: int
) -> AsyncIterator[Mapping[str, Json]]:
    """Yield the rows of a read that a service answers page by page, `size` rows each."""
    cursor = ""
    while True:
        page = await call.services.get(service, path, {**params, "after": cursor, "limit": size})
        for row in page["rows"]:
            yield row
        cursor = page["next"]
        if cursor is None:
            return


async def id_pages(call: Call, part: SliceArgument, field: str, size: int) -> AsyncIterator[list[Json]]:
    """Yield one field of a slice's rows in lists of `size`; one list of none if the slice is empty."""
    ids: list[Json] = []
    async for row in call.rows.read(part):
        ids.append(row[field])
        if len(ids) == size:
            yield ids
            ids = []
    if ids or not part.count:
        yield ids


async def keep_failures(call: Call, answer: Mapping[str, Any]) -> Mapping[str, Json]:
    """Return the answer with the failed items as a slice: ids in any number stay out of plans and prompts."""
    if not answer:
        return {}
    failures = answer["failed"]

    async def rows() -> AsyncIterator[Mapping[str, Json]]:
        for item in failures:
            yield item

    references = {"failures": (await call.rows.keep("failures", rows())).model_dump()} if failures else {}
    return {**answer, "failed": len(failures), **references}


def lookup_in(service: str) -> Function:
    """Return the look-up of a tool of this service: the operation under the call's key, or nothing."""

    async def lookup(args: BaseModel, call: Call) -> Mapping[str, Json]:
        return await call.services.find_operation(service, call.key)

    return lookup
