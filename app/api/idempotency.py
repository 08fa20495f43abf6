"""Idempotency keys of HTTP requests: work and its answer in one transaction; for routes that start or decide."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Header, Response

from app.api.dependencies import Caller, RequestBody, Services
from memory.postgres.database import Connection
from memory.runs import idempotency

REPLAY_HEADER = "Idempotency-Replayed"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="repeat a request safely: the same key with the same body gets the first answer",
    ),
]
IdempotentWork = Callable[[Connection], Awaitable[dict[str, Any]]]


async def perform(
    services: Services, caller: Caller, request: idempotency.IdempotentRequest | None, work: IdempotentWork
) -> tuple[Any, bool]:
    """Return the work's answer and False, or the answer recorded under the key and True; all in one transaction.

    Raises Permanent `idempotency_mismatch` or `conflict`, by `memory.runs.idempotency`.
    """
    async with services.database.transaction(caller.access) as connection:
        if request and (old := await idempotency.earlier_answer(connection, request)) is not None:
            return old, True
        answer = await work(connection)
        # In the transaction of the work: either both are there after a crash, or neither.
        if request:
            await idempotency.record(connection, request, answer)
        return answer, False


def request_of(key: str | None, route: str, body: RequestBody) -> idempotency.IdempotentRequest | None:
    """Return the request with its key and digest, or None if its sender chose no key."""
    return idempotency.IdempotentRequest.of(key, route, body.model_dump(mode="json")) if key else None


def mark(response: Response, is_replay: bool) -> None:
    """Add the header `Idempotency-Replayed` to a replay."""
    if is_replay:
        response.headers[REPLAY_HEADER] = "true"
