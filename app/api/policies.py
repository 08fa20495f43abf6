"""Policies over HTTP: the set in force at a moment, from the journal and the texts that it names."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.dependencies import CallerDep, ServicesDep
from memory.evidence import policy_history

router = APIRouter(prefix="/api/journal", tags=["journal"])
_AtQuery = Annotated[datetime | None, Query(description="Without an offset it is UTC; by default now.")]


@router.get("/policy", operation_id="policy_in_force")
async def policy(services: ServicesDep, caller: CallerDep, at: _AtQuery = None) -> dict[str, Any]:
    """Return the policy set in force at a moment; `files` is null for one from before texts were kept."""
    moment = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
    return (await policy_history.find(services.database, caller.access, moment)).as_json()
