"""Requests made from the OpenAPI document: what comes back is in it, and nothing that fits a schema is too long."""

import asyncio
import re
from typing import Any

import hypothesis
import schemathesis
from schemathesis import GenerationMode
from schemathesis import checks as general
from schemathesis.specs.openapi import checks

from app.api.server import create_app
from memory.postgres.database import Database
from memory.scope import Access, Principal
from tests.app.conftest import key_of

EXAMPLES = 3
# The library's own types of these are not whole.
_GENERAL: Any = general
_OPENAPI: Any = checks
CHECKS = [_GENERAL.not_a_server_error, _OPENAPI.status_code_conformance, _OPENAPI.content_type_conformance]
LENGTHS = re.compile(r"at (most|least) \d|may not be empty|longer|shorter|needs a reason|needs a name")
NEVER_ENDING = frozenset({"run_events", "chat", "tenant_events"})
"""Operations that answer for as long as a run lasts, which nobody leads here, or for as long as somebody listens."""


def play(api: str, secret: str) -> list[str]:
    """Send some requests of every operation; returns what should not be."""
    schema: Any = schemathesis.openapi.from_url(f"{api}/openapi.json")
    schema.config.generation.update(modes=[GenerationMode.POSITIVE])
    problems: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.definition.raw["operationId"] not in NEVER_ENDING:
            _play_operation(operation, secret, problems)
    return problems


def _play_operation(operation: Any, secret: str, problems: list[str]) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.filter_too_much, hypothesis.HealthCheck.too_slow],
    )
    @hypothesis.given(case=operation.as_strategy())
    def send(case: Any) -> None:
        case.headers.pop("X-Api-Key", None)
        answer = case.call(headers={"Authorization": f"Bearer {secret}"}, timeout=20)
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code in (400, 413, 422) and LENGTHS.search(answer.json()["detail"]):
            problems.append(f"{operation.label}: {answer.json()['detail']}")

    send()


async def test_every_answer_is_documented_and_nothing_that_fits_is_too_long(
    api: str, database: Database, people: dict[str, Principal]
) -> None:
    key = await key_of(database, Access.of(people["root"]), "root")
    assert await asyncio.to_thread(play, api, key.secret) == []


def test_no_operation_has_a_catch_all() -> None:
    operations = [item for path in create_app().openapi()["paths"].values() for item in path.values()]
    assert not [item["operationId"] for item in operations if not all(map(str.isdecimal, item["responses"]))]
    assert all({"400", "408", "413", "431", "503"} <= set(item["responses"]) for item in operations)
    assert all({"401", "429"} <= set(item["responses"]) for item in operations if "security" in item)
