"""Command group `tools`: the catalogue, and a governed call of one tool."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.approvals import parse_object
from app.commands.live import watch
from app.commands.terminal import (
    AsJson,
    ask,
    emit,
    fields,
    leave,
    outline,
    show,
    table,
)

tools = typer.Typer(help="What agents can do.", no_args_is_help=True)


@tools.command("ls")
def list_tools(as_json: AsJson = False) -> None:
    """List the tools."""
    columns = ("name", "effect", "reversible", "roles", "summary")
    show(ask(lambda api: api.get("/api/tools")), as_json, lambda page: table(page["items"], columns, "no tools"))


@tools.command("show")
def show_tool(name: str, as_json: AsJson = False) -> None:
    """Show a tool's card."""
    card = ask(lambda api: api.get(f"/api/tools/{segment(name)}"))
    show(card, as_json, lambda view: fields(view, tuple(view)))


@tools.command()
def call(
    name: str,
    args: Annotated[str, typer.Option(help="The arguments, as a JSON object.")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Call one tool under the same rules as any agent; exit code 3 if people must agree first."""
    arguments = parse_object(args)

    async def run(api: Api) -> dict[str, Any]:
        receipt = await api.post(f"/api/tools/{segment(name)}/call", {"args": arguments})
        await watch(api.follow(receipt["run"]), wait=False, quiet=as_json)
        return await api.get(f"/api/runs/{receipt['run']}")

    result = ask(run)
    if as_json:
        emit(result)
    else:
        _print_result(result)
    leave("waiting" if result["gate"] else result["status"], result["reason"])


def _print_result(run: Mapping[str, Any]) -> None:
    body: Mapping[str, Any] = run["result"]
    results: Mapping[str, Any] = body.get("results") or {}
    outline(results.get("call") or {}, "  ", rows=run["rows"], path="call.")
