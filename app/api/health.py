"""Liveness and readiness probes, without a key; for load balancers, the supervisor and `doctor`."""

import logging
from typing import Any

from fastapi import APIRouter, Response

from app.api.dependencies import Services, ServicesDep
from app.bootstrap import FUNCTIONS
from memory.errors import ControlError
from memory.postgres.schema_version import missing

router = APIRouter(tags=["health"])
_LOG = logging.getLogger(__name__)


@router.get("/livez", operation_id="livez")
async def livez() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="readyz", responses={503: {"description": "something that is needed is missing"}})
async def readyz(services: ServicesDep, response: Response) -> dict[str, Any]:
    """Say whether requests can be served: the database answers and has this release's shape."""
    database = await _database(services)
    if database != "ok":
        response.status_code = 503
    return {"status": "ok" if database == "ok" else "unavailable", "database": database, "policy": services.policy}


async def _database(services: Services) -> str:
    try:
        async with services.database.system() as connection:
            lacking = await missing(connection, FUNCTIONS)
    except ControlError as error:
        _LOG.warning("not ready: %s", error)
        return "unreachable"
    return f"migrations missing: {', '.join(lacking)}; run `countersign migrate`" if lacking else "ok"
