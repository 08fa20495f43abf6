"""Billing service of the demo business: charges, refunds and the jobs that make them.

Its duplicate query is naive on purpose. Adapters and the demo's naive client call it.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from app.world import billing_sql as sql
from app.world.requests import Desk, Reading, Row, read_back, write
from app.world.store import RETRY_JOB

router = APIRouter(prefix="/billing")
read_back(router, "billing")

LARGEST_PAGE = 10_000
LARGEST_BATCH = 500
PageSize = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]


class Job(BaseModel):
    """One run of a job."""

    job: str


class Refund(BaseModel):
    """One charge and what to give back of it, in minor units of its currency."""

    charge: str
    amount: int
    currency: str = "EUR"
    part: int = 0
    """Number of a further part, after what was given back before."""


class RefundBatch(BaseModel):
    """Many of them; rows may carry more fields, which are ignored."""

    charges: list[Refund] = Field(max_length=LARGEST_BATCH)


class Collection(BaseModel):
    """One invoice and its sum, in minor units of its currency."""

    invoice: str
    amount: int
    currency: str = "EUR"


class CollectionBatch(BaseModel):
    """Many of them; rows may carry more fields, which are ignored."""

    invoices: list[Collection] = Field(max_length=LARGEST_BATCH)


class Charges(BaseModel):
    """Charges by id."""

    charges: list[str]


class Invoices(BaseModel):
    """Invoices by id."""

    invoices: list[str]


@router.get("/duplicates")
async def duplicates(
    desk: Reading, night: Literal["latest"] | date = "latest", after: str = "", limit: PageSize = LARGEST_PAGE
) -> Row:
    """Charges of a night that repeat an earlier one of the same customer and amount, whatever the reason; by page."""
    day = None if night == "latest" else night
    return _page(await desk.rows(sql.DUPLICATES, night=day, after=after, limit=limit), "charge", limit)


@router.get("/open_invoices")
async def open_invoices(desk: Reading, after: str = "", limit: PageSize = LARGEST_PAGE) -> Row:
    """Invoices that nobody has charged yet; by page."""
    return _page(await desk.rows(sql.INVOICES, after=after, limit=limit), "invoice", limit)


@router.get("/charges")
async def charges(desk: Reading, of: str) -> Row:
    """What was charged to whoever the words fit: a charge or customer id, an e-mail address or a full name."""
    return await desk.row(sql.CHARGES, of=of) or {}


@router.get("/jobs")
async def jobs(desk: Reading, kind: str = "any") -> Row:
    """Jobs by kind; the one that is meant, if there is only one."""
    rows = await desk.rows(sql.JOBS, kind=kind)
    only: Row = rows[0] if len(rows) == 1 else {"job": "", "status": ""}
    return {"count": len(rows), "jobs": rows, "job": only["job"], "status": only["status"]}


@router.post("/refund_totals")
async def refund_totals(desk: Reading, body: Charges) -> Row:
    """What was given back for these charges, which are all in one currency."""
    totals = await desk.row(sql.TOTALS, charges=body.charges) or {}
    if totals.pop("is_mixed", False):
        raise HTTPException(422, "these charges are in several currencies; ask for those of each by themselves")
    return totals


@router.post("/charge_totals")
async def charge_totals(desk: Reading, body: Invoices) -> Row:
    """What was collected for these invoices."""
    return await desk.row(sql.CHARGE_TOTALS, invoices=body.invoices) or {}


@write(router, "billing.pause_job", Job)
async def pause_job(desk: Desk, body: Job) -> Row:
    """Stop a job before it does more."""
    return await _switch(desk, body.job, "paused")


@write(router, "billing.resume_job", Job)
async def resume_job(desk: Desk, body: Job) -> Row:
    """Let a paused job go on."""
    return await _switch(desk, body.job, "running")


@write(router, "billing.charge", Collection)
async def charge(desk: Desk, body: Collection) -> Row:
    """Charge an invoice, as often as somebody asks under another key."""
    result = _all_or_nothing(await _charge(desk, [body], desk.key))
    return {"invoice": body.invoice, "amount": body.amount, "currency": body.currency, **result}


@write(router, "billing.charge_batch", CollectionBatch)
async def charge_batch(desk: Desk, body: CollectionBatch) -> Row:
    """Charge many invoices; one that fails does not stop the others."""
    return await _charge(desk, body.invoices, desk.item_key or f"{desk.key}/{{invoice}}")


@write(router, "billing.refund", Refund)
async def refund(desk: Desk, body: Refund) -> Row:
    """Give one charge back, as often as somebody asks under another key."""
    result = _all_or_nothing(await _refund(desk, [body], desk.key))
    return {"charge": body.charge, "amount": body.amount, "currency": body.currency, **result}


@write(router, "billing.refund_batch", RefundBatch)
async def refund_batch(desk: Desk, body: RefundBatch) -> Row:
    """Give many charges back; one that fails does not stop the others."""
    if desk.faults.refuses_batch():
        raise HTTPException(422, "the payment provider refuses this batch for good")
    return await _refund(desk, body.charges, desk.item_key or f"{desk.key}/{{charge}}")


async def _charge(desk: Desk, items: Sequence[Collection], keys: str) -> Row:
    """Charge the items, each under the client's key for it, where {invoice} stands for the invoice."""
    currency = _currency(items)
    result = await desk.row(sql.CHARGE, items=_json(items), keys=keys, **desk.behalf)
    return {**(result or {}), "currency": currency}


async def _refund(desk: Desk, items: Sequence[Refund], keys: str) -> Row:
    """Refund the items, each under the client's key for it, where {charge} stands for the charge."""
    currency = _currency(items)
    await desk.rows(sql.LOCK, charges=[item.charge for item in items])
    result = await desk.row(sql.REFUND, items=_json(items), keys=keys, **desk.behalf)
    # The retry job of that night is still at it until somebody pauses it.
    await desk.rows(sql.EMIT, job=RETRY_JOB)
    return {**(result or {}), "currency": currency}


def _currency(items: Sequence[Refund | Collection]) -> str:
    """Return the currency of a batch; raises HTTPException for amounts that have no sum."""
    currencies = sorted({item.currency for item in items})
    if len(currencies) > 1:
        raise HTTPException(422, f"a batch is in one currency, this one is in {', '.join(currencies)}")
    return currencies[0] if currencies else ""


def _all_or_nothing(result: Row) -> Row:
    """Return the counts of a single item; raises HTTPException with its failure, which rolls the transaction back."""
    for failure in result["failed"]:
        raise HTTPException(422, failure["reason"])
    return {name: result[name] for name in ("charged", "refunded", "replayed") if name in result}


def _json(items: Sequence[BaseModel]) -> Jsonb:
    return Jsonb([item.model_dump() for item in items])


async def _switch(desk: Desk, job: str, status: str) -> Row:
    count = await desk.count(
        "update {i}_billing.jobs set status = %(status)s where id = %(job)s and status <> 'finished'",
        job=job,
        status=status,
    )
    if not count:
        raise HTTPException(422, f"job {job!r} is not there or has finished")
    return {"job": job, "status": status}


def _page(rows: list[Row], cursor: str, limit: int) -> Row:
    return {"rows": rows, "next": rows[-1][cursor] if len(rows) == limit else None}
