"""Refusals in the OpenAPI document: each operation says with which statuses it may answer, and none else.

`app.api.server` calls it when somebody asks for the document; a test plays requests against what it says.
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from app.api import problems

_ALWAYS = (400, 408, 413, 415, 431, 500, 503)
"""What the connection and the guard may answer before any route is met, and failures of our own."""
_WITH_KEY = (401, 403, 429)
_OF_CHANGES = (404, 409, 422)
_OF_ROUNDS = frozenset({"decide_approval", "take_over_approval"})
"""Operations whose request names the state that was read."""
_KEYLESS = frozenset({"claim_key"})
_TEXTS = ("type", "title", "code", "detail", "next", "instance", "trace_id")


def complete(document: dict[str, Any]) -> None:
    """Add the refusals of every operation, and the schema of a problem."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _problem_schema()
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete_operation(method, operation)


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    statuses = {*_ALWAYS, *_of_key(operation), *_of_route(method, operation)}
    refusals = {str(status): _answer(status) for status in statuses}
    # What a route says itself of a status is better than what is said of all.
    own = {status: item for status, item in operation["responses"].items() if status != "422"}
    operation["responses"] = dict(sorted((refusals | own).items()))


def _of_key(operation: Mapping[str, Any]) -> Iterable[int]:
    if "security" in operation:
        return _WITH_KEY
    return (401, 429) if operation["operationId"] in _KEYLESS else ()


def _of_route(method: str, operation: Mapping[str, Any]) -> Iterable[int]:
    if operation["operationId"] in _OF_ROUNDS:
        return (*_OF_CHANGES, 412)
    if method != "get":
        return _OF_CHANGES
    return (404, 422) if operation.get("parameters") else ()


def _answer(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*_TEXTS, "status"],
        "properties": {
            **{name: {"type": "string"} for name in _TEXTS},
            "code": {"type": "string", "enum": sorted(problems.PROBLEMS)},
            "status": {"type": "integer"},
        },
    }
