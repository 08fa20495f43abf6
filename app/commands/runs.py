"""Command group `runs`, and `chat`: start, watch, show, cancel, resume."""

import asyncio
import io
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.client_settings import load_client
from app.commands.signs import is_text
from app.commands.terminal import (
    AsJson,
    RunId,
    ask,
    checklist,
    emit,
    fields,
    leave,
    memory_line,
    note,
    say,
    show,
    table,
    warn,
)

runs = typer.Typer(help="Look at runs, cancel or resume them.", no_args_is_help=True)


def chat(
    message: Annotated[str | None, typer.Argument(help="What you want; without it you can talk line by line.")] = None,
    *,
    thread: Annotated[str | None, typer.Option(help="Continue this thread.")] = None,
    supersedes: Annotated[bool, typer.Option(help="Cancel what the thread is busy with and start anew.")] = False,
    flow: Annotated[str | None, typer.Option(help="Flow that leads the run; the governed one if unset.")] = None,
    wait: Annotated[bool, typer.Option(help="Keep watching while people decide.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong and watch it being repaired; exit code 3 says that people must decide first."""
    if message is None:
        asyncio.run(_talk(thread))
        return
    body: dict[str, Any] = {"message": message, "supersedes": supersedes}
    body |= {name: value for name, value in (("thread", thread), ("flow", flow)) if value}
    if as_json and not wait:
        answer = ask(lambda api: api.post("/api/chat", body))
        emit(answer)
        leave(answer["status"], answer["reason"])
        return
    leave(*asyncio.run(_once(body, wait=wait, as_json=as_json)))


@runs.command("ls")
def ls(limit: int = 20, as_json: AsJson = False) -> None:
    """List runs, newest first."""
    answer = ask(lambda api: api.get("/api/runs", limit=limit))
    columns = ("run", "status", "reason", "requester", "created", "request")
    show(answer, as_json, lambda page: table(page["items"], columns, "there are no runs yet; try `countersign chat`"))


@runs.command("show")
def show_run(
    run: RunId, follow: Annotated[bool, typer.Option(help="Watch until it ends or people must decide.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show plan, steps, progress, cost and results of a run."""
    if follow:
        asyncio.run(_follow(run, quiet=as_json))
    view = ask(lambda api: api.get(f"/api/runs/{segment(run)}"))
    show(view, as_json, _print_run)
    if follow:
        leave("waiting" if view["gate"] else view["status"], view["reason"])


@runs.command()
def cancel(run: RunId, reason: Annotated[str, typer.Option(help="Why.")] = "", as_json: AsJson = False) -> None:
    """End a run; one at work stops before its next call."""
    answer = ask(lambda api: api.post(f"/api/runs/{segment(run)}/cancel", {"reason": reason}))
    show(answer, as_json, lambda result: say(f"run {run} is {result['status']}"))


@runs.command()
def resume(run: RunId, as_json: AsJson = False) -> None:
    """Queue a stopped run again."""
    answer = ask(lambda api: api.post(f"/api/runs/{segment(run)}/resume", {}))
    show(
        answer,
        as_json,
        lambda result: say(f"run {run} is {result['status']}; watch it: countersign runs show {run} --follow"),
    )


async def _once(body: Mapping[str, Any], *, wait: bool, as_json: bool) -> tuple[str, str | None]:
    from app.commands.live import watch

    async with Api.of(load_client()) as api:
        outcome = await watch(api.say(body), wait=wait, quiet=as_json)
        if as_json:
            emit(await api.get(f"/api/runs/{outcome['run']}"))
    return outcome["status"], outcome["reason"]


async def _follow(run: str, *, quiet: bool) -> None:
    from app.commands.live import watch

    async with Api.of(load_client()) as api:
        view = await api.get(f"/api/runs/{segment(run)}")
        if view["gate"] is None and view["status"] in ("queued", "running", "waiting"):
            await watch(api.follow(run, str(view["seq"])), wait=False, quiet=quiet)


async def _talk(thread: str | None) -> None:
    from app.commands.live import watch

    note("say what is wrong; an empty line ends the conversation")
    async with Api.of(load_client()) as api:
        # In a thread: `input` would stop the loop, and with it the connection.
        while message := (await asyncio.to_thread(_line)).strip():
            if not is_text(message):
                note("that is no UTF-8 text; write it again")
                continue
            body = {"message": message, **({"thread": thread} if thread else {})}
            outcome = await watch(api.say(body), wait=False)
            thread = outcome["thread"] or thread


def _line() -> str:
    """Return what was typed; the end of the input ends the conversation too."""
    stdin: object = sys.stdin
    if isinstance(stdin, io.TextIOWrapper):
        # One wrong byte must not end the conversation: it comes as a surrogate instead.
        stdin.reconfigure(errors="surrogateescape")
    try:
        return input("> ")
    except EOFError:
        return ""


def _print_run(run: Mapping[str, Any]) -> None:
    fields(
        run,
        (
            "run",
            "thread",
            "flow",
            "status",
            "reason",
            "requester",
            "request",
            "message",
            "plan_hash",
            "created",
            "ended",
        ),
    )
    table(run["steps"], ("step", "tool", "role", "state", "calls"), "no step has begun")
    if run["progress"]:
        say(run["progress"]["text"])
    costs: Mapping[str, Any] = run["cost"]
    say("spent: " + ", ".join(f"{name} {cost['spent']}/{cost.get('limit', '-')}" for name, cost in costs.items()))
    if memories := memory_line(run["memory"]):
        say(f"memory: {memories}")
    for line in checklist(run["manual"]):
        say(line)
    gate = run["gate"]
    if gate and gate["kind"] != "clarify":
        say(f"waits for people: countersign approvals show {gate['approval']}")
    elif gate:
        say(f"asks its requester: {gate['question'].get('question', '')}")
        say(f"  answer it: countersign chat --thread {run['thread']} ANSWER")
    warn(run)
