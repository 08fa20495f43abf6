"""Commands `kill` and `unkill`: the stop switches."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.terminal import AsJson, ask, note, say, show, table

_LOOK_SECONDS = 0.5

KillTarget = Annotated[str, typer.Argument(help="all, run, agent, tool or user")]
TargetName = Annotated[str, typer.Argument(help="Which one; nothing for all.")]


def kill(
    kind: KillTarget = "all",
    name: TargetName = "",
    *,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why.")] = "stopped from the command line",
    wait: Annotated[bool, typer.Option(help="Wait until nothing is on its way any more.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Only list what is stopped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop everything, or a run, agent role, tool or person; nothing within reach is permitted any more."""
    if list_only:
        answer = ask(lambda api: api.get("/api/kills"))
        show(
            answer,
            as_json,
            lambda page: table(page["items"], ("kind", "name", "reason", "by", "at"), "nothing is stopped"),
        )
        return
    answer = ask(lambda api: api.post("/api/kills", {"kind": kind, "name": name, "reason": reason}))
    if wait:
        answer = {**answer, "open": ask(lambda api: _until_settled(api, kind, name))}
    show(answer, as_json, _say_stopped)


async def _until_settled(api: Api, kind: str, name: str) -> list[Any]:
    """Return what is open when nothing is any more, looking again every half a second."""
    while items := (await api.get("/api/kills/open", kind=kind, name=name))["items"]:
        note(f"{len(items)} on their way")
        await asyncio.sleep(_LOOK_SECONDS)
    return []


def _say_stopped(answer: Mapping[str, Any]) -> None:
    say(f"stopped: {answer['kind']} {answer['name']}".rstrip() + "; release it with countersign unkill")
    if answer["open"]:
        say("on their way, and not sent again:")
        table(answer["open"], ("id", "run", "step", "tool", "attempts", "claimed"), "nothing")
    for session in answer["sessions"]:
        say(f"database process {session} holds up all claims; an administrator must end it")


def unkill(kind: KillTarget = "all", name: TargetName = "", as_json: AsJson = False) -> None:
    """Release the stop switch; stopped runs stay so until they are resumed."""
    path = "all" if kind == "all" else f"{segment(kind)}/{segment(name)}"
    answer = ask(lambda api: api.delete(f"/api/kills/{path}"))
    show(
        answer,
        as_json,
        lambda _answer: say(f"released: {kind} {name}".rstrip() + "; continue with countersign runs resume"),
    )
