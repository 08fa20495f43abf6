"""Observations of billing: how jobs, charges and invoices stand now, for the tools that write them."""

from collections.abc import Mapping
from typing import Any

from tools.action import Json
from tools.tool import Call, Observation, Observe, SliceArgument


def job_is(status: str) -> Observe:
    """Return the observation of a job that is to have this status."""

    async def observe(args: Any, call: Call, reported: Mapping[str, Json]) -> Observation:
        jobs = (await call.services.get("billing", "jobs", {"kind": "any"}))["jobs"]
        current = next((job["status"] for job in jobs if job["job"] == args.job), "missing")
        return Observation(current == status, {"job": args.job, "status": current})

    return observe


async def refund_is_made(args: Any, call: Call, reported: Mapping[str, Json]) -> Observation:
    """Look whether a charge was given back once, and in full."""
    totals = await call.services.post("billing", "refund_totals", {"charges": [args.charge]})
    counts = _counts(totals, "refunded")
    return Observation(_is_once(counts, 1, args.amount), {"charge": args.charge, **counts})


async def refunds_are_made(args: Any, call: Call, reported: Mapping[str, Json]) -> Observation:
    """Look whether the charges of a batch were given back once, but for those that were reported as failed."""
    ids = await _ids(call, args.charges, "charge")
    counts = _counts(await call.services.post("billing", "refund_totals", {"charges": ids}), "refunded")
    return _of_batch(counts, args.charges, reported)


async def charge_is_made(args: Any, call: Call, reported: Mapping[str, Json]) -> Observation:
    """Look whether an invoice was collected once, and in full."""
    totals = await call.services.post("billing", "charge_totals", {"invoices": [args.invoice]})
    counts = _counts(totals, "charged")
    return Observation(_is_once(counts, 1, args.amount), {"invoice": args.invoice, **counts})


async def charges_are_made(args: Any, call: Call, reported: Mapping[str, Json]) -> Observation:
    """Look whether the invoices of a batch were collected once, but for those that were reported as failed."""
    ids = await _ids(call, args.invoices, "invoice")
    counts = _counts(await call.services.post("billing", "charge_totals", {"invoices": ids}), "charged")
    return _of_batch(counts, args.invoices, reported)


async def _ids(call: Call, part: SliceArgument, name: str) -> list[Json]:
    return [row[name] async for row in call.rows.read(part)]


def _counts(totals: Mapping[str, Any], verb: str) -> dict[str, int]:
    """Return totals in the words of the write: how many, how much, and how many more than once."""
    return {verb: totals[verb], "replayed": 0, "amount": totals["amount"], "twice": totals[f"{verb}_twice"]}


def _is_once(counts: Mapping[str, int], number: int, amount: int) -> bool:
    done, _, total, twice = counts.values()
    return (done, total, twice) == (number, amount, 0)


def _of_batch(counts: dict[str, int], part: SliceArgument, reported: Mapping[str, Json]) -> Observation:
    failed = reported.get("failed", 0)
    failed = failed if isinstance(failed, int) else 0
    done, _, total, twice = counts.values()
    is_whole = total == part.total if failed == 0 else total <= part.total
    return Observation(done == part.count - failed and is_whole and twice == 0, {**counts, "failed": part.count - done})
