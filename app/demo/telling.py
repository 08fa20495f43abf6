"""Console output of the demo, for people who see this for the first time; one moving line for long work."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

from app.demo.figures import ProofCheck, Times
from tools.money import text


class Teller:
    """Tells on a console; with `--json` that is the error stream, so that the result stands alone."""

    def __init__(self, *, aside: bool) -> None:
        self._console = Console(stderr=aside, highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def act(self, title: str, about: str) -> None:
        """Print the title of an act."""
        self._console.print()
        self._console.rule(f"[bold]{title}", align="left")
        self._console.print(about, style="italic")

    def line(self, text: str) -> None:
        """Print one line of the story."""
        self.quiet()
        self._console.print(f"  {text}", markup=False)

    def note(self, text: str) -> None:
        """Show the current work in the moving line; the next note replaces it."""
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        self._status.update(text)

    def quiet(self) -> None:
        """Take the moving line away."""
        if self._status:
            self._status.stop()
            self._status = None

    def gate(self, approval: Mapping[str, Any]) -> None:
        """Print an approval that people must decide."""
        people = "one person" if approval["need"] == 1 else f"{approval['need']} persons"
        stake = text(approval["exposure"], approval["currency"])
        tools = ", ".join(f"{count} x {tool}" for tool, count in approval["tools"].items())
        self.line(f"Gate: {people} must countersign {tools}" + (f", {stake} in all." if approval["exposure"] else "."))

    def progress(self, report: Mapping[str, Any]) -> None:
        """Show the progress of a batched step in the moving line."""
        self.note(f"{report['step']}: {report['text']}")

    def times(self, durations: Times) -> None:
        """Print the times of the run."""
        self.line(
            f"From the message to the last entry: {durations.story:.1f} s, "
            f"besides {durations.gates:.1f} s at gates and {durations.recovery:.1f} s of recovery."
        )

    def checks(self, results: list[ProofCheck]) -> None:
        """Print every check as a table."""
        self.quiet()
        table = Table("", "checked", "found", box=None, pad_edge=False, padding=(0, 1))
        for check in results:
            table.add_row("[green]held[/]" if check.is_met else "[red]BROKEN[/]", check.claim, check.evidence)
        self._console.print(table)

    def counts(self, columns: Mapping[str, Mapping[str, int]], rows: Mapping[str, str]) -> None:
        """Print counts side by side."""
        table = Table("", *columns, box=None, pad_edge=False, padding=(0, 2))
        for name, title in rows.items():
            table.add_row(title, *(f"{column.get(name, 0):,}" for column in columns.values()))
        self._console.print(table)
