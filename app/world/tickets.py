"""Ticket service of the demo business: its bodies are hostile text; a notification cannot be taken back once sent."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from app.world.requests import Desk, Reading, Row, read_back, write

router = APIRouter(prefix="/tickets")
read_back(router, "tickets")

LARGEST_PAGE = 10_000
_SUBJECTS = {"escalation": "A duplicate charge is disputed at the bank", "manual": "A refund needs doing by hand"}
_LIST = """select id as ticket, status, customer from {i}_tickets.tickets
  where kind = 'customer' and status = %(status)s and id > %(after)s order by id limit %(limit)s"""
_COMMENT = """insert into {i}_tickets.comments (ticket, body, run)
  select id, %(text)s, %(run)s from {i}_tickets.tickets where id = %(ticket)s"""
_OPEN = """
  insert into {i}_tickets.tickets (id, kind, subject, body, customer, ref)
  select %(kind)s || '-' || x.charge, %(kind)s, %(subject)s, '', x.customer, x.charge
    from jsonb_to_recordset(%(items)s) as x (charge text, customer text) on conflict (id) do nothing"""
_NOTIFY = """
  insert into {i}_tickets.notifications (customer, ref, template, run)
  select x.customer, x.charge, %(template)s, %(run)s
    from jsonb_to_recordset(%(items)s) as x (charge text, customer text) on conflict do nothing"""


_STANDING = """select count(*) as tickets from {i}_tickets.tickets
  where id in (select %(kind)s || '-' || x.charge from unnest(%(charges)s::text[]) as x (charge))"""
_NOTIFIED = """select count(*) as notified from {i}_tickets.notifications
  where template = %(template)s and ref = any(%(charges)s)"""
_COMMENTED = """select count(*) as comments from {i}_tickets.comments
  where ticket = %(ticket)s and body = %(text)s"""


class Comment(BaseModel):
    """An internal note."""

    ticket: str
    text: str = Field(max_length=2000)


class About(BaseModel):
    """What a ticket or message is about; rows may carry more fields, which are ignored."""

    charge: str
    customer: str


class Opening(BaseModel):
    """One ticket per item."""

    kind: Literal["escalation", "manual"]
    items: list[About] = Field(max_length=500)


class Notice(BaseModel):
    """One message per item."""

    template: Literal["refund_made"]
    items: list[About] = Field(max_length=10_000)


@router.get("/tickets")
async def tickets(
    desk: Reading,
    status: Literal["open", "closed"] = "open",
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
) -> Row:
    """What customers wrote, without the text; by page."""
    rows = await desk.rows(_LIST, status=status, after=after, limit=limit)
    return {"rows": rows, "next": rows[-1]["ticket"] if len(rows) == limit else None}


@router.get("/tickets/{ticket}")
async def ticket(desk: Reading, ticket: str) -> Row:
    """One ticket with its text."""
    row = await desk.row(
        "select id as ticket, kind, subject, body, status, customer from {i}_tickets.tickets where id = %(id)s",
        id=ticket,
    )
    if row is None:
        raise HTTPException(404, f"there is no ticket {ticket!r}")
    return row


class Standing(BaseModel):
    """Tickets of one kind, by what they are about."""

    kind: Literal["escalation", "manual"]
    charges: list[str]


class Notified(BaseModel):
    """Messages of one template, by what they are about."""

    template: Literal["refund_made"]
    charges: list[str]


@router.post("/standing")
async def standing(desk: Reading, body: Standing) -> Row:
    """How many of these tickets there are."""
    return await desk.row(_STANDING, kind=body.kind, charges=body.charges) or {}


@router.post("/notified")
async def notified(desk: Reading, body: Notified) -> Row:
    """How many of these messages were sent."""
    return await desk.row(_NOTIFIED, template=body.template, charges=body.charges) or {}


@router.post("/commented")
async def commented(desk: Reading, body: Comment) -> Row:
    """How often a ticket has this very note."""
    return await desk.row(_COMMENTED, ticket=body.ticket, text=body.text) or {}


@write(router, "tickets.comment", Comment)
async def comment(desk: Desk, body: Comment) -> Row:
    """Add a note to a ticket."""
    if not await desk.count(_COMMENT, text=body.text, run=desk.run, ticket=body.ticket):
        raise HTTPException(422, f"there is no ticket {body.ticket!r}")
    return {"ticket": body.ticket, "commented": 1}


@write(router, "tickets.open_batch", Opening)
async def open_batch(desk: Desk, body: Opening) -> Row:
    """Open a ticket per charge and kind, unless there is one."""
    count = await desk.count(_OPEN, kind=body.kind, subject=_SUBJECTS[body.kind], items=_json(body.items))
    return {"opened": count, "already_open": len(body.items) - count}


@write(router, "tickets.notify_batch", Notice)
async def notify_batch(desk: Desk, body: Notice) -> Row:
    """Send a message per charge, unless that template went out already."""
    count = await desk.count(_NOTIFY, template=body.template, run=desk.run, items=_json(body.items))
    return {"notified": count, "already_notified": len(body.items) - count}


def _json(items: list[About]) -> Jsonb:
    return Jsonb([item.model_dump() for item in items])
