"""HTTP answers of services as errors: worth a retry, perhaps acted upon, or final."""

from collections.abc import Callable

import httpx2
import pytest

from memory.errors import ControlError, Permanent, Temporary
from tools.services import ServiceClient
from tools.tool import ServiceRefusal

KEYS = {"researcher": "r", "executor": "e"}
Answer = Callable[[httpx2.Request], httpx2.Response]


class _Service(httpx2.AsyncBaseTransport):
    """A service of one answer, which records its requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.answer(request)


def _says(status: int, body: object = None, **headers: str) -> _Service:
    return _Service(lambda request: httpx2.Response(status, json=body, headers=headers, request=request))


def _raises(error: Exception) -> _Service:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    return _Service(answer)


async def _error(transport: _Service) -> ControlError:
    async with ServiceClient("http://business.test", KEYS, transport=transport) as client:
        with pytest.raises(ControlError) as error:
            await client.bind("executor", "run-1", permit="p", key="k").post("billing", "refund", {})
    return error.value


async def test_write_carries_key_permit_and_correlation() -> None:
    service = _says(200, {})
    async with ServiceClient("http://business.test", KEYS, transport=service) as client:
        await client.bind("executor", "run-1", permit="p", key="k").post("billing", "refund", {"a": 1})
    (request,) = service.requests
    names = ("Authorization", "X-Correlation-Id", "Countersign-Permit", "Idempotency-Key")
    assert [request.headers[name] for name in names] == ["Bearer e", "run-1", "p", "k"]
    assert str(request.url) == "http://business.test/billing/refund"


async def test_read_carries_neither_permit_nor_key() -> None:
    service = _says(200, {"rows": []})
    async with ServiceClient("http://business.test", KEYS, transport=service) as client:
        assert await client.bind("researcher", "run-1").get("billing", "jobs", {"kind": "any"}) == {"rows": []}
    headers = service.requests[0].headers
    assert (headers["Authorization"], "Countersign-Permit" in headers, "Idempotency-Key" in headers) == (
        "Bearer r",
        False,
        False,
    )


async def test_role_without_a_key_has_no_way_out() -> None:
    async with ServiceClient("http://business.test", KEYS) as client:
        with pytest.raises(Permanent, match="'auditor' has no service key"):
            client.bind("auditor", "run-1")


@pytest.mark.parametrize(
    "error",
    [httpx2.ReadError("reset"), httpx2.RemoteProtocolError("gone"), httpx2.ReadTimeout("slow"), httpx2.WriteError("")],
)
async def test_lost_reply_may_have_acted(error: Exception) -> None:
    """R70."""
    problem = await _error(_raises(error))
    assert (type(problem), getattr(problem, "is_unsent", None)) == (Temporary, False)


@pytest.mark.parametrize("error", [httpx2.ConnectError("refused"), httpx2.ConnectTimeout(""), httpx2.PoolTimeout("")])
async def test_request_that_never_left_has_not_acted(error: Exception) -> None:
    problem = await _error(_raises(error))
    assert (type(problem), getattr(problem, "is_unsent", None)) == (Temporary, True)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_broken_service_may_have_acted(status: int) -> None:
    problem = await _error(_says(status, {"detail": "oops"}))
    assert (type(problem), getattr(problem, "is_unsent", None)) == (Temporary, False)


async def test_answer_that_is_not_json_may_have_acted() -> None:
    problem = await _error(_Service(lambda request: httpx2.Response(200, text="<html>", request=request)))
    assert (type(problem), getattr(problem, "is_unsent", None)) == (Temporary, False)


async def test_busy_service_says_when_to_come_back() -> None:
    problem = await _error(_says(429, {}, **{"Retry-After": "7"}))
    assert isinstance(problem, Temporary)
    assert (problem.delay, problem.is_unsent) == (7.0, False)


@pytest.mark.parametrize(("status", "code"), [(400, "tool_failed"), (403, "tool_failed"), (404, "not_found")])
async def test_refusal_says_its_status_and_why(status: int, code: str) -> None:
    problem = await _error(_says(status, {"detail": "account closed"}))
    assert isinstance(problem, ServiceRefusal)
    assert (problem.status, problem.code) == (status, code)
    assert "account closed" in str(problem)


async def test_read_back_answers_what_was_recorded_or_nothing() -> None:
    record, missing = _says(200, {"response": {"refunded": 1}}), _says(404, {"detail": "nothing"})
    async with ServiceClient("http://business.test", KEYS, transport=record) as client:
        services = client.bind("executor", "run-1", key="billing.refund:ch/1")
        assert await services.find_operation("billing", "billing.refund:ch/1") == {"refunded": 1}
    assert record.requests[0].url.raw_path == b"/billing/operations/billing.refund%3Ach%2F1"
    async with ServiceClient("http://business.test", KEYS, transport=missing) as client:
        assert await client.bind("executor", "run-1").find_operation("billing", "k") == {}
