"""Chat and runs on the command line: say what is wanted, watch it happen, come back to it later."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import typer

from app.client import Api, Event
from app.commands.terminal import AsJson, RunId, ask, cell, emit, fields, leave, money, note, say, settings, show, table

runs = typer.Typer(help="Look at runs, cancel or resume them.", no_args_is_help=True)
_BETWEEN_LINES = 1.0


def chat(
    message: Annotated[str | None, typer.Argument(help="What you want; without it you can talk line by line.")] = None,
    thread: Annotated[str | None, typer.Option(help="Continue this thread.")] = None,
    supersedes: Annotated[bool, typer.Option(help="Cancel what the thread is busy with and start anew.")] = False,
    wait: Annotated[bool, typer.Option(help="Keep watching while people decide.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong and watch it being repaired; exit code 3 says that people must decide first."""
    if message is None:
        asyncio.run(_talk(thread))
        return
    body: dict[str, Any] = {"message": message, "supersedes": supersedes, **({"thread": thread} if thread else {})}
    if as_json and not wait:
        answer = ask(lambda api: api.post("/api/chat", body))
        emit(answer)
        leave(answer["status"], answer["reason"])
        return
    leave(*asyncio.run(_once(body, wait=wait, as_json=as_json)))


@runs.command("ls")
def ls(limit: int = 20, as_json: AsJson = False) -> None:
    """List runs, newest first."""
    found = ask(lambda api: api.get("/api/runs", limit=limit))
    columns = ("run", "status", "reason", "requester", "created", "request")
    show(found, as_json, lambda page: table(page["items"], columns, "there are no runs yet; try `countersign chat`"))


