"""Observations that tools of services share: a thing's status; how often, and over how much, something was done.

Adapters declare them on their tools, beside the look-ups of `services`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.action import Json
from tools.tool import Call, Observation, Observe, SliceArgument


@dataclass(frozen=True, slots=True)
class Totals:
    """A read by which a service says what was done to some ids: how many, over how much, how many more than once."""

    service: str
    path: str
    ids: str
    """Field of its body, and of the tool's arguments, that lists the ids."""
    id: str
    """Field of a single one."""
    verb: str
    """Field of its answer that counts them; `<verb>_twice` counts those to which it was done over more than the whole.

    `in_parts`, if it is there, counts those to which it was done in several parts.
    """

    async def one(self, args: Any, call: Call, report: Mapping[str, Json]) -> Observation:
        """Look whether it was done to the one id of a call once, over its whole amount."""
        id = getattr(args, self.id)
        totals = await self._ask(call, [id])
        is_whole = totals[self.verb] == 1 and self._is_over(totals, args.amount, args.currency)
        return Observation(is_whole, {self.id: id, **self._facts(totals)})

    async def batch(self, args: Any, call: Call, report: Mapping[str, Json]) -> Observation:
        """Look whether it was done to the rows of a call once each, but for as many as were reported as failed."""
        part: SliceArgument = getattr(args, self.ids)
        totals = await self._ask(call, [row[self.id] async for row in call.rows.read(part)])
        failed = part.count - totals[self.verb]
        # Of those that failed nobody says here over how much they would have been.
        total = part.total if failed == 0 else min(part.total, totals["amount"])
        is_whole = failed == report.get("failed", 0) and self._is_over(totals, total, part.currency)
        return Observation(is_whole, {**self._facts(totals), "failed": failed})

    async def _ask(self, call: Call, ids: Sequence[Json]) -> Mapping[str, Any]:
        return await call.services.post(self.service, self.path, {self.ids: ids})

    def _is_over(self, totals: Mapping[str, Any], amount: int, currency: str) -> bool:
        """Return whether it was done over an amount, or over more in parts; to nothing more than once."""
        if totals[f"{self.verb}_twice"] or totals.get("currency", currency) != currency:
            return False
        return totals["amount"] == amount or (bool(totals.get("in_parts")) and totals["amount"] > amount)

    def _facts(self, totals: Mapping[str, Any]) -> dict[str, Json]:
        """Return totals in the fields of the write's own result."""
        return {self.verb: totals[self.verb], "replayed": 0, "amount": totals["amount"]}


@dataclass(frozen=True, slots=True)
class Listing:
    """A read by which a service lists its things, each with its status."""

    service: str
    path: str
    things: str
    """Field of its answer that lists them."""
    id: str
    """Field of each, and of the tool's arguments, that names one."""

    def status_is(self, status: str) -> Observe:
        """Return the observation of a thing that is to have this status."""

        async def observe(args: Any, call: Call, report: Mapping[str, Json]) -> Observation:
            id = getattr(args, self.id)
            things = (await call.services.get(self.service, self.path))[self.things]
            current = next((thing["status"] for thing in things if thing[self.id] == id), "missing")
            return Observation(current == status, {self.id: id, "status": current})

        return observe
