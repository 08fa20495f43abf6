"""Naive client that sends again under a new key whenever no reply comes; both acts compare with it.

It speaks to instances of its own, where permits are off, so that what it does to them is its own doing.
"""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import httpx2

from tools.certificates import trust_of

_ATTEMPTS = 5
_BATCH = 500
_LANES = 8


class Naive:
    """A client without keys of its own choosing: every attempt is a new request to the service."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=30.0, trust_env=False, verify=trust_of(url)
        )

    async def charge_all(self) -> int:
        """Collect every open invoice; returns how many there were."""
        invoices = await self.rows("open_invoices")
        lanes = asyncio.Semaphore(_LANES)

        async def charge(row: dict[str, Any]) -> None:
            async with lanes:
                await self._insist("charge", {"invoice": row["invoice"], "amount": row["amount"]})

        await asyncio.gather(*(charge(row) for row in invoices))
        return len(invoices)

    async def refund_all(self) -> None:
        """Refund whatever the duplicate query returns, batch by batch."""
        rows = await self.rows("duplicates")
        for batch in _batches({"charge": row["charge"], "amount": row["amount"]} for row in rows):
            await self._insist("refund_batch", {"charges": batch})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def rows(self, path: str) -> list[dict[str, Any]]:
        """Return all rows of a paged read."""
        rows: list[dict[str, Any]] = []
        cursor = 0
        while cursor is not None:
            page = (await self._client.get(f"/billing/{path}", params={"after": cursor, "limit": 10_000})).json()
            rows, cursor = rows + page["rows"], page["next"]
        return rows

    async def _insist(self, verb: str, body: dict[str, Any]) -> None:
        for _ in range(_ATTEMPTS):
            try:
                await self._client.post(f"/billing/{verb}", json=body, headers={"Idempotency-Key": uuid4().hex})
            except httpx2.TransportError:
                continue
            return


def _batches(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    items = list(rows)
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
