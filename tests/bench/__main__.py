"""Command that runs every benchmark and prints a table, or one object with `--json`; `make bench` writes it down."""

import argparse
import asyncio
import json
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import figures, governed, memories, processes, savers
from tests.bench.figures import Figures
from tests.bench.ground import open_ground


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
    parser.add_argument("--write", action="store_true", help="write docs/figures.json and the table of docs/figures.md")
    parser.add_argument("--rows", type=int, default=memories.ROWS, help="memories in all; a million take longer")
    options = parser.parse_args()
    if options.rows < memories.LEAST:
        parser.error(f"--rows {options.rows}: give {memories.LEAST} or more")
    circumstances, measures = figures.machine(), asyncio.run(measure(options.rows))
    if options.write:
        figures.write(measures, circumstances)
    if options.json:
        sys.stdout.write(json.dumps({"machine": circumstances, **measures}) + "\n")
        return
    table = Table("figure", "here", "aim or remark", title=", ".join(map(str, circumstances.values())))
    for line in figures.lines(measures):
        table.add_row(*line)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
