"""First act: 600 charges through a service that commits and then drops the reply; naive, then governed."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.demo.figures import Prevention
from app.demo.naive import Naive
from app.demo.people import Person
from app.demo.stage import NIGHT, NIGHT_NAIVE, Stage
from app.demo.telling import Teller
from app.world.store import actual_counts

INVOICES = 600
_STEPS = 50
"""Charges per plan; a dozen plans keep all lanes busy."""


async def prevent(stage: Stage, tell: Teller) -> Prevention:
    """Charge everybody with both clients, each on its own instance of the same seed, and count the world's charges."""
    naive = await _naive(stage)
    tell.line(f"The naive client asked again whenever no reply came: {naive['double_charges']:,} customers paid twice.")
    async with stage.control_plane(NIGHT), Person("alice", stage.keys["alice"], stage.api) as alice:
        runs = await _start(alice, await _invoices(stage))
        # All plans run at once; their journals are read one after the other.
        entries = [entry for run in runs for entry in await _journal_after(alice, run, tell)]
    countersign = await actual_counts(stage.addresses.business_url, NIGHT.name)
    read_back = sum(bool(entry["body"].get("attempt", {}).get("read_back")) for entry in entries)
    tell.line(
        f"Countersign lost {read_back:,} replies too, looked each up by its key, and sent none again: "
        f"{countersign['double_charges']:,} paid twice."
    )
    return Prevention(invoices=INVOICES, naive=naive, countersign=countersign, read_back=read_back)


async def _naive(stage: Stage) -> dict[str, int]:
    client = Naive(stage.world(NIGHT_NAIVE), stage.service_key)
    try:
        await client.charge_all()
    finally:
        await client.close()
    return await actual_counts(stage.addresses.business_url, NIGHT_NAIVE.name)


async def _invoices(stage: Stage) -> list[dict[str, Any]]:
    client = Naive(stage.world(NIGHT), stage.service_key)
    try:
        return await client.rows("open_invoices")
    finally:
        await client.close()


async def _start(alice: Person, invoices: Sequence[dict[str, Any]]) -> list[str]:
    receipts = [await alice.post("/api/runs", {"plan": plan}) for plan in _plans(invoices)]
    return [run["run"] for run in receipts]


def _plans(invoices: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(invoices), _STEPS):
        steps = [_step(number, row) for number, row in enumerate(invoices[start : start + _STEPS], 1)]
        yield {"id": f"invoice-run-{start // _STEPS + 1}", "goal": "Collect the invoices of the night", "steps": steps}


def _step(number: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"charge_{number}",
        "tool": "billing.charge",
        "effect": "write",
        "args": {"invoice": row["invoice"], "amount": row["amount"]},
        "expect": "result.amount == args.amount",
        "backout": "Refund the charge by its id.",
    }


async def _journal_after(alice: Person, run: str, tell: Teller) -> list[dict[str, Any]]:
    """Wait for a run's end and return its journal."""
    async with alice.follows(run) as events:
        async for event in events:
            if event.name == "end":
                tell.note(f"run {run[-6:]}: {event.data['status']}")
    return await alice.journal(run)
