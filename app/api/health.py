"""Liveness and readiness probes, without a key; for load balancers, the supervisor and `doctor`."""

import logging
from typing import Any

from fastapi import APIRouter, Response

from app.api.dependencies import Services, ServicesDep
from app.bootstrap import FUNCTIONS
from memory.errors import ControlError
from memory.evidence import checks
from memory.postgres.schema_version import missing

router = APIRouter(tags=["health"])
_LOG = logging.getLogger(__name__)


@router.get("/livez", operation_id="livez")
async def livez() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="readyz", responses={503: {"description": "something that is needed is missing"}})
async def readyz(services: ServicesDep, response: Response) -> dict[str, Any]:
    """Say whether requests can be served: the database answers and has this release's shape.

    A journal that does not hold is told, and keeps nobody from reading.
    """
    database = await _database(services)
    is_ready = database == "ok"
    if not is_ready:
        response.status_code = 503
    journal = await _journal(services) if is_ready else "unknown"
    status = "ok" if is_ready else "unavailable"
    return {"status": status, "database": database, "policy": services.policy, "journal": journal}


async def _journal(services: Services) -> str:
    """Return when the journals were last checked; where one does not hold is for those who have a key."""
    try:
        health = await checks.health(services.database)
    except ControlError as error:
        _LOG.warning("the journal's standing is unknown: %s", error)
        return "unknown"
    if health.broken is not None:
        return f"does not hold, first seen {health.broken:.0f} seconds ago"
    if health.checked is None:
        return "not checked yet"
    return f"held {health.checked:.0f} seconds ago"


async def _database(services: Services) -> str:
    try:
        async with services.database.system() as connection:
            lacking = await missing(connection, FUNCTIONS)
            cursor = await connection.execute("show transaction_read_only")
            is_read_only = (await cursor.fetchone() or {})["transaction_read_only"] == "on"
    except ControlError as error:
        _LOG.warning("not ready: %s", error)
        return "unreachable"
    if lacking:
        return f"migrations missing: {', '.join(lacking)}; run `countersign migrate`"
    return "takes no writes" if is_read_only else "ok"
