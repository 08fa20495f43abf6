"""Effects in doubt: looked at again with growing pauses, and settled by what the world shows; a duty of the worker.

The gateway lends it the services. Nothing is sent: only the look-ups of tools are called.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.types.json import Jsonb
from pydantic import ValidationError

from memory.errors import ControlError
from memory.postgres.codes import member
from memory.postgres.database import Database
from memory.runs.leases import access_of
from memory.runs.results import RunRows
from memory.scope import Principal
from tools.action import Json, Role
from tools.catalog import Catalog
from tools.confirmation import contradiction, observe
from tools.handles import Handles
from tools.resilience import look_up
from tools.tool import Call, ServiceBinder, Tool

_LOG = logging.getLogger(__name__)
_BATCH = 20
_HEAL_CODES: tuple[Literal["ok", "overtaken"], ...] = ("ok", "overtaken")


@dataclass(frozen=True, slots=True)
class Doubt:
    """An effect of which nobody knows whether it happened, taken for one look; field names are those of its row."""

    tenant: str
    requester: str
    thread: str
    correlation: str
    run: str
    effect: str
    step: str
    role: Role
    tool: str
    args: Mapping[str, Json]
    send_key: str
    looks: int
    """How often it was looked at, this time included."""
    silent_seconds: float
    """Seconds since the last send."""


async def look_again(database: Database, catalog: Catalog, services: ServiceBinder) -> list[str]:
    """Look at the effects in doubt that are due; returns the runs that can go on now and wait to be woken."""
    tools = {name: tool for name in catalog.cards if (tool := catalog.get(name)).lookup}
    async with database.worker() as connection:
        looks = {name: tool.looks for name, tool in tools.items()}
        cursor = await connection.execute("select * from due_doubts(%s, %s)", [Jsonb(looks), _BATCH])
        doubts = [Doubt(**row) for row in await cursor.fetchall()]
    settled = [await _settle(database, tools[doubt.tool], doubt, services) for doubt in doubts]
    return [doubt.run for doubt, is_woken in zip(doubts, settled, strict=True) if is_woken]


async def _settle(database: Database, tool: Tool, doubt: Doubt, services: ServiceBinder) -> bool:
    """Settle one effect if the world shows what came of it; returns whether its run goes on."""
    is_settled = tool.settles_within is not None and doubt.silent_seconds > tool.settles_within
    finding = await _look(database, tool, doubt, services, is_settled=is_settled)
    if finding is None:
        return False
    body: dict[str, Any] = {"effect": doubt.effect, "looks": doubt.looks, **finding}
    access = access_of(Principal(doubt.tenant, doubt.requester), doubt.run, doubt.thread)
    async with database.worker_transaction(access) as connection:
        row = await (await connection.execute("select * from heal_doubt(%s)", [Jsonb(body)])).fetchone() or {}
    _LOG.info("effect %s was in doubt and is %s", doubt.effect, body["state"])
    return member(_HEAL_CODES, row["code"], "heal_doubt") == "ok" and bool(row["woken"])


async def _look(
    database: Database, tool: Tool, doubt: Doubt, services: ServiceBinder, *, is_settled: bool
) -> dict[str, Any] | None:
    """Return state and outcome as the world shows them, or None if nothing is proven yet or it cannot be asked now."""
    access = access_of(Principal(doubt.tenant, doubt.requester), doubt.run, doubt.thread)
    try:
        call = Call(
            key=doubt.send_key,
            run=doubt.run,
            step=doubt.step,
            user=doubt.requester,
            role=doubt.role,
            services=services.bind(doubt.role, doubt.correlation, key=doubt.send_key),
            rows=Handles(RunRows(database, access, doubt.run, f"look.{doubt.effect}")),
        )
        arguments = tool.arguments.model_validate(doubt.args)
        record = await look_up(tool, arguments, call)
        if record:
            return await _confirm(tool, arguments, call, record, is_settled=is_settled)
    except (ControlError, ValidationError) as error:
        _LOG.warning("effect %s cannot be looked up now: %s", doubt.effect, error)
        return None
    if record is None or not is_settled:
        return None
    message = f"looked up {doubt.silent_seconds:.0f} s after the last send, and not there"
    return {"state": "failed", "outcome": {"result": {}, "message": message}}


async def _confirm(
    tool: Tool, arguments: object, call: Call, record: Mapping[str, Json], *, is_settled: bool
) -> dict[str, Any] | None:
    """Return what the target says of an effect that the service remembers; None while it may still come to be seen."""
    message, is_checked = "", False
    if tool.observe:
        observation = await observe(tool, arguments, call, record)
        is_checked = observation.holds is True
        if not (is_checked or is_settled):
            return None
        message = "" if is_checked else contradiction(tool, observation)
    outcome = {"result": record, "message": message, "checked": is_checked}
    return {"state": "unverified" if message else "done", "outcome": outcome, "extra": {"checked": is_checked}}
