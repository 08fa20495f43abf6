"""Command group `effects`, `explain` and `receipt`: the changes that agents made, the reasons and the proof of each."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from app.client import segment
from app.commands.terminal import (
    AsJson,
    RunFilter,
    ask,
    cell,
    fields,
    in_words,
    memory_line,
    money,
    quote,
    say,
    show,
    table,
    warn,
)
from memory.errors import Permanent

effects = typer.Typer(help="What agents changed.", no_args_is_help=True)
EffectId = Annotated[str, typer.Argument(help="Id or natural key of the effect.")]


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
        "send_key",
        "advice",
    )
    answer = ask(lambda api: api.get(f"/api/effects/{segment(effect)}"))

    def people(view: Mapping[str, Any]) -> None:
        fields(in_words(view), names)
        warn(view)

    show(answer, as_json, people)


@effects.command("ls")
def list_effects(
    run: RunFilter = None, state: Annotated[str | None, typer.Option(help="Such as in_doubt.")] = None, limit: int = 20,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List effects, newest first."""
    answer = ask(lambda api: api.get("/api/effects", run=run, state=state, limit=limit))
    columns = ("id", "state", "tool", "step", "amount", "key")

    def people(page: Mapping[str, Any]) -> None:
        table([in_words(row) for row in page["items"]], columns, "no effects")

    show(answer, as_json, people)


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
        lambda result: say(
            f"effect {effect} is {result['state']}; if its run is stopped: countersign runs resume {result['run']}"
        ),
    )


def explain(effect: EffectId, as_json: AsJson = False) -> None:
    """Tell why an effect happened: request, person, plan, verdict, approvals, permit, response."""
    show(ask(lambda api: api.get(f"/api/effects/{segment(effect)}/explain")), as_json, _print_chain)


def receipt(
    effect: EffectId, out: Annotated[Path | None, typer.Option(help="File to write; the terminal otherwise.")] = None
) -> None:
    """Prove one effect to a stranger: its entries, how they stand in the signed log, and the head that says so."""
    content = ask(lambda api: api.content(f"/api/effects/{segment(effect)}/receipt"))
    if out:
        out.write_bytes(content)
    elif sys.stdout.isatty():
        # For eyes, what could steer a terminal is shown; a file or a pipe gets every byte.
        quote(content.decode())
    else:
        sys.stdout.buffer.write(content)


def _print_chain(chain: Mapping[str, Any]) -> None:
    if not chain.get("effect"):
        raise Permanent("not_found", "the answer explains nothing; ask for another effect")
    request, effect = chain["request"], chain["effect"]
    approval: Mapping[str, Any] = chain["approval"] or {}
    votes: list[Mapping[str, Any]] = approval.get("votes") or []
    run_input: Mapping[str, Any] = request.get("input") or {}
    say(f"request   {run_input.get('request', '')!r} by {request.get('requester')} at {request.get('created')}")
    say(f"          correlation {request.get('correlation')}, run {request.get('id')}")
    say(f"plan      {chain['plan']['hash']}, step {chain['plan']['step']}, knowledge {cell(chain['plan']['pins'])}")
    if memories := memory_line(chain["memory"]):
        say(f"memory    {memories}")
    say(f"verdict   policy {chain['verdict']['policy']}, rules {cell(chain['verdict']['rules']) or '-'}")
    about = f", {money(approval['exposure'], approval['currency'])} in all" if approval else ""
    say(f"approval  {approval.get('id', 'none needed')} {approval.get('status', '')}".rstrip() + about)
    _print_votes(votes)
    say(f"permit    {chain['permit']} (digest)")
    worth = money(effect["amount"], effect["currency"])
    say(f"effect    {effect['tool']} {effect['key']} is {effect['state']}, {worth}")
    say(f"response  {cell(chain['response'])}")
    for audit in chain["audits"]:
        _print_audit(audit)
    say("entries   " + ", ".join(f"{entry['seq']} {entry['kind']}" for entry in chain["entries"]))
    warn(chain)


def _print_votes(votes: Sequence[Mapping[str, Any]]) -> None:
    for vote in votes:
        key = f"key {vote['key']} made by {vote['key_made_by']}" if vote["key"] else "without a key"
        way = f"over {vote['channel']}, {key}"
        say(f"  {vote['decision']} by {vote['by']} at {vote['at']} {way}: {vote['reason'] or '-'}")


def _print_audit(audit: Mapping[str, Any]) -> None:
    """Print what was not as expected, and who accepted it, had it taken back, or left it to people."""
    words = {"approved": "accepted", "taken_back": "to be taken back", "rejected": "left to people"}
    end = words.get(audit["status"], audit["status"])
    decision = f"{end} by {audit['decider']} at {audit['until']}" if audit["decider"] else end
    say(f"audit     {audit['approval']} failed ({cell(audit['problems'])}): {decision}")
    _print_votes(audit["votes"])
