"""Server of the demo business: one port, three services; started by `countersign world` and by tests."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.world import billing, cloud, tickets
from app.world.faults import Faults
from app.world.generator import FULL, Situation
from app.world.requests import World
from app.world.store import WorldConnection, load, prepare


class DroppableProtocol(HttpToolsProtocol):
    """Shows routes their connection, so that a fault can really hang up."""

    def on_message_begin(self) -> None:
        """Start a request and put the connection into its scope."""
        super().on_message_begin()
        # uvicorn shows no route its transport, and a fault must close it without a reply.
        scope: dict[str, Any] = self.scope  # pyright: ignore[reportAssignmentType]  # a scope may carry more
        scope["transport"] = self.transport


def create_app(world: World) -> FastAPI:
    """Return the three services around an opened world."""
    app = FastAPI(title="Northwind Metering", docs_url=None, redoc_url=None)
    app.state.world = world
    for service in (billing, tickets, cloud):
        app.include_router(service.router)
    app.add_api_route("/livez", _livez, methods=["GET"])
    return app


async def _livez(request: Request) -> dict[str, str]:
    return {"status": "ok", "instance": request.app.state.world.instance}


@asynccontextmanager
async def open_world(
    url: str, instance: str, keys: Mapping[str, str], *, permits: bool = True, faults: str = "none"
) -> AsyncGenerator[World]:
    """Open the pool of an instance that was loaded before."""
    pool: AsyncConnectionPool[WorldConnection] = AsyncConnectionPool(
        url, kwargs={"autocommit": True, "row_factory": dict_row}, min_size=1, max_size=8, open=False
    )
    async with pool:
        yield World(instance, pool, keys, permits, Faults.of(faults))


def server(world: World, host: str, port: int) -> uvicorn.Server:
    """Return a server that can drop connections; `serve()` runs it."""
    config = uvicorn.Config(
        create_app(world), host=host, port=port, http=DroppableProtocol, log_level="warning", lifespan="off"
    )
    return uvicorn.Server(config)


async def serve_world(  # noqa: PLR0913  # every flag of the command, each with its default
    *,
    url: str,
    instance: str = "world",
    seed: int = 1,
    customers: int = FULL,
    situation: Situation = "double_charge",
    faults: str = "none",
    permits: bool = True,
    keys: Mapping[str, str],
    host: str = "127.0.0.1",
    port: int = 8010,
    reset: bool = True,
) -> None:
    """Load the story of a seed, unless `reset` is off, and serve it until stopped."""
    if reset:
        await load(url, instance, seed, customers, situation)
    else:
        await prepare(url, instance)
    async with open_world(url, instance, keys, permits=permits, faults=faults) as world:
        await server(world, host, port).serve()
