"""Looking on the command line: effects, the journal, why something happened, the tools, the settings."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.decide import parsed
from app.commands.screen import watch
from app.commands.terminal import (
    AsJson,
    ask,
    cell,
    emit,
    fields,
    leave,
    money,
    outline,
    recalled,
    say,
    settings,
    show,
    table,
)
from app.settings import SECRETS
from memory.errors import Permanent

effects = typer.Typer(help="What agents changed.", no_args_is_help=True)
journal = typer.Typer(help="What happened, in an order that cannot be changed unseen.", no_args_is_help=True)
tools = typer.Typer(help="What agents can do.", no_args_is_help=True)
config = typer.Typer(help="How this installation is set up.", no_args_is_help=True)

EffectId = Annotated[str, typer.Argument(help="Id or natural key of the effect.")]
Run = Annotated[str | None, typer.Option(help="Of this run only.")]


@effects.command("show")
def show_effect(effect: EffectId, as_json: AsJson = False) -> None:
    """Show one effect."""
    names = (
        "id",
        "run",
        "step",
        "tool",
        "user_id",
        "key",
        "state",
        "amount",
        "args",
        "outcome",
        "approval",
        "claimed",
        "settled",
    )
    show(ask(lambda api: api.get(f"/api/effects/{segment(effect)}")), as_json, lambda it: fields(it, names))


@effects.command("ls")
def list_effects(
    run: Run = None, state: Annotated[str | None, typer.Option(help="Such as in_doubt.")] = None, limit: int = 20,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List effects, newest first."""
    found = ask(lambda api: api.get("/api/effects", run=run, state=state, limit=limit))
    columns = ("id", "state", "tool", "step", "amount", "key")

    def people(page: Mapping[str, Any]) -> None:
        table([{**row, "amount": money(row["amount"])} for row in page["items"]], columns, "no effects")

    show(found, as_json, people)


@effects.command()
def resolve(
    effect: EffectId,
    state: Annotated[str, typer.Argument(help="What you found at the service: done or failed.")],
    reason: Annotated[str, typer.Option("--note", "-n", help="How you know.")],
    as_json: AsJson = False,
) -> None:
    """Say what became of an effect in doubt."""
    answer = ask(lambda api: api.post(f"/api/effects/{segment(effect)}/resolve", {"state": state, "note": reason}))
    show(
        answer,
        as_json,
        lambda it: say(f"effect {effect} is {it['state']}; continue: countersign runs resume {it['run']}"),
    )


def explain(effect: EffectId, as_json: AsJson = False) -> None:
    """Tell why an effect happened: request, person, plan, verdict, approvals, permit, response."""
    show(ask(lambda api: api.get(f"/api/effects/{segment(effect)}/explain")), as_json, _print_chain)


@journal.command("show")
def show_journal(run: Annotated[str, typer.Argument(help="Id of the run.")], as_json: AsJson = False) -> None:
    """Show what was recorded of a run."""

    async def read(api: Api) -> dict[str, Any]:
        found: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = await api.get(f"/api/runs/{segment(run)}/journal", after=after, limit=200)
            found += page["items"]
            after = page["next"]
        return {"run": run, "items": found}

    show(ask(read), as_json, _print_entries)


@journal.command()
def verify(run: Run = None, as_json: AsJson = False) -> None:
    """Recompute the chains; exit code 6 if one does not hold."""
    found = ask(lambda api: api.get("/api/journal/verify", run=run))
    show(found, as_json, _print_verification)
    if not found["ok"]:
        raise typer.Exit(6)


@journal.command()
def export(run: Run = None) -> None:
    """Print every entry as a line of JSON."""

    async def copy(api: Api) -> None:
        async for line in api.lines("/api/journal/export", run=run):
            sys.stdout.write(line + "\n")

    ask(copy)


