"""Commands `kill` and `unkill`: the stop switches."""

from typing import Annotated

import typer

from app.client import segment
from app.commands.terminal import AsJson, ask, say, show, table

KillTarget = Annotated[str, typer.Argument(help="all, run, agent, tool or user")]
TargetName = Annotated[str, typer.Argument(help="Which one; nothing for all.")]


def kill(
    kind: KillTarget = "all",
    name: TargetName = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why.")] = "stopped from the command line",
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
    show(
        answer,
        as_json,
        lambda _answer: say(f"stopped: {kind} {name}".rstrip() + "; release it with countersign unkill"),
    )


def unkill(kind: KillTarget = "all", name: TargetName = "", as_json: AsJson = False) -> None:
    """Release the stop switch; stopped runs stay so until they are resumed."""
    path = "all" if kind == "all" else f"{segment(kind)}/{segment(name)}"
    answer = ask(lambda api: api.delete(f"/api/kills/{path}"))
    show(
        answer,
        as_json,
        lambda _answer: say(f"released: {kind} {name}".rstrip() + "; continue with countersign runs resume"),
    )
