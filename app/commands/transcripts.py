"""Transcripts on the command line: what finished runs went through, from the archive."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import segment
from app.commands.memory_archive import Person, Release
from app.commands.terminal import AsJson, Cursor, Limit, ask, fields, more, outline, say, show, table

transcripts = typer.Typer(help="What your finished runs went through, archived.", no_args_is_help=True)
Thread = Annotated[str, typer.Argument(help="Id of the thread.")]
_COLUMNS = ("thread", "size", "packed", "archived", "retained_until", "hold", "restored")


@transcripts.command("ls")
def list_transcripts(limit: Limit = 20, cursor: Cursor = None, person: Person = None, as_json: AsJson = False) -> None:
    """List your archived threads, newest first; without a packed size only a tombstone is left."""
    found = ask(lambda api: api.get("/api/transcripts", limit=limit, cursor=cursor, person=person))
    show(found, as_json, lambda page: more(page, _COLUMNS, "nothing is archived"))


@transcripts.command("show")
def show_transcript(thread: Thread, as_json: AsJson = False) -> None:
    """Read a transcript without putting it back."""
    told = ask(lambda api: api.get(f"/api/transcripts/{segment(thread)}"))
    show(told, as_json, _told)


@transcripts.command()
def restore(thread: Thread, as_json: AsJson = False) -> None:
    """Put a thread's checkpoints and prompts back where they were."""
    done = ask(lambda api: api.post(f"/api/transcripts/{segment(thread)}/restore", {}))
    show(done, as_json, lambda it: say(f"{it['thread']} is back where it was"))


@transcripts.command()
def hold(thread: Thread, release: Release = False, as_json: AsJson = False) -> None:
    """Keep a transcript beyond its retention, or end that; for administrators."""
    place = f"/api/transcripts/{segment(thread)}/hold"
    done = ask(lambda api: api.delete(place) if release else api.post(place, {}))
    show(done, as_json, lambda it: say(f"{it['thread']} is {'under legal hold' if it['hold'] else 'released'}"))


def _told(it: Mapping[str, Any]) -> None:
    fields({**it, **it["rows"]}, (*_COLUMNS, *it["rows"]))
    table(it["moments"], ("at", "step", "source", "checkpoint"), "no checkpoints")
    say("in the end:")
    outline(it["state"], "  ")
    table(it["calls"], ("id", "prompt", "answer"), "no model was asked")
