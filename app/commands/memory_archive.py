"""Commands of group `memory` about leaving and coming back: forget, prune, archive, restore, hold."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.client import segment
from app.commands.terminal import AsJson, CursorOption, LimitOption, ask, fields, print_page, say, settings, show, table

ArchiveId = Annotated[str, typer.Argument(help="Id in the archive.")]
ReleaseOption = Annotated[bool, typer.Option("--release", help="End the hold; the retention counts again.")]
PersonOption = Annotated[str | None, typer.Option(help="For administrators: whose.")]
_ROOM = 100_000


def forget(
    memory: Annotated[str | None, typer.Argument(help="Id of the memory, also of an archived one.")] = None,
    person: Annotated[str | None, typer.Option(help="A whole person: you, or for administrators any.")] = None,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="For operators: rewrite files and log, and say what is clean. Locks tables.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask back before a person is forgotten.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget one memory of yours with every value of its subject, or all that is remembered of a person."""
    if (memory is None) == (person is None) or (scrub and person is None):
        raise typer.BadParameter("give either the id of a memory or --person NAME, and --scrub with a person only")
    if person is None:
        answer = ask(lambda api: api.delete(f"/api/memory/{segment(memory or '')}"))
        show(answer, as_json, lambda result: say(f"forgot {result['forgotten']} row(s)"))
        return
    if not yes:
        _ask_back(person)
    address = f"/api/memory?person={quote(person, safe='')}"
    if scrub:
        receipt = _scrub(person, lambda: ask(lambda api: api.delete(address)))
    else:
        receipt = ask(lambda api: api.delete(address))
    show(receipt, as_json, _print_receipt)


def _scrub(person: str, erase: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    # Late, since it brings the database along, which no other command of this group needs.
    from app.scrub import forget

    receipt = forget(settings(), person, erase)
    return {**receipt, "places": {name: asdict(place) for name, place in receipt["places"].items()}}


def _print_receipt(result: Mapping[str, Any]) -> None:
    fields({**result["counts"], "receipt": result["person"]}, (*result["counts"], "receipt"))
    for name, place in result.get("places", {}).items():
        advice = f" (next: {place['next']})" if place["next"] else ""
        say(f"{name:<6}  {place['state']}: {place['why']}{advice}")


def prune(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this, only look.")] = False,
    facts: Annotated[int | None, typer.Option(min=0, max=_ROOM, help="How many with a subject may stay.")] = None,
    episodes: Annotated[int | None, typer.Option(min=0, max=_ROOM, help="How many without one may stay.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which of your memories would leave, and why; with --apply, archive exactly those."""
    room = {name: count for name, count in (("facts", facts), ("episodes", episodes)) if count is not None}
    report = ask(lambda api: api.post("/api/memory/prune", room))
    if apply:
        report = ask(lambda api: api.post("/api/memory/prune", {**room, "expect": report["digest"]}))
    show(report, as_json, _print_pruning)


def archive(
    limit: LimitOption = 20, cursor: CursorOption = None, person: PersonOption = None, as_json: AsJson = False
) -> None:
    """List what was pruned and can still be taken back; of others, administrators do not see what it says."""
    columns = ("id", "scope", "reason", "body", "pruned", "retained_until", "hold")
    answer = ask(lambda api: api.get("/api/memory/archive", limit=limit, cursor=cursor, person=person))
    show(answer, as_json, lambda page: print_page(page, columns, "nothing is archived"))


def restore(memory: ArchiveId, as_json: AsJson = False) -> None:
    """Take back one memory that was pruned."""
    back = ask(lambda api: api.post(f"/api/memory/archive/{segment(memory)}/restore", {}))
    show(back, as_json, _print_restore)


def hold(memory: ArchiveId, release: ReleaseOption = False, as_json: AsJson = False) -> None:
    """Keep what was pruned beyond its retention, or end that; for administrators."""
    path = f"/api/memory/archive/{segment(memory)}/hold"
    answer = ask(lambda api: api.delete(path) if release else api.post(path, {}))
    show(
        answer, as_json, lambda result: say(f"{result['id']} is {'under legal hold' if result['hold'] else 'released'}")
    )


def _ask_back(person: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("forgetting a person cannot be undone; say --yes if nobody can be asked")
    about = f"Memories of {person!r}, what was archived, and results, prompts and transcripts of their runs go for good"
    typer.confirm(f"{about}. Forget {person!r}?", abort=True, err=True)


def _print_restore(view: Mapping[str, Any]) -> None:
    past = "; its subject has another value now, so it is history (memory show --history)" if view["superseded"] else ""
    say(f"remembered again as {view['id']} in {view['scope']}{past}")


def _print_pruning(report: Mapping[str, Any]) -> None:
    table(report["leaving"], ("id", "reason", "worth", "body"), "nothing has to leave")
    if report["done"]:
        say(f"{report['gone']} of {report['held']} left {report['scope']}; {report['archived']} can be restored")
    elif report["leaving"]:
        say(f"{len(report['leaving'])} of {report['held']} would leave {report['scope']}; repeat with --apply")
