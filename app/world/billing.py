"""Northwind's billing: charges, refunds and the jobs that make them; its duplicate query is naive on purpose."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from psycopg.types.json import Jsonb

from app.world.door import Caller, World
from app.world.store import RETRY_JOB, Connection, name
from app.world.truth import EMIT

_PAGE = 10_000
_LARGEST_BATCH = 500
_DUPLICATES = """
  with twice as (
    select c.*, first_value(c.id) over w as first, first_value(c.invoice) over w as first_invoice,
           row_number() over w as nth
      from {i}_billing.charges c window w as (partition by c.customer, c.amount order by c.at, c.id))
  select t.id as charge, t.first, t.customer, t.amount, t.currency, t.invoice = t.first_invoice as same_invoice,
         exists (select 1 from {i}_billing.refunds r where r.charge = t.id) as refunded, t.disputed, u.account
    from twice t join {i}_billing.customers u on u.id = t.customer
   where t.nth > 1 and t.id > %(after)s order by t.id limit %(limit)s"""
_CHARGES = """
  select c.id as charge, c.customer, u.name, u.email, c.invoice, c.amount, c.currency, c.disputed, u.account,
         exists (select 1 from {i}_billing.refunds r where r.charge = c.id) as refunded
    from {i}_billing.charges c join {i}_billing.customers u on u.id = c.customer
   where c.id = %(who)s or c.customer = %(who)s or u.email = %(who)s or u.name = %(who)s order by c.id limit 50"""
_TOTALS = """
  select count(*) as charges, count(*) filter (where times > 0) as refunded, coalesce(sum(paid), 0)::bigint as amount,
         count(*) filter (where times > 1) as refunded_twice, count(*) filter (where disputed) as disputed
    from (select c.disputed, count(r.id) as times, sum(r.amount) as paid
            from {i}_billing.charges c left join {i}_billing.refunds r on r.charge = c.id
           where c.id = any(%(charges)s) group by c.id, c.disputed) x"""
_REFUND = """
  with items as (select * from jsonb_to_recordset(%(items)s) as x (charge text, amount bigint)),
  looked as (
    select i.charge, i.amount, 'refund:' || i.charge as key,
           case when c.id is null then 'unknown charge' when u.account = 'closed' then 'account closed'
                when i.amount <> c.amount then 'amount differs from the charge'
                when c.disputed then 'disputed' end as why
      from items i left join {i}_billing.charges c on c.id = i.charge
      left join {i}_billing.customers u on u.id = c.customer),
  made as (
    insert into {i}_billing.refunds (charge, amount, key, run, subject, actor)
    select charge, amount, key, %(run)s, %(subject)s, %(actor)s from looked where why is null
    on conflict (key) do nothing returning charge, amount)
  select (select count(*) from made) as refunded, (select coalesce(sum(amount), 0)::bigint from made) as amount,
         (select count(*) from looked where why is null) - (select count(*) from made) as replayed,
         (select coalesce(jsonb_agg(jsonb_build_object('charge', charge, 'reason', why) order by charge), '[]')
            from (select * from looked where why is not null limit 20) f) as failed"""


def routes(world: World) -> APIRouter:
    """Return the routes of one instance."""
    router, i = APIRouter(prefix="/billing"), name(world.instance)

    @router.get("/duplicates")
    async def _(request: Request, after: str = "", limit: int = _PAGE) -> dict[str, Any]:
        rows = await world.read(request, _DUPLICATES, {"after": after, "limit": min(limit, _PAGE)})
        return {"rows": rows, "next": rows[-1]["charge"] if len(rows) == min(limit, _PAGE) else None}

    @router.get("/charges")
    async def _(request: Request, of: str) -> dict[str, Any]:
        return {"rows": await world.read(request, _CHARGES, {"who": of})}

    @router.get("/invoices")
    async def _(request: Request) -> dict[str, Any]:
        return {"rows": await world.read(request, "select * from {i}_billing.invoices order by id limit 10000", {})}

    @router.get("/jobs/{job}")
    async def _(request: Request, job: str) -> dict[str, Any]:
        rows = await world.read(
            request, "select id as job, name, status, emitted from {i}_billing.jobs where id = %(job)s", {"job": job}
        )
        if not rows:
            raise HTTPException(404, f"there is no job {job!r}")
        return rows[0]

    @router.post("/refund_totals")
    async def _(request: Request) -> dict[str, Any]:
        body = await request.json()
        return (await world.read(request, _TOTALS, {"charges": [row["charge"] for row in body["charges"]]}))[0]

    @router.get("/operations/{key:path}")
    async def _(request: Request, key: str) -> dict[str, Any]:
        return await world.operation(request, "billing", key)

    @router.post("/pause_job")
    async def _(request: Request) -> Response:
        return await world.write(request, "billing", "billing.pause_job", _switch(i, "paused"))

    @router.post("/resume_job")
    async def _(request: Request) -> Response:
        return await world.write(request, "billing", "billing.resume_job", _switch(i, "running"))

    @router.post("/charge")
    async def _(request: Request) -> Response:
        return await world.write(request, "billing", "billing.charge", _charge(i))

    @router.post("/refund")
    async def _(request: Request) -> Response:
        async def one(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            result = await _refund(connection, i, caller, [body])
            if result["failed"]:
                reason = result["failed"][0]["reason"]
                raise HTTPException(409 if reason == "disputed" else 422, reason)
            return {"charge": body["charge"], "refunded": result["refunded"], "amount": body["amount"]}

        return await world.write(request, "billing", "billing.refund", one)

    @router.post("/refund_batch")
    async def _(request: Request) -> Response:
        async def many(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
            if world.faults.refuses_batch():
                raise HTTPException(422, "the payment provider refuses this batch for good")
            if len(body["charges"]) > _LARGEST_BATCH:
                raise HTTPException(422, f"a batch has at most {_LARGEST_BATCH} items")
            return await _refund(connection, i, caller, body["charges"])

        return await world.write(request, "billing", "billing.refund_batch", many)

    return router


def _switch(i: str, status: str) -> Any:  # a Write; its type would say no more
    async def switch(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
        cursor = await connection.execute(
            f"update {i}_billing.jobs set status = %s where id = %s and status <> 'finished' returning id".encode(),
            [status, body["job"]],
        )
        if await cursor.fetchone() is None:
            raise HTTPException(422, f"job {body['job']!r} is not there or has finished")
        return {"job": body["job"], "status": status}

    return switch


def _charge(i: str) -> Any:  # a Write
    async def charge(connection: Connection, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
        cursor = await connection.execute(
            f"insert into {i}_billing.charges (id, customer, invoice, amount, at) "
            f"select 'ch_' || substr(md5(random()::text), 1, 12), customer, id, amount, clock_timestamp() "
            f"from {i}_billing.invoices where id = %s returning id, amount".encode(),
            [body["invoice"]],
        )
        row = await cursor.fetchone()
        if row is None:
            raise HTTPException(422, f"there is no invoice {body['invoice']!r}")
        return {"charge": row["id"], "amount": row["amount"]}

    return charge


async def _refund(connection: Connection, i: str, caller: Caller, items: list[dict[str, Any]]) -> dict[str, Any]:
    cursor = await connection.execute(
        _REFUND.replace("{i}", i).encode(),
        {"items": Jsonb(items), "run": caller.run, "subject": caller.subject, "actor": caller.actor},
    )
    result = await cursor.fetchone() or {}
    # The retry job of that night is still at it until somebody pauses it.
    await connection.execute(EMIT.replace("{i}", i).encode(), {"job": RETRY_JOB})
    return result