@runs.command("show")
def show_run(
    run: RunId, follow: Annotated[bool, typer.Option(help="Watch until it ends or people must decide.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show plan, steps, progress, cost and results of a run."""
    if follow:
        asyncio.run(_follow(run, quiet=as_json))
    shown = ask(lambda api: api.get(f"/api/runs/{run}"))
    show(shown, as_json, _print_run)
    if follow:
        leave("waiting" if shown["gate"] else shown["status"], shown["reason"])


@runs.command()
def cancel(run: RunId, reason: Annotated[str, typer.Option(help="Why.")] = "", as_json: AsJson = False) -> None:
    """End a run; one at work stops before its next call."""
    answer = ask(lambda api: api.post(f"/api/runs/{run}/cancel", {"reason": reason}))
    show(answer, as_json, lambda it: say(f"run {run} is {it['status']}"))


@runs.command()
def resume(run: RunId, as_json: AsJson = False) -> None:
    """Queue a stopped run again."""
    answer = ask(lambda api: api.post(f"/api/runs/{run}/resume", {}))
    show(
        answer, as_json, lambda it: say(f"run {run} is {it['status']}; watch it: countersign runs show {run} --follow")
    )


async def watch(events: AsyncIterator[Event], *, wait: bool, quiet: bool = False) -> dict[str, Any]:
    """Print a run's events; returns run, status and reason when it ends, or when people must decide."""
    screen, found = Screen(quiet=quiet), dict[str, Any]()
    async for event in events:
        found |= {name: event.data[name] for name in ("run", "thread") if event.data.get(name)}
        screen.show(event)
        if event.name == "end":
            found |= {"status": event.data["status"], "reason": event.data.get("reason")}
        elif event.name == "gate" and event.data["kind"] in ("held", "clarify") and not wait:
            return found | {"status": "waiting", "reason": None, "gate": event.data["kind"]}
    return {"run": None, "thread": None, "status": "running", "reason": None, **found}


class Screen:
    """Prints events for people; a progress line is rewritten on a terminal and thinned out elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._open = False
        self._last = 0.0

    def show(self, event: Event) -> None:
        """Print one event."""
        if self._quiet:
            return
        if event.name == "progress":
            self._progress(event.data["text"])
        elif text := _words(event):
            self._close()
            say(text)

    def _progress(self, text: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[K  {text}")
            sys.stdout.flush()
            self._open = True
        elif time.monotonic() - self._last >= _BETWEEN_LINES:
            say(f"  {text}")
            self._last = time.monotonic()

    def _close(self) -> None:
        if self._open:
            sys.stdout.write("\n")
            self._open = False


async def _once(body: Mapping[str, Any], *, wait: bool, as_json: bool) -> tuple[str, str | None]:
    async with Api.of(settings()) as api:
        found = await watch(api.say(body), wait=wait, quiet=as_json)
        if as_json:
            emit(await api.get(f"/api/runs/{found['run']}"))
    return found["status"], found["reason"]


async def _follow(run: str, *, quiet: bool) -> None:
    async with Api.of(settings()) as api:
        shown = await api.get(f"/api/runs/{run}")
        if shown["gate"] is None and shown["status"] in ("queued", "running", "waiting"):
            await watch(api.follow(run, str(shown["seq"])), wait=False, quiet=quiet)


async def _talk(thread: str | None) -> None:
    note("say what is wrong; an empty line ends the conversation")
    async with Api.of(settings()) as api:
        while message := (await asyncio.to_thread(input, "> ")).strip():
            body = {"message": message, **({"thread": thread} if thread else {})}
            found = await watch(api.say(body), wait=False)
            thread = found["thread"] or thread


def _words(event: Event) -> str:
    data = event.data
    match event.name:
        case "run":
            return f"run {data['run']} {data.get('status', data.get('kind', ''))}"
        case "message":
            return str(data["text"])
        case "end":
            manual: list[Any] = data.get("manual") or []
            return "\n".join([f"ended: {data['status']} {data.get('reason') or ''}".rstrip(), *_checklist(manual)])
        case "gate":
            return _gate(data)
        case _:
            return _step(data)


def _step(data: Mapping[str, Any]) -> str:
    if data["kind"] == "planned":
        steps: list[Any] = data.get("steps", [])
        return f"plan {data.get('id', '')}: {' > '.join(str(step['id']) for step in steps)}"
    if data["kind"] == "outcome" and data.get("state") == "done" and "#" in str(data.get("step")):
        return ""
    return (
        f"  {data.get('step') or data['kind']}: {data.get('tool') or ''} {data.get('state') or data['kind']}".rstrip()
    )


def _gate(data: Mapping[str, Any]) -> str:
    match data["kind"]:
        case "held":
            return (
                f"waits for people: {data['need']} of {cell(data['groups'] or 'any group')} for {data['actions']} "
                f"action(s), {money(data['exposure'])} in all\n"
                f"  read it:   countersign approvals show {data['approval']}\n"
                f"  decide it: countersign approvals approve|reject|edit|ask {data['approval']}"
            )
        case "clarify":
            return str(data.get("question") or "please say more precisely what you want")
        case "question":
            return f"{data['by']} asks {data['to']}: {data['question']}"
        case "approval":
            return f"approval {data['approval']}: {data['status']} {data.get('reason') or ''}".rstrip()
        case _:
            return f"  {data.get('by')}: {data.get('decision')} {data.get('code') or ''}".rstrip()


def _checklist(manual: list[Any]) -> list[str]:
    return ["to do by hand:", *(f"  [ ] {cell(item)}" for item in manual)] if manual else []


def _print_run(run: Mapping[str, Any]) -> None:
    fields(
        run, ("run", "thread", "status", "reason", "requester", "request", "message", "plan_hash", "created", "ended")
    )
    table(run["steps"], ("step", "tool", "role", "state", "calls"), "no step has begun")
    if run["progress"]:
        say(run["progress"]["text"])
    spent: Mapping[str, Any] = run["cost"]
    say("spent: " + ", ".join(f"{name} {one['spent']}/{one.get('limit', '-')}" for name, one in spent.items()))
    for line in _checklist(run["manual"]):
        say(line)
    gate = run["gate"]
    if gate and gate["kind"] == "approval":
        say(f"waits for people: countersign approvals show {gate['approval']}")
    elif gate:
        say(
            f"asks its requester: {gate['question'].get('question', '')}\n"
            f"  answer it: countersign chat --thread {run['thread']} ANSWER"
        )
