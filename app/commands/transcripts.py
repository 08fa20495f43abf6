"""Command group `transcripts`: archived threads of finished runs, read, restored and held."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.client import segment
from app.commands.memory_archive import PersonOption, ReleaseOption
from app.commands.terminal import AsJson, CursorOption, LimitOption, ask, fields, outline, print_page, say, show, table

transcripts = typer.Typer(help="What your finished runs went through, archived.", no_args_is_help=True)
ThreadArgument = Annotated[str, typer.Argument(help="Id of the thread.")]
_COLUMNS = ("thread", "size", "packed", "archived", "retained_until", "hold", "restored")


@transcripts.command("ls")
def list_transcripts(
    limit: LimitOption = 20, cursor: CursorOption = None, person: PersonOption = None, as_json: AsJson = False
) -> None:
    """List your archived threads, newest first; without a packed size only a tombstone is left."""
    answer = ask(lambda api: api.get("/api/transcripts", limit=limit, cursor=cursor, person=person))
    show(answer, as_json, lambda page: print_page(page, _COLUMNS, "nothing is archived"))


@transcripts.command("show")
def show_transcript(thread: ThreadArgument, as_json: AsJson = False) -> None:
    """Read a transcript without putting it back."""
    transcript = ask(lambda api: api.get(f"/api/transcripts/{segment(thread)}"))
    show(transcript, as_json, _print_transcript)


@transcripts.command()
def restore(thread: ThreadArgument, as_json: AsJson = False) -> None:
    """Put a thread's checkpoints and prompts back where they were."""
    answer = ask(lambda api: api.post(f"/api/transcripts/{segment(thread)}/restore", {}))
    show(answer, as_json, lambda result: say(f"thread {result['thread']} is back where it was"))


@transcripts.command()
def hold(thread: ThreadArgument, release: ReleaseOption = False, as_json: AsJson = False) -> None:
    """Keep a transcript beyond its retention, or end that; for administrators."""
    path = f"/api/transcripts/{segment(thread)}/hold"
    answer = ask(lambda api: api.delete(path) if release else api.post(path, {}))
    show(
        answer,
        as_json,
        lambda result: say(f"thread {result['thread']} is {'under legal hold' if result['hold'] else 'released'}"),
    )


def _print_transcript(transcript: Mapping[str, Any]) -> None:
    fields({**transcript, **transcript["rows"]}, (*_COLUMNS, *transcript["rows"]))
    table(transcript["moments"], ("at", "step", "source", "checkpoint"), "no checkpoints")
    say("in the end:")
    outline(transcript["state"], "  ")
    table(transcript["calls"], ("id", "prompt", "answer"), "no model was asked")
