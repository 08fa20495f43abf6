"""Toy service on a real socket that notes when each request arrives, and fails as drawn; for benchmarks of the door."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from tests.serving import serving
from tools.action import Json
from tools.services import lookup_in, request_body
from tools.tool import Call, tool


class Item(BaseModel):
    """One business event."""

    item: str


@tool(
    "toy.send",
    effect="write",
    key=lambda args: f"toy:{args.item}",
    lookup=lookup_in("toy"),
    keyed=True,
    timeout=5.0,
    playbook="none",
)
async def send_item(args: Item, call: Call) -> Mapping[str, Json]:
    """Send one item to a service that fails now and then."""
    return await call.services.post("toy", "send", await request_body(args, call))


@dataclass
class ToyService:
    """Requests with the time of their arrival, and effects by key."""

    rng: random.Random
    arrivals: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    effects: Counter[str] = field(default_factory=Counter[str])

    async def send(self, key: str) -> Mapping[str, Json]:
        """Treat a request as it is drawn: well, slowly, not at all, or well and without saying so."""
        self.arrivals.append((time.monotonic(), key))
        manner = self.rng.choice(["well", "well", "slowly", "not", "not", "silently"])
        if manner == "slowly":
            await asyncio.sleep(self.rng.uniform(0.0, 0.2))
        if manner == "not":
            raise HTTPException(503, "try again")
        if not self.effects[key]:
            self.effects[key] += 1
        if manner == "silently":
            raise HTTPException(500, "it was done")
        return {"sent": 1}

    def forget(self) -> None:
        """Begin anew."""
        self.arrivals.clear()


@asynccontextmanager
async def serve_toy(rng: random.Random) -> AsyncGenerator[tuple[ToyService, str]]:
    """Serve a toy service on loopback; yields it and its address."""
    toy, app = ToyService(rng), FastAPI()

    async def send(body: Item, idempotency_key: str = Header()) -> Any:
        return await toy.send(idempotency_key)

    async def operation(key: str) -> Any:
        if not toy.effects[key]:
            raise HTTPException(404, "nothing under this key")
        return {"response": {"sent": 1}}

    app.add_api_route("/toy/send", send, methods=["POST"])
    app.add_api_route("/toy/operations/{key:path}", operation, methods=["GET"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        async with serving(server, listener):
            yield toy, f"http://127.0.0.1:{listener.getsockname()[1]}"
