"""FastAPI application: one router per resource behind the guard; built and served by `app.processes` and by tests."""

import asyncio
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api import (
    approvals,
    archive,
    chat,
    contract,
    effects,
    events,
    health,
    journal,
    keys,
    kills,
    knowledge,
    memory,
    policies,
    problems,
    runs,
    tools,
    transcripts,
)
from app.api.connection import protocol
from app.api.dependencies import Services
from app.api.guard import Guard
from app.edge import Edge

VERSION = "0.1.0"
_ABOUT = "Agents propose, Countersign permits, a human countersigns what matters, and every effect can prove it."
# Fixed places before those that name a memory.
_ROUTERS = (
    chat,
    runs,
    events,
    approvals,
    tools,
    effects,
    archive,
    memory,
    transcripts,
    knowledge,
    kills,
    journal,
    policies,
    keys,
    health,
)


class Api(FastAPI):
    """Application whose OpenAPI document is made, with all refusals, when somebody asks for it."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with the statuses that each operation may answer."""
        if self.openapi_schema is None:
            contract.complete(super().openapi())
        return super().openapi()


def create_app(services: Services | None = None) -> FastAPI:
    """Return the application; without services it serves nothing but its OpenAPI document."""
    app = Api(
        title="Countersign",
        version=VERSION,
        summary=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        separate_input_output_schemas=False,
    )
    app.state.services = services
    problems.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    # Outermost, so that nothing reads a body before it is measured.
    app.add_middleware(Guard)
    return app


def http_server(app: ASGIApp, edge: Edge) -> uvicorn.Server:
    """Return a server of the API within its limits."""
    config = uvicorn.Config(
        app,
        # What makes a connection may be any callable, whatever the annotation says.
        http=cast(type[asyncio.Protocol], protocol(edge)),
        ws="none",
        log_level="warning",
        lifespan="off",
        timeout_keep_alive=edge.idle_seconds,
        timeout_graceful_shutdown=edge.grace_seconds,
        # Without a list of proxies uvicorn would believe whoever comes over loopback.
        proxy_headers=bool(edge.proxies),
        forwarded_allow_ips=edge.proxies,
        server_header=False,
    )
    return uvicorn.Server(config)
