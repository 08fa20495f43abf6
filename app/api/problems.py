"""Problem documents (RFC 9457): a code of the closed list, its HTTP status, and what to do next.

The only module that knows HTTP statuses; everything below raises codes.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from memory.errors import Code, ControlError, Permanent, Temporary
from memory.postgres.refusals import DriverError, refusal_of

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """HTTP status, title and next step of one code."""

    status: int
    title: str
    next: str


PROBLEMS: Mapping[Code, ProblemType] = {
    "agent_scope": ProblemType(403, "The agent's scope does not cover this", "change the request or the policy"),
    "fact_missing": ProblemType(
        403, "A rule looks at a fact that the tool does not say", "state it on the tool's card, or that it has none"
    ),
    "forged_authority": ProblemType(403, "A reference belongs to somebody else", "use results of this run only"),
    "key_reused": ProblemType(409, "The effect's key was used with other arguments", "look at the recorded effect"),
    "killed": ProblemType(
        409, "The stop switch is pulled", "see `countersign kill --list`; a person may unkill and resume"
    ),
    "no_capability": ProblemType(
        403, "No policy permits this", "add a capability to the policies if it should be allowed"
    ),
    "policy_denied": ProblemType(403, "Policy forbids this", "read the rule that is named; approvals cannot lift it"),
    "policy_error": ProblemType(
        403, "The policies could not be evaluated", "check the policies; until then it is denied"
    ),
    "role_scope": ProblemType(403, "This agent role may not use this tool", "let the right role perform the step"),
    "stale_knowledge": ProblemType(409, "The plan rests on replaced knowledge", "nothing: the run plans again"),
    "stale_policy": ProblemType(
        409, "Another policy is in force than the one asked", "restart the worker or activate it"
    ),
    "unknown_tool": ProblemType(404, "No such tool", "list the tools with GET /api/tools"),
    "invalid_arguments": ProblemType(422, "Arguments do not fit the tool", "compare them with the tool's schema"),
    "tainted": ProblemType(403, "The text has no standing here", "read where it stems from; have a person supply it"),
    "approval_decided": ProblemType(409, "The question is decided already", "read the decision that won"),
    "approval_expired": ProblemType(409, "The question's time is over", "start it again when people are there"),
    "approval_rejected": ProblemType(409, "A person rejected this", "read the reason; start again if it changed"),
    "approval_required": ProblemType(409, "People must agree first", "decide the open approval"),
    "approval_stale": ProblemType(412, "The proposal changed since it was shown", "read it again, then decide"),
    "approval_timeout": ProblemType(409, "Nobody decided in time", "start it again when people are there"),
    "approval_void": ProblemType(409, "The question is void", "read the round that replaced it"),
    "duplicate_vote": ProblemType(409, "You have voted already", "another person must decide"),
    "needs_another_group": ProblemType(
        403, "Your groups may not decide this", "ask a member of the groups that are named"
    ),
    "over_limit": ProblemType(403, "The amount is above your limit", "ask somebody with a higher limit"),
    "requester_excluded": ProblemType(403, "Requesters do not decide their own requests", "ask somebody else"),
    "author_excluded": ProblemType(403, "Authors do not decide what they wrote", "ask somebody else"),
    "no_approver_left": ProblemType(
        409,
        "Too few people would be left who may decide",
        "add somebody to the groups that are named, or let the requester take an edit over as a request of their own",
    ),
    "wrong_decision": ProblemType(
        409, "This kind of question is not answered like that", "approve, reject, edit or ask; an audit: take_back"
    ),
    "wrong_nonce": ProblemType(
        412, "The decision is not for the round that is open", "read the approval again, then decide"
    ),
    "audit_failed": ProblemType(409, "What happened is not what was expected", "answer its approval"),
    "budget_exceeded": ProblemType(409, "The budget is used up", "raise the plan's budget and start again"),
    "busy": ProblemType(
        409, "An open run is in the way", "wait, cancel the run, or, where a chat asks, send supersedes"
    ),
    "cancelled": ProblemType(409, "The run was cancelled", "start a new one if it is still wanted"),
    "contract_violation": ProblemType(422, "A role's output broke its contract", "read the journal of the run"),
    "lease_lost": ProblemType(409, "Another worker leads the run", "nothing: that worker goes on"),
    "no_progress": ProblemType(
        409, "The run repeated itself without progress", "read its last steps and change the request"
    ),
    "not_found": ProblemType(404, "There is no such thing for you", "check the id and whose key you use"),
    "plan_invalid": ProblemType(422, "The plan cannot be run as written", "mend each problem that is listed"),
    "unclear": ProblemType(409, "It is unclear what is wanted", "answer the question in the chat"),
    "step_failed": ProblemType(409, "A step failed for good", "work through the manual list of the run"),
    "tool_failed": ProblemType(502, "A tool failed", "see the tool's playbook"),
    "unverified": ProblemType(409, "The service said ok, but nothing changed", "look at the service, then resolve it"),
    "in_doubt": ProblemType(
        409, "Nobody knows whether the effect happened", "look at the service, then `effects resolve`"
    ),
    "bad_request": ProblemType(400, "The request cannot be understood", "compare it with /openapi.json"),
    "configuration": ProblemType(500, "The installation is not set up right", "run `countersign doctor`"),
    "conflict": ProblemType(
        409, "That is not possible in the present state", "read the present state, then decide again"
    ),
    "database_full": ProblemType(
        503, "The database's disk is full", "make room on its disk; what waits goes on by itself"
    ),
    "database_read_only": ProblemType(
        503, "The database takes no writes", "make it writable again; what waits goes on by itself"
    ),
    "forbidden": ProblemType(403, "You may not do this", "ask somebody whose group may"),
    "headers_too_large": ProblemType(431, "The headers are too large", "send less before the body"),
    "idempotency_mismatch": ProblemType(422, "The Idempotency-Key belongs to another request", "choose a new key"),
    "journal_broken": ProblemType(
        500, "The journal does not verify", "stop, keep the database, compare with an export"
    ),
    "lock_timeout": ProblemType(
        503,
        "Somebody holds what this waits for",
        "try again after Retry-After seconds; if it stays so, look in pg_locks who it is",
    ),
    "record_refused": ProblemType(
        500,
        "The database refuses what must be recorded",
        "mend what the message names, see docs/operating.md; then resume the run, or ask again",
    ),
    "request_timeout": ProblemType(408, "The request did not arrive in time", "send it again, and without pauses"),
    "too_large": ProblemType(413, "This is too large", "send less; a request may have 1 MB, a step's state 32 MB"),
    "too_many_connections": ProblemType(
        503, "There are too many connections", "close some, or try again after Retry-After seconds"
    ),
    "too_many_wrong_keys": ProblemType(
        429, "Too many wrong keys came from this address", "send a valid key, or wait for Retry-After seconds"
    ),
    "unauthenticated": ProblemType(401, "No valid key", "send a valid key; an administrator makes them"),
    "unavailable": ProblemType(503, "A dependency does not answer", "try again after Retry-After seconds"),
    "unsupported_media_type": ProblemType(415, "The body is not JSON", "send Content-Type: application/json"),
    "key_claimed": ProblemType(
        409, "The code was used before", "if it was not you, have an administrator revoke the key"
    ),
    "internal": ProblemType(500, "Something unforeseen went wrong", "report it with the trace id"),
}
"""Every code of the closed list; `docs/codes.md` shows the same table."""

_OF_STATUS: Mapping[int, Code] = {404: "not_found", 413: "too_large", 415: "unsupported_media_type"}


class Refusal(Permanent):
    """A refusal that tells more than its message, such as the decision that won or the problems of a plan."""

    def __init__(self, code: Code, message: str, **extras: Any) -> None:
        super().__init__(code, message)
        self.extras = extras


def response(request: Request, code: Code, detail: str, *, status: int | None = None, **extras: Any) -> JSONResponse:
    """Return a problem document; `status` replaces the code's own only where HTTP demands it."""
    number = status or PROBLEMS[code].status
    body = document(code, detail, status=number, instance=request.url.path, trace=trace_of(request))
    headers = {"WWW-Authenticate": "Bearer"} if number == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse({**extras, **body}, number, media_type=MEDIA_TYPE, headers=headers)


