"""Command group `approvals`: list, show, decide exactly the round that was read, take an edit over."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import Api, segment
from app.commands.terminal import AsJson, ask, cell, fields, in_words, money, outline, say, show, table, warn
from memory import json_text
from memory.errors import Permanent

app = typer.Typer(help="See what people are asked, and decide.", no_args_is_help=True)
ApprovalId = Annotated[str, typer.Argument(help="Id of the approval.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="Why; recorded with your name.")]
NonceOption = Annotated[str | None, typer.Option(help="The round you read; unset means the one shown now.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again.")]


@app.command("ls")
def ls(
    status: Annotated[str | None, typer.Option(help="open, approved, rejected, edited, taken_back, …")] = None,
    run: Annotated[str | None, typer.Option(help="Of this run only.")] = None,
    limit: int = 20,
    as_json: AsJson = False,
) -> None:
    """List approvals, newest first."""
    answer = ask(lambda api: api.get("/api/approvals", status=status, run=run, limit=limit))
    columns = ("id", "kind", "status", "step", "need", "approvals", "exposure", "requester", "expires")

    def people(page: Mapping[str, Any]) -> None:
        rows = [{**row, "exposure": money(row["exposure"], row["currency"])} for row in page["items"]]
        table(rows, columns, "nobody is asked anything")

    show(answer, as_json, people)


@app.command("show")
def show_approval(approval: ApprovalId, as_json: AsJson = False) -> None:
    """Show what is asked: actions, amounts, a sample, how it is taken back, who must agree, and what changed."""
    show(ask(lambda api: api.get(f"/api/approvals/{segment(approval)}")), as_json, print_approval)


@app.command()
def approve(
    approval: ApprovalId,
    reason: ReasonOption = "",
    nonce: NonceOption = None,
    yes: YesOption = False,
    as_json: AsJson = False,
) -> None:
    """Agree to exactly what is shown."""
    _decide(approval, "approve", reason=reason, nonce=nonce, yes=yes, as_json=as_json)


@app.command()
def reject(
    approval: ApprovalId,
    reason: ReasonOption,
    nonce: NonceOption = None,
    yes: YesOption = False,
    as_json: AsJson = False,
) -> None:
    """Refuse; the reason goes into the plan."""
    _decide(approval, "reject", reason=reason, nonce=nonce, yes=yes, as_json=as_json)


@app.command()
def edit(  # one option per field of the decision
    approval: ApprovalId,
    *,
    args: Annotated[str, typer.Option(help="The complete new arguments, as JSON.")],
    reason: ReasonOption,
    nonce: NonceOption = None,
    yes: YesOption = False,
    as_json: AsJson = False,
) -> None:
    """Change the arguments; they are checked again, and asked for again if policy says so."""
    new_arguments = parse_object(args)
    _decide(approval, "edit", reason=reason, nonce=nonce, yes=yes, as_json=as_json, new_arguments=new_arguments)


@app.command("take-back")
def take_back(
    approval: ApprovalId,
    reason: ReasonOption,
    nonce: NonceOption = None,
    yes: YesOption = False,
    as_json: AsJson = False,
) -> None:
    """Have what failed its audit undone by the tools that can; the rest is listed for people."""
    _decide(approval, "take_back", reason=reason, nonce=nonce, yes=yes, as_json=as_json)


@app.command("ask")
def question(
    approval: ApprovalId, text: Annotated[str, typer.Argument(help="The question.")], as_json: AsJson = False
) -> None:
    """Ask the requester something; the gate stays open."""
    _decide(approval, "ask", reason=text, nonce=None, yes=True, as_json=as_json)


@app.command("take-over")
def take_over(
    approval: ApprovalId,
    nonce: Annotated[str | None, typer.Option(help="Of the edit you read; unset means the one shown now.")] = None,
    yes: YesOption = False,
    as_json: AsJson = False,
) -> None:
    """Make an edit your own request, as who asked; who wrote it may decide again."""
    path = f"/api/approvals/{segment(approval)}"
    view = ask(lambda api: api.get(path))
    _confirm(view, "take over", is_read=nonce is not None, yes=yes, as_json=as_json)
    body = {"nonce": nonce or (view["proposal"] or view)["nonce"], "channel": "cli"}
    answer = ask(lambda api: api.post(f"{path}/take-over", body))
    show(answer, as_json, lambda result: say(f"taken over from {cell(result['editors'])}: {result['status']}"))


def parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object from the command line; raises typer.BadParameter."""
    try:
        value = json_text.read(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} is no JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]  # checked by the API


