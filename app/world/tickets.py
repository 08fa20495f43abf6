"""Northwind's tickets: their bodies are whatever outsiders wrote; a notification that went out cannot be taken back."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from psycopg.types.json import Jsonb

from app.world.door import Caller, World
from app.world.store import Connection, name


def routes(world: World) -> APIRouter:
    """Return the routes of one instance."""
    router, i = APIRouter(prefix="/tickets"), name(world.instance)

    @router.get("/tickets")
    async def _(request: Request, kind: str = "customer") -> dict[str, Any]:
        statement = (
            "select id, kind, subject, status, customer from {i}_tickets.tickets where kind = %(kind)s limit 100"
        )
        return {"rows": await world.read(request, statement, {"kind": kind})}

    @router.get("/tickets/{ticket}")
    async def _(request: Request, ticket: str) -> dict[str, Any]:
        statement = "select id, kind, subject, body, status, customer from {i}_tickets.tickets where id = %(id)s"
        rows = await world.read(request, statement, {"id": ticket})
        if not rows:
            raise HTTPException(404, f"there is no ticket {ticket!r}")
        return rows[0]

    @router.get("/operations/{key:path}")
    async def _(request: Request, key: str) -> dict[str, Any]:
        return await world.operation(request, "tickets", key)

    @router.post("/comment")
    async def _(request: Request) -> Response:
        async def comment(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            cursor = await connection.execute(
                f"insert into {i}_tickets.comments (ticket, body, run) "
                f"select id, %s, %s from {i}_tickets.tickets where id = %s returning id".encode(),
                [body["text"], caller.run, body["ticket"]],
            )
            if await cursor.fetchone() is None:
                raise HTTPException(422, f"there is no ticket {body['ticket']!r}")
            return {"ticket": body["ticket"], "commented": 1}

        return await world.write(request, "tickets", "tickets.comment", comment)

    @router.post("/open_batch")
    async def _(request: Request) -> Response:
        async def open_batch(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            cursor = await connection.execute(
                f"insert into {i}_tickets.tickets (id, kind, subject, body, customer, ref) "
                "select %(kind)s || '-' || x.charge, %(kind)s, %(subject)s, '', x.customer, x.charge "
                "from jsonb_to_recordset(%(items)s) as x (charge text, customer text) on conflict (id) do nothing".encode(),
                {"kind": body["kind"], "subject": body["subject"], "items": Jsonb(body["items"])},
            )
            return {"opened": cursor.rowcount, "already_open": len(body["items"]) - cursor.rowcount}

        return await world.write(request, "tickets", "tickets.open_batch", open_batch)

    @router.post("/notify_batch")
    async def _(request: Request) -> Response:
        async def notify(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            cursor = await connection.execute(
                f"insert into {i}_tickets.notifications (customer, ref, template, run) "
                "select x.customer, x.charge, %(template)s, %(run)s "
                "from jsonb_to_recordset(%(items)s) as x (charge text, customer text) on conflict do nothing".encode(),
                {"template": body["template"], "run": caller.run, "items": Jsonb(body["items"])},
            )
            return {"notified": cursor.rowcount, "already_notified": len(body["items"]) - cursor.rowcount}

        return await world.write(request, "tickets", "tickets.notify_batch", notify)

    return router