def document(code: Code, detail: str, *, status: int, instance: str, trace: str) -> dict[str, Any]:
    """Return the fields of a problem document."""
    return {
        "type": f"/docs/codes#{code}",
        "title": PROBLEMS[code].title,
        "status": status,
        "code": code,
        "detail": detail,
        "next": PROBLEMS[code].next,
        "instance": instance,
        "trace_id": trace,
    }


async def answer(request: Request, error: ControlError | DriverError) -> JSONResponse:
    """Answer an error that was met outside of any route."""
    return await (_answer_control_error if isinstance(error, ControlError) else _answer_driver_error)(request, error)


def trace_of(request: Request) -> str:
    """Return the trace id of a request, which the guard has set."""
    return str(request.scope.get("trace", "none"))


def install(app: FastAPI) -> None:
    """Answer every failure of the app as a problem document."""
    app.add_exception_handler(ControlError, _answer_control_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(DriverError, _answer_driver_error)
    app.add_exception_handler(Exception, _answer_unexpected_error)


async def _answer_control_error(request: Request, error: Exception) -> JSONResponse:
    control_error = cast(ControlError, error)
    extras: Mapping[str, Any] = control_error.extras if isinstance(control_error, Refusal) else {}
    answer = response(request, control_error.code, str(control_error), **extras)
    if isinstance(control_error, Temporary):
        answer.headers["Retry-After"] = str(max(1, round(control_error.delay)))
    return answer


async def _answer_driver_error(request: Request, error: Exception) -> JSONResponse:
    refusal = refusal_of(error)
    if refusal is None:
        return await _answer_unexpected_error(request, error)
    _LOG.error("request %s failed", trace_of(request), exc_info=error)
    return await _answer_control_error(request, refusal)


async def _answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    failures: Sequence[Any] = cast(RequestValidationError, error).errors()
    errors = [
        {"at": ".".join(map(str, item["loc"])), "problem": item["msg"].removeprefix("Value error, ")}
        for item in failures
    ]
    messages = "; ".join(f"{item['at']}: {item['problem']}" for item in errors[:5])
    return response(request, "bad_request", f"the request is not valid: {messages}", status=422, errors=errors[:20])


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    http_error = cast(HTTPException, error)
    code = _OF_STATUS.get(http_error.status_code, "bad_request")
    detail = f"{request.method} {request.url.path}: {http_error.detail}"
    answer = response(request, code, detail, status=http_error.status_code)
    answer.headers.update(http_error.headers or {})
    return answer


async def _answer_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("request %s failed", trace_of(request), exc_info=error)
    return response(request, "internal", "the request failed for a reason that nobody foresaw; it is logged")
