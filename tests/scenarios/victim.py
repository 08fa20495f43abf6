"""Worker, or decision of a person, that kills its own process at one exact point; started by `test_crashes`.

The product knows nothing of this: the victim opens it with a database that watches calls.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from app.addresses import Addresses
from app.settings import Settings
from app.worker import work
from graphs.deps import Deps, Planner
from graphs.nodes.planner import make_planner
from memory.clock import SystemClock
from memory.governance import approvals
from memory.governance.approvals import Approval
from memory.knowledge import versions
from memory.postgres.database import Database, Prelude
from memory.runs.leases import Lease
from memory.runs.queue import Queue
from memory.scope import Access, Principal
from tools.catalog import Catalog
from tools.gateway import Gateway
from tools.policy import PolicySet
from tools.services import ServiceClient

Window = Literal["before", "after"]
_BRANCH = "branch:to:"


@dataclass(frozen=True, slots=True)
class Point:
    """Where to die: before or after the first call of a database function that is about a step or a node."""

    window: Window
    function: str
    about: str

    def __str__(self) -> str:
        return f"{self.window}-{self.function}-{self.about}"


class VictimDatabase(Database):
    """Database whose caller dies at a point."""

    point: Point
    effects: dict[str, str]

    async def rows_of(
        self, access: Access, function: str, *args: object, binary: bool = False, prelude: Prelude | None = None
    ) -> list[dict[str, Any]]:
        """Call, and die before or after it if this is the point."""
        is_point = function == self.point.function and self._about(args, self.point.about)
        if self.point.function == "save_checkpoint":
            is_point = any(self._about((save,), self.point.about) for save in _saves(function, args, prelude))
        if is_point and self.point.window == "before":
            die()
        rows = await super().rows_of(access, function, *args, binary=binary, prelude=prelude)
        if function == "claim" and rows[0].get("effect"):
            self.effects[rows[0]["effect"]] = _body(args)["step"]
        if is_point and self.point.window == "after":
            die()
        return rows

    def _about(self, args: tuple[object, ...], name: str) -> bool:
        body = _body(args)
        match self.point.function:
            case "settle":
                return self.effects.get(body["effect"]) == name
            case "end_read":
                return body["body"]["step"] == name
            case "save_checkpoint":
                return _next_node(body) == name if self.point.window == "after" else name in _nodes_before(body)
            case _:
                return body["step"] == name


def _saves(function: str, args: tuple[object, ...], prelude: Prelude | None) -> list[Mapping[str, Any]]:
    """Return the checkpoints and writes that a statement saves."""
    luggage = prelude.values if prelude else args if function == "unload" else ()
    return [item["save"] for item in _body(luggage)["items"] if "save" in item] if luggage else []


def _body(args: tuple[object, ...]) -> Mapping[str, Any]:
    return next(cast(Mapping[str, Any], arg) for arg in args if isinstance(arg, Mapping))


def _next_node(body: Mapping[str, Any]) -> str:
    """Return the node that runs next after a checkpoint."""
    waiting: Mapping[str, Any] = body["checkpoint"]["channel_values"] if "checkpoint" in body else {}
    return next((name.removeprefix(_BRANCH) for name in waiting if name.startswith(_BRANCH)), "")


def _nodes_before(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the nodes that have run before a checkpoint."""
    return body["checkpoint"]["versions_seen"] if "checkpoint" in body else {}


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def work_until(settings: Settings, addresses: Addresses, point: Point) -> None:
    """Take runs until the point is reached."""
    asyncio.run(_work(settings, addresses, point))


async def _work(settings: Settings, addresses: Addresses, point: Point) -> None:
    database = await VictimDatabase.open(addresses.app, worker_url=addresses.worker)
    assert isinstance(database, VictimDatabase)
    database.point, database.effects = point, {}
    catalog = Catalog.discover()
    keys = {"researcher": _secret(settings.world_key_read), "executor": _secret(settings.world_key_write)}
    async with ServiceClient(settings.world_url or "", keys) as services:
        policy = PolicySet.load(catalog.cards)
        gateway = Gateway(database, catalog, policy, services, SystemClock())
        deps = Deps.of(database, catalog, gateway, _planner(database, catalog))
        await work(database, Queue(), deps, SystemClock(), lanes=1)


def _planner(database: Database, catalog: Catalog) -> Callable[[Lease], Planner]:
    def planner(lease: Lease) -> Planner:
        async def find(*args: Any, **options: Any) -> Any:
            return await versions.find(database, lease.access, *args, **options)

        async def current(*args: Any) -> Any:
            return await versions.current(database, lease.access, *args)

        return make_planner(find, current, catalog.cards)

    return planner


def _secret(value: Any) -> str:
    return value.get_secret_value()


def decide_and_die(addresses: Addresses, tenant: str, person: str, approval: Approval) -> None:
    """Vote, and die before the deciding transaction commits."""
    asyncio.run(_decide(addresses, tenant, person, approval))


async def _decide(addresses: Addresses, tenant: str, person: str, approval: Approval) -> None:
    database = await Database.open(addresses.app, worker_url=addresses.worker)
    async with database.transaction(Access.of(Principal(tenant, person))) as connection:
        await approvals.decide(
            connection,
            approval=approval.id,
            nonce=approval.nonce,
            decision="approve",
            reason="agreed",
            channel="test",
        )
        die()
