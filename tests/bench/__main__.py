"""Command that runs every benchmark and prints a table, or one object with `--json`; run by `make bench`."""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tests.bench import governed, memories, processes, savers
from tests.bench.ground import open_ground

Figures = dict[str, Mapping[str, float]]
ROWS = (
    ("statements per governed write", "actions", "statements", "", "2: claim and settle"),
    ("statements per governed run", "runs", "statements", "", "one read, one write, start to end"),
    ("governed write, 1 lane, p50", "actions", "p50_1", "ms", ""),
    ("governed write, 1 lane, p99", "actions", "p99_1", "ms", ""),
    ("governed write, 8 lanes, p50", "actions", "p50_8", "ms", "on 8 runs"),
    ("governed write, 8 lanes, p99", "actions", "p99_8", "ms", ""),
    ("journal per governed run", "runs", "journal_bytes", "bytes", ""),
    ("decided in one process, claimed in another, p50", "waking", "p50", "ms", "20 ms"),
    ("decided in one process, claimed in another, max", "waking", "max", "ms", ""),
    ("worker killed, run goes on elsewhere, p50", "recovery", "p50", "s", "1 s"),
    ("our saver, 1 lane", "savers", "own_1", "runs/s", ""),
    ("stock saver, 1 lane", "savers", "stock_1", "runs/s", ""),
    ("our saver, 8 lanes", "savers", "own_8", "runs/s", ""),
    ("stock saver, 8 lanes", "savers", "stock_8", "runs/s", ""),
    ("our saver : stock saver, 8 lanes", "savers", "ratio_8", "x", "2"),
    ("governed run, 1 lane", "runs", "governed_1", "runs/s", "with request, journal and ending"),
    ("bare run with stock saver, 1 lane", "runs", "bare_1", "runs/s", "none of that"),
    ("governed run, 8 lanes", "runs", "governed_8", "runs/s", ""),
    ("bare run with stock saver, 8 lanes", "runs", "bare_8", "runs/s", ""),
    ("governed : bare, 8 lanes", "runs", "ratio_8", "x", "1.2"),
    ("memories in all", "memories", "rows", "", "--rows"),
    ("search among 10,000 of a scope, p50", "memories", "big_p50", "ms", ""),
    ("search among 10,000 of a scope, p95", "memories", "big_p95", "ms", ""),
    ("the same : nearest by vector in a plain table", "memories", "big_ratio", "x", ""),
    ("search among 1,000 of a scope, p50", "memories", "small_p50", "ms", ""),
    ("search among 1,000 of a scope, p95", "memories", "small_p95", "ms", ""),
    ("the same : nearest by vector in a plain table", "memories", "small_ratio", "x", ""),
    ("notes written to a scope of 10,000", "memories", "insert", "/s", "with words, marks and a look for copies"),
    ("plain rows with the same vectors : that", "memories", "insert_ratio", "x", ""),
    ("preview of pruning 10,000", "memories", "preview", "ms", "1,500 ms"),
    ("pruning 8,000 of 10,000", "memories", "prune", "ms", "archived and recorded"),
    ("the same : deleting as many plain rows", "memories", "prune_ratio", "x", ""),
    ("finding crowded scopes among all", "memories", "crowded", "ms", ""),
)
"""Title, section, figure, unit, and a value to compare with."""


async def measure(rows: int) -> Figures:
    """Return all figures; each section on the same Postgres, one after the other, memory with so many rows.

    Real workers come first: they would take over the runs that the other sections leave behind.
    """
    async with open_ground() as ground:
        return {
            "waking": await processes.waking(ground),
            "recovery": await processes.recovery(ground),
            "actions": await governed.actions(ground),
            "savers": await savers.measure(ground),
            "runs": await governed.runs(ground),
            "memories": await memories.measure(ground, rows),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--rows", type=int, default=memories.ROWS, help="memories in all; a million take longer")
    options = parser.parse_args()
    if options.rows < memories.LEAST:
        parser.error(f"--rows {options.rows}: give {memories.LEAST} or more")
    figures = asyncio.run(measure(options.rows))
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}
    if options.json:
        sys.stdout.write(json.dumps({"machine": machine, **figures}) + "\n")
        return
    table = Table(
        "figure", "here", "", "aim or remark", title=", ".join(f"{name} {value}" for name, value in machine.items())
    )
    for title, section, name, unit, remark in ROWS:
        table.add_row(title, f"{figures[section][name]:,.2f}", unit, remark)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