def print_approval(approval: Mapping[str, Any]) -> None:
    """Print an approval so that a person can decide."""
    question: Mapping[str, Any] = approval["shown"]
    fields(approval, ("id", "run", "round", "status", "reason", "requester", "step", "opened", "expires"))
    stake = money(approval["exposure"], approval["currency"])
    say(f"what      {approval['actions']} action(s), {stake} in all: "
        + ", ".join(f"{count} x {tool}" for tool, count in approval["tools"].items()))  # fmt: skip
    groups = cell(approval["groups"] or "any group")
    excluded = cell([approval["requester"], *approval["authors"]])
    say(f"who       {approval['approvals']} of {approval['need']} approvals, of {groups}, not {excluded}")
    if approval["status"] == "open":
        _print_voters(approval)
    say(f"why held  {cell(approval['rules'])}")
    plan, policy = approval["plan_hash"][:12], approval["policy"][:12]
    say(f"rests on  plan {plan}, policy {policy}, knowledge {cell(approval['pins'])}")
    outline(question, "  ")
    if approval["sample"]:
        table(list(map(in_words, approval["sample"])), tuple(in_words(approval["sample"][0])), "")
    table(approval["votes"], ("approver", "decision", "reason", "key", "at"), "nobody has voted yet")
    for edit in approval["edits"]:
        say(f"edited    round {edit['round']} by {_editor(edit)}: {cell(edit['reason'])}")
        _print_changes(edit["changed"])
    if replaces := approval["replaces"]:
        about = f"{replaces['status']} by {_editor(replaces)}"
        say(f"replaces  {replaces['approval']} ({about}: {cell(replaces['reason'])})")
        _print_changes(replaces["changed"])
    if proposal := approval["proposal"]:
        say(f"proposal  by {proposal['by']}: {cell(proposal['reason'])}")
        _print_changes(proposal["changed"])
    say(f"nonce     {approval['nonce']}")
    warn(approval)


def _editor(edit: Mapping[str, Any]) -> str:
    taker = edit["taken_over_by"]
    return f"{edit['by']}, taken over by {taker}" if taker else str(edit["by"])


def _print_changes(changes: Mapping[str, Any]) -> None:
    for name, change in changes.items():
        say(f"  {name}: {cell(change['was'])} -> {cell(change['is'])}")


def _print_voters(approval: Mapping[str, Any]) -> None:
    say(f"left      {cell(approval['voters'])} may still approve")
    if len(approval["voters"]) < approval["need"] - approval["approvals"]:
        say("          that is too few: have what authors published approved by another (`countersign knowledge "
            "approve`), let the requester take an edit over (`approvals take-over`), or add people")  # fmt: skip


def _decide(
    approval: str, kind: str, *, reason: str, nonce: str | None, yes: bool, as_json: bool,
    new_arguments: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    path = f"/api/approvals/{segment(approval)}"
    view = ask(lambda api: api.get(path))
    _confirm(view, kind, is_read=nonce is not None, yes=yes, as_json=as_json)
    body = {
        "decision": kind,
        "nonce": nonce or view["nonce"],
        "reason": reason,
        "channel": "cli",
        "edited": new_arguments,
    }

    async def send(api: Api) -> Any:
        return await api.post(f"{path}/decisions", body)

    answer = ask(send)
    if answer["code"] != "ok":
        raise Permanent("conflict", f"the decision was not counted: {answer['code']}")
    show(
        answer,
        as_json,
        lambda result: say(f"{kind}: {result['status']}, {result['votes']} of {result['need']} approvals"),
    )


def _confirm(view: Mapping[str, Any], verb: str, *, is_read: bool, yes: bool, as_json: bool) -> None:
    """Show a round and ask; a nonce says that it was read before."""
    if yes or is_read:
        return
    if as_json or not sys.stdin.isatty():
        message = "nobody can be shown it here: read it with `approvals show` and give its --nonce, or say --yes"
        raise typer.BadParameter(message)
    print_approval(view)
    typer.confirm(f"{verb} this?", abort=True)
