"""Live view of a run on the terminal: its events as lines, its progress as one moving line.

`chat`, `runs show --follow` and `tools call` watch runs through it.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from app.client import StreamEvent
from app.commands.signs import indented, visible
from app.commands.terminal import cell, checklist, money, out, say

_BETWEEN_LINES = 1.0
"""Seconds between two progress lines where nobody looks at a screen, such as in a log."""
_ONLY_TASK = TaskID(0)
_ASKS = frozenset({"held", "clarify"})
Data = Mapping[str, Any]


async def watch(events: AsyncIterator[StreamEvent], *, wait: bool, quiet: bool = False) -> dict[str, Any]:
    """Print a run's events; returns run, thread, status and reason when it ends, or people must decide."""
    outcome: dict[str, Any] = {"run": None, "thread": None, "status": "running", "reason": None}
    with Screen(quiet=quiet) as screen:
        async for event in events:
            outcome |= {name: event.data[name] for name in ("run", "thread") if event.data.get(name)}
            screen.show(event)
            if event.name == "end":
                outcome |= {"status": event.data["status"], "reason": event.data.get("reason")}
            if event.data.get("kind") in _ASKS and not wait:
                return outcome | {"status": "waiting"}
    return outcome


class Screen:
    """Prints events for people; progress moves in one line on a terminal and is thinned out elsewhere.

    Use it as a context manager: however the block ends, the terminal gets its cursor back.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop_bar()

    def show(self, event: StreamEvent) -> None:
        """Print one event."""
        if self._quiet:
            return
        if event.name == "progress":
            self._show_progress(event.data)
        elif any(lines := words(event)):
            self._stop_bar()
            for line in lines:
                say(line)

    def _show_progress(self, data: Data) -> None:
        console = out()
        if console.is_interactive:
            bar = self._bar = self._bar or _start_bar(console)
            text = visible(str(data["text"]))
            bar.update(_ONLY_TASK, description=text, completed=data["batch"], total=data["of"], refresh=True)
        elif time.monotonic() - self._last >= _BETWEEN_LINES:
            say(f"  {data['text']}")
            self._last = time.monotonic()

    def _stop_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def _start_bar(console: Console) -> Progress:
    # Texts come from tools and agents: no markup in them counts, and a long one does not break the line.
    text = TextColumn("  {task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    bar = Progress(text, BarColumn(bar_width=20), console=console, auto_refresh=False)
    bar.add_task("")
    bar.start()
    return bar


def words(event: StreamEvent) -> list[str]:
    """Return an event as lines for people, each of them of our making; all empty for those that they need not see."""
    by_name, by_kind = _BY_NAME.get(event.name), _BY_KIND.get(str(event.data.get("kind")))
    text = (by_name or by_kind or _step)(event.data)
    lines = [text] if isinstance(text, str) else text
    return [line.rstrip() for line in lines]


def _run(data: Data) -> str:
    return f"run {data['run']} {data.get('kind', '')}"


def _end(data: Data) -> list[str]:
    return [f"ended: {data['status']} {data.get('reason') or ''}", *checklist(data.get("manual") or [])]


def _plan(data: Data) -> str:
    steps: list[Any] = data.get("steps", [])
    return f"plan {data.get('id', '')}: {' > '.join(str(step['id']) for step in steps)}"


def _outcome(data: Data) -> str:
    # The progress line tells of batches; a line for each would hide all others.
    one_of_many = data.get("state") == "done" and "#" in str(data.get("step"))
    return "" if one_of_many else _step(data)


def _step(data: Data) -> str:
    return f"  {data.get('step') or data['kind']}: {data.get('tool') or ''} {data.get('state') or data['kind']}"


def _audit(data: Data) -> str:
    if problems := data.get("problems"):
        return f"  audit: {cell(problems)}"
    unchecked = data.get("unchecked") or 0
    return "  audit: as expected" + (f", {unchecked} not checked" if unchecked else "")


def _gate(data: Data) -> list[str]:
    if data.get("code") == "audit_failed":
        return [
            f"the audit failed, people decide: countersign approvals show {data['approval']}",
            f"  accept, undo or leave it: countersign approvals approve|take-back|reject {data['approval']} -r WHY",
        ]
    groups = cell(data["groups"] or "any group")
    return [
        f"waits for people: {data['need']} of {groups} for {data['actions']} action(s){_stake(data)}",
        f"  read it:   countersign approvals show {data['approval']}",
        f"  decide it: countersign approvals approve|reject|edit|ask {data['approval']}",
    ]


def _stake(data: Data) -> str:
    """Return what a question is about in all, if it is about money."""
    currency = data.get("currency") or ""
    return f", {money(data['exposure'], currency)} in all" if currency or data["exposure"] else ""


def _clarify(data: Data) -> list[str]:
    return indented(str(data.get("question") or "please say more precisely what you want"))


def _question(data: Data) -> str:
    about = "answers" if data["by"] == data["to"] else f"asks {data['to']}"
    return f"{data['by']} {about}: {data['question']}"


def _approval(data: Data) -> str:
    return f"approval {data['approval']}: {data['status']} {data.get('reason') or ''}"


def _take_over(data: Data) -> str:
    return f"  {data['by']} takes the edit of {cell(data['authors'])} over"


def _vote(data: Data) -> str:
    return f"  {data.get('by')}: {data.get('decision')} {data.get('code') or ''}"


def _message(data: Data) -> list[str]:
    return indented(str(data["text"]))


_BY_NAME: Mapping[str, Callable[[Data], str | list[str]]] = {"run": _run, "message": _message, "end": _end}
_BY_KIND: Mapping[str, Callable[[Data], str | list[str]]] = {
    "planned": _plan,
    "outcome": _outcome,
    "audited": _audit,
    "held": _gate,
    "clarify": _clarify,
    "question": _question,
    "approval": _approval,
    "taken_over": _take_over,
    "vote": _vote,
    "vote_refused": _vote,
}
