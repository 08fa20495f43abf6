"""Benchmark of large results: `python -m tests.bench.rows --rows 60000` leads them through every tool that takes many.

Printed are the seconds of each tool, the longest silence of any (what its time-out bounds), and the memory at its peak.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.bench.ground import ALICE, BOB, open_ground
from tests.tools.adapters.office import CASES, Office, office
from tools import handles

PER_CUSTOMER = 6 / 5
"""Five of six customers were charged twice."""


class Silence:
    """The longest time between two signs of life."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.monotonic()

    def end(self) -> None:
        """Note a sign of life."""
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now


@asynccontextmanager
async def listening(figures: dict[str, Any], name: str) -> AsyncGenerator[None]:
    """Measure the block, which calls one tool."""
    silence, put_off, began = Silence(), handles.put_off, time.monotonic()

    def heard() -> None:
        silence.end()
        put_off()

    handles.put_off = heard
    try:
        yield
    finally:
        handles.put_off = put_off
    silence.end()
    figures[name] = {"seconds": round(time.monotonic() - began, 2), "longest_silence": round(silence.longest, 2)}


async def lead(office: Office) -> dict[str, Any]:
    """Return the figures of each tool."""
    figures: dict[str, Any] = {}
    async with listening(figures, "billing.duplicates"):
        duplicates = await office.succeed("billing.duplicates", {})
    args: Mapping[str, Any] = {"of": duplicates["found"], "cases": CASES, "otherwise": "unclear"}
    async with listening(figures, "sets.split"):
        groups = await office.succeed("sets.split", args)
    async with listening(figures, "billing.refund_totals"):
        totals = await office.succeed("billing.refund_totals", {"charges": groups["clean"]})
    assert totals["charges"] == groups["clean"]["count"]
    batch = await office.cut(groups["clean"], 0, 10_000)
    async with listening(figures, "tickets.notify_batch"):
        await office.succeed("tickets.notify_batch", {"template": "refund_made", "items": batch})
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"rows": duplicates["count"], "tools": figures, "peak_megabytes": megabytes}


async def measure(rows: int) -> dict[str, Any]:
    """Return the figures for so many rows, over a business of its own."""
    people = {person.id: person for person in (ALICE, BOB)}
    async with (
        open_ground() as ground,
        office(ground.server.urls, ground.database, people, customers=round(rows * PER_CUSTOMER)) as place,
    ):
        return await lead(place)


def main() -> None:
    """Measure and print one object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(asyncio.run(measure(options.rows)), indent=1) + "\n")


if __name__ == "__main__":
    main()
