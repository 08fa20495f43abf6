"""How memories leave and come back, on the command line: forgetting, pruning, the archive and legal holds."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.client import segment
from app.commands.terminal import AsJson, Cursor, Limit, ask, fields, more, say, show, table

Shelved = Annotated[str, typer.Argument(help="Id in the archive.")]
Release = Annotated[bool, typer.Option("--release", help="End the hold; the retention counts again.")]
Person = Annotated[str | None, typer.Option(help="For administrators: whose.")]
_ROOM = 100_000


def forget(
    memory: Annotated[str | None, typer.Argument(help="Id of the memory, also of an archived one.")] = None,
    person: Annotated[str | None, typer.Option(help="A whole person: you, or for administrators any.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask back before a person is forgotten.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget one memory of yours with every value of its subject, or all that is remembered of a person."""
    if (memory is None) == (person is None):
        raise typer.BadParameter("give either the id of a memory or --person NAME")
    if person is None:
        gone = ask(lambda api: api.delete(f"/api/memory/{segment(memory or '')}"))
        show(gone, as_json, lambda it: say(f"forgot {it['forgotten']} row(s)"))
        return
    if not yes:
        _ask_back(person)
    receipt = ask(lambda api: api.delete(f"/api/memory?person={quote(person, safe='')}"))
    show(receipt, as_json, lambda it: fields({**it["counts"], "receipt": it["person"]}, (*it["counts"], "receipt")))


def prune(
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this, only look.")] = False,
    facts: Annotated[int | None, typer.Option(min=0, max=_ROOM, help="How many with a subject may stay.")] = None,
    episodes: Annotated[int | None, typer.Option(min=0, max=_ROOM, help="How many without one may stay.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which of your memories would leave, and why; with --apply, archive exactly those."""
    room = {name: count for name, count in (("facts", facts), ("episodes", episodes)) if count is not None}
    seen = ask(lambda api: api.post("/api/memory/prune", room))
    if apply:
        seen = ask(lambda api: api.post("/api/memory/prune", {**room, "expect": seen["digest"]}))
    show(seen, as_json, _pruned)


def archive(limit: Limit = 20, cursor: Cursor = None, person: Person = None, as_json: AsJson = False) -> None:
    """List what was pruned and can still be taken back; of others, administrators do not see what it says."""
    columns = ("id", "scope", "reason", "body", "pruned", "retained_until", "hold")
    found = ask(lambda api: api.get("/api/memory/archive", limit=limit, cursor=cursor, person=person))
    show(found, as_json, lambda page: more(page, columns, "nothing is archived"))


def restore(memory: Shelved, as_json: AsJson = False) -> None:
    """Take back one memory that was pruned."""
    back = ask(lambda api: api.post(f"/api/memory/archive/{segment(memory)}/restore", {}))
    show(back, as_json, _restored)


def hold(memory: Shelved, release: Release = False, as_json: AsJson = False) -> None:
    """Keep what was pruned beyond its retention, or end that; for administrators."""
    place = f"/api/memory/archive/{segment(memory)}/hold"
    done = ask(lambda api: api.delete(place) if release else api.post(place, {}))
    show(done, as_json, lambda it: say(f"{it['id']} is {'under legal hold' if it['hold'] else 'released'}"))


def _ask_back(person: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("forgetting a person cannot be undone; say --yes if nobody can be asked")
    about = f"Memories of {person!r}, what was archived, and results, prompts and transcripts of their runs go for good"
    typer.confirm(f"{about}. Forget {person!r}?", abort=True, err=True)


def _restored(it: Mapping[str, Any]) -> None:
    past = "; its subject has another value now, so it is history (memory show --history)" if it["superseded"] else ""
    say(f"remembered again as {it['id']} in {it['scope']}{past}")


def _pruned(it: Mapping[str, Any]) -> None:
    table(it["leaving"], ("id", "reason", "worth", "body"), "nothing has to leave")
    if it["done"]:
        say(f"{it['gone']} of {it['held']} left {it['scope']}; {it['archived']} can be restored")
    elif it["leaving"]:
        say(f"{len(it['leaving'])} of {it['held']} would leave {it['scope']}; repeat with --apply")
