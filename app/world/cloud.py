"""Cloud service of the demo business: volumes that can grow but not shrink, and tables that somebody could drop."""

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from app.world.requests import Desk, Reading, Row, read_back, write

router = APIRouter(prefix="/cloud")
read_back(router, "cloud")

# What is offered brings usage to about two thirds, in steps of 50 GB.
_VOLUMES = """
  select v.*, gigabytes * rate as price
    from (select id as volume, service, environment, size_gb as size, used_gb as used, price_cents_per_gb as rate,
                 used_gb * 100 / size_gb as used_percent,
                 greatest(50, (used_gb * 3 / 2 - size_gb + 49) / 50 * 50) as gigabytes
            from {i}_cloud.volumes where %(volume)s in ('', id)) v
   order by used_percent desc, volume"""
_TABLES = """select name as table, environment, rows, size_gb as size from {i}_cloud.tables
  where volume = %(volume)s and not dropped order by size_gb desc, name"""
_OFFER = """
  select price_cents_per_gb * %(gigabytes)s as price, size_gb as size from {i}_cloud.volumes where id = %(volume)s
  for update"""
_EXTEND = """
  update {i}_cloud.volumes set size_gb = size_gb + %(gigabytes)s, extended = extended + 1 where id = %(volume)s
  returning id as volume, size_gb as size, used_gb * 100 / size_gb as used_percent"""
_FULL = 90


class Extension(BaseModel):
    """What to add to a volume of this size, in GB, at the price that was offered, in cents a month."""

    volume: str
    size: int
    gigabytes: int = Field(ge=1)
    price: int


class Table(BaseModel):
    """A database table by its full name."""

    table: str


@router.get("/volumes")
async def volumes(desk: Reading, volume: str = "") -> Row:
    """How many volumes there are and how many are nearly full; the fullest, with an offer to extend it."""
    rows = await desk.rows(_VOLUMES, volume=volume)
    if not rows:
        raise HTTPException(404, f"there is no volume {volume!r}")
    return {"count": len(rows), "over": sum(row["used_percent"] >= _FULL for row in rows), "fullest": rows[0]}


@router.get("/tables")
async def tables(desk: Reading, volume: str) -> Row:
    """How many tables are on a volume, and the largest."""
    rows = await desk.rows(_TABLES, volume=volume)
    if not rows:
        raise HTTPException(404, f"there are no tables on {volume!r}")
    return {"count": len(rows), "largest": rows[0]}


@router.get("/table")
async def table(desk: Reading, table: str) -> Row:
    """Whether a table is there."""
    statement = "select count(*) as tables from {i}_cloud.tables where name = %(table)s and not dropped"
    return await desk.row(statement, table=table) or {}


@write(router, "cloud.extend_volume", Extension)
async def extend_volume(desk: Desk, body: Extension) -> Row:
    """Make a volume larger, for good."""
    offer = await desk.row(_OFFER, volume=body.volume, gigabytes=body.gigabytes)
    if offer is None:
        raise HTTPException(422, f"there is no volume {body.volume!r}")
    if offer["price"] != body.price:
        raise HTTPException(422, f"the price is {offer['price']} now")
    if offer["size"] != body.size:
        raise HTTPException(422, f"the size is {offer['size']} GB now")
    volume = await desk.row(_EXTEND, volume=body.volume, gigabytes=body.gigabytes)
    return {**(volume or {}), "price": body.price}


@write(router, "cloud.drop_table", Table)
async def drop_table(desk: Desk, body: Table) -> Row:
    """Lose a table and all its rows: here, nothing prevents it."""
    statement = "update {i}_cloud.tables set dropped = true where name = %(table)s and not dropped"
    if not await desk.count(statement, table=body.table):
        raise HTTPException(422, f"there is no table {body.table!r}")
    return {"table": body.table, "dropped": 1}