@tools.command("ls")
def list_tools(as_json: AsJson = False) -> None:
    """List the tools."""
    columns = ("name", "effect", "reversible", "roles", "summary")
    show(ask(lambda api: api.get("/api/tools")), as_json, lambda page: table(page["items"], columns, "no tools"))


@tools.command("show")
def show_tool(name: str, as_json: AsJson = False) -> None:
    """Show a tool's card."""
    shown = ask(lambda api: api.get(f"/api/tools/{segment(name)}"))
    show(shown, as_json, lambda it: fields(it, tuple(it)))


@tools.command()
def call(
    name: str,
    args: Annotated[str, typer.Option(help="The arguments, as a JSON object.")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Call one tool under the same rules as any agent; exit code 3 if people must agree first."""
    given = parsed(args)

    async def run(api: Api) -> dict[str, Any]:
        begun = await api.post(f"/api/tools/{segment(name)}/call", {"args": given})
        await watch(api.follow(begun["run"]), wait=False, quiet=as_json)
        return await api.get(f"/api/runs/{begun['run']}")

    shown = ask(run)
    if as_json:
        emit(shown)
    else:
        _print_result(shown)
    leave("waiting" if shown["gate"] else shown["status"], shown["reason"])


@config.command("show")
def show_config(as_json: AsJson = False) -> None:
    """Show the settings; secrets are hidden."""
    found = settings().model_dump(mode="json")
    hidden = {name: "(set)" if name in SECRETS and value else value for name, value in found.items()}
    show(hidden, as_json, lambda it: fields(it, tuple(it)))


def _print_result(run: Mapping[str, Any]) -> None:
    body: Mapping[str, Any] = run["result"]
    results: Mapping[str, Any] = body.get("results") or {}
    outline(results.get("call") or {}, "  ", rows=run["rows"], place="call.")


def _print_entries(found: Mapping[str, Any]) -> None:
    for entry in found["items"]:
        body: dict[str, Any] = dict(entry["body"])
        at, kind = body.pop("at"), body.pop("kind")
        told = ", ".join(f"{name}={cell(value)[:80]}" for name, value in body.items() if value not in (None, [], {}))
        say(f"{entry['seq']:>4}  {at[11:23]}  {kind:<10} {told}")


def _print_verification(found: Mapping[str, Any]) -> None:
    say(f"{found['entries']:,} entries of {found['runs']:,} run(s): {'every chain holds' if found['ok'] else 'BROKEN'}")
    for broken in found["broken"]:
        say(f"run {broken['run']}, entry {broken['seq']}: {broken['what']}")


def _print_chain(it: Mapping[str, Any]) -> None:
    if not it.get("effect"):
        raise Permanent("not_found", "the answer explains nothing; ask for another effect")
    request, effect = it["request"], it["effect"]
    approval: Mapping[str, Any] = it["approval"] or {}
    votes: list[Mapping[str, Any]] = approval.get("votes") or []
    said: Mapping[str, Any] = request.get("input") or {}
    say(f"request   {said.get('request', '')!r} by {request.get('requester')} at {request.get('created')}")
    say(f"          correlation {request.get('correlation')}, run {request.get('id')}")
    say(f"plan      {it['plan']['hash']}, step {it['plan']['step']}, knowledge {cell(it['plan']['pins'])}")
    if told := recalled(it["memory"]):
        say(f"memory    {told}")
    say(f"verdict   policy {it['verdict']['policy']}, rules {cell(it['verdict']['rules']) or '-'}")
    say(f"approval  {approval.get('id', 'none needed')} {approval.get('status', '')}".rstrip())
    for vote in votes:
        say(f"  {vote['decision']} by {vote['by']} at {vote['at']} over {vote['channel']}: {vote['reason'] or '-'}")
    say(f"permit    {it['permit']} (digest)")
    say(f"effect    {effect['tool']} {effect['key']} is {effect['state']}")
    say(f"response  {cell(it['response'])}")
    say("entries   " + ", ".join(f"{entry['seq']} {entry['kind']}" for entry in it["entries"]))
