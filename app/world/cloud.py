"""Northwind's cloud: volumes that can grow but not shrink, and tables that somebody could drop."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from app.world.door import Caller, World
from app.world.store import Connection, name

_VOLUMES = """select id as volume, service, environment, size_gb, used_gb, used_gb * 100 / size_gb as used_percent,
  price_cents_per_gb from {i}_cloud.volumes where %(volume)s = '' or id = %(volume)s order by used_percent desc, id"""


def routes(world: World) -> APIRouter:
    """Return the routes of one instance."""
    router, i = APIRouter(prefix="/cloud"), name(world.instance)

    @router.get("/volumes")
    async def _(request: Request, volume: str = "") -> dict[str, Any]:
        return {"rows": await world.read(request, _VOLUMES, {"volume": volume})}

    @router.get("/tables")
    async def _(request: Request, volume: str) -> dict[str, Any]:
        statement = "select * from {i}_cloud.tables where volume = %(volume)s and not dropped order by size_gb desc"
        return {"rows": await world.read(request, statement, {"volume": volume})}

    @router.get("/operations/{key:path}")
    async def _(request: Request, key: str) -> dict[str, Any]:
        return await world.operation(request, "cloud", key)

    @router.post("/extend_volume")
    async def _(request: Request) -> Response:
        async def extend(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            cursor = await connection.execute(
                f"update {i}_cloud.volumes set size_gb = %s, extended = extended + 1 "
                "where id = %s and size_gb < %s returning size_gb, used_gb".encode(),
                [body["size_gb"], body["volume"], body["size_gb"]],
            )
            row = await cursor.fetchone()
            if row is None:
                raise HTTPException(422, "a volume can only grow, and it must exist")
            used = row["used_gb"] * 100 // row["size_gb"]
            return {"volume": body["volume"], "size_gb": row["size_gb"], "used_percent": used}

        return await world.write(request, "cloud", "cloud.extend_volume", extend)

    @router.post("/drop_table")
    async def _(request: Request) -> Response:
        async def drop(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            cursor = await connection.execute(
                f"update {i}_cloud.tables set dropped = true where name = %s and not dropped returning name".encode(),
                [body["table"]],
            )
            if await cursor.fetchone() is None:
                raise HTTPException(422, f"there is no table {body['table']!r}")
            return {"table": body["table"], "dropped": 1}

        return await world.write(request, "cloud", "cloud.drop_table", drop)

    return router
