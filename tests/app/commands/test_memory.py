"""Memory on the command line: looked at before it leaves, taken back, looked back at, carried elsewhere."""

import os
import pty
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.api.test_memory_by_id import Keep, keep
from tests.app.conftest import Run

__all__ = ["keep"]


async def test_a_search_says_why_and_what_it_left_out(run: Run) -> None:
    for value in ("the office is in Kiel", "the office is in Bonn"):
        await run("alice", "memory", "add", value, "--key", "office")
    ran = await run("alice", "memory", "search", "where is the office")
    assert "Bonn" in ran.out
    assert "Kiel" not in ran.out
    assert " +" in ran.out
    assert "not shown: 1 superseded" in ran.err


async def test_pruning_is_looked_at_done_and_undone(run: Run) -> None:
    for text in ("the blue door squeaks", "invoice 4711 was paid in March"):
        await run("alice", "memory", "add", text)
    assert "1 of 2 would leave user:alice" in (await run("alice", "memory", "prune", "--episodes", "1")).out
    assert len((await run("alice", "memory", "ls", "--json")).json["items"]) == 2
    ran = await run("alice", "memory", "prune", "--episodes", "1", "--apply")
    assert "1 of 2 left user:alice; 1 can be restored" in ran.out
    (row,) = (await run("alice", "memory", "archive", "--json")).json["items"]
    assert "remembered again" in (await run("alice", "memory", "restore", row["id"])).out


async def test_an_export_is_a_file_that_goes_in_again(run: Run, tmp_path: Path) -> None:
    """R101"""
    await run("alice", "memory", "add", "Grüße aus Kiel")
    lines = (await run("alice", "memory", "export")).out
    (tmp_path / "memory.jsonl").write_text(lines, encoding="utf-8")
    assert "took in 0, knew 1" in (await run("alice", "memory", "import", "memory.jsonl")).out


async def test_a_person_can_be_forgotten_whole(run: Run) -> None:
    """R102"""
    await run("alice", "memory", "add", "keeps a red bicycle in Porto")
    assert (await run("alice", "memory", "forget")).code == 2
    ran = await run("alice", "memory", "forget", "--person", "alice", "--yes")
    assert (ran.code, "memories" in ran.out, "receipt" in ran.out) == (0, True, True)
    assert "nothing is remembered" in (await run("alice", "memory", "ls")).out


async def test_the_embedder_and_what_waits_for_it_are_shown(run: Run) -> None:
    await run("alice", "memory", "add", "the office is in Kiel")
    ran = await run("alice", "memory", "embedder", "--json")
    assert ran.json == {"embedder": "lexical-1024-v1", "waiting": {"memories": 0, "knowledge": 0}}
    assert "lexical" in (await run("alice", "memory", "embedder")).out


async def add(run: Run, text: str, *options: str) -> str:
    return (await run("alice", "memory", "add", text, *options, "--json")).json["id"]


@contextmanager
def terminal(answer: str, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Let the standard input be a terminal at which somebody has typed an answer."""
    keyboard, tty = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    with open(tty, encoding="utf-8") as screen, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", screen)
        yield
    os.close(keyboard)


async def test_a_person_is_forgotten_only_after_asking_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """R102: what cannot be undone is asked for twice, or said to be meant."""
    await add(run, "keeps a red bicycle in Porto")
    ran = await run("alice", "memory", "forget", "--person", "alice")
    assert (ran.code, "--yes" in ran.err) == (2, True)
    for answer, expectation in (("n", 1), ("y", 0)):
        with terminal(answer, monkeypatch):
            ran = await run("alice", "memory", "forget", "--person", "alice")
        assert (ran.code, "go for good" in ran.err) == (expectation, True)
        assert len((await run("alice", "memory", "ls", "--json")).json["items"]) == expectation


async def test_one_memory_and_its_past_are_shown(run: Run) -> None:
    """R93"""
    old = await add(run, "the office is in Kiel", "--key", "office")
    new = await add(run, "the office is in Bonn", "--key", "office")
    ran = await run("alice", "memory", "show", old)
    assert all(text in ran.out for text in ("Kiel", "alice", new))
    past = await run("alice", "memory", "show", new, "--history")
    assert all(text in past.out for text in ("Kiel", "Bonn"))
    was = (await run("alice", "memory", "show", old, "--json")).json["valid_from"]
    assert "Kiel" in (await run("alice", "memory", "as-of", "office", was)).out
    assert "Bonn" in (await run("alice", "memory", "as-of", "office", "2999-01-01", "--json")).json["body"]


async def test_what_is_known_or_history_is_told_apart_from_what_is_new(run: Run) -> None:
    old = await add(run, "the office is in Kiel", "--key", "office")
    again = await run("alice", "memory", "add", "the office is in Kiel", "--key", "office")
    assert f"known as {old}" in again.out
    await run("alice", "memory", "prune", "--facts", "0", "--apply")
    await add(run, "the office is in Bonn", "--key", "office")
    assert "so it is history" in (await run("alice", "memory", "restore", old)).out


async def test_a_long_list_is_read_page_by_page(run: Run) -> None:
    ids = [await add(run, f"note number {n}", "--key", str(n)) for n in range(3)]
    first = await run("alice", "memory", "ls", "--limit", "2")
    assert "--cursor" in first.err
    cursor = (await run("alice", "memory", "ls", "--limit", "2", "--json")).json["next"]
    second = (await run("alice", "memory", "ls", "--limit", "2", "--cursor", cursor, "--json")).json
    assert ([item["id"] for item in second["items"]], second["next"]) == (ids[:1], None)


async def test_pins_are_set_and_lifted(run: Run) -> None:
    """R94"""
    memory = await add(run, "the safe is behind the map")
    assert "pinned" in (await run("alice", "memory", "pin", memory)).out
    assert "nothing has to leave" in (await run("alice", "memory", "prune", "--episodes", "0")).out
    assert (await run("alice", "memory", "unpin", memory, "--json")).json == {"id": memory, "pinned": False}


async def test_administrators_hold_and_release_what_was_archived(run: Run) -> None:
    """R94"""
    memory = await add(run, "the safe is behind the map")
    await run("alice", "memory", "prune", "--episodes", "0", "--apply")
    assert (await run("alice", "memory", "hold", memory)).code == 1
    ran = await run("root", "memory", "archive", "--person", "alice")
    assert (memory in ran.out, "safe" in ran.out) == (True, False)
    assert "under legal hold" in (await run("root", "memory", "hold", memory)).out
    assert (await run("alice", "memory", "forget", "--person", "alice", "--yes")).code == 1
    assert "released" in (await run("root", "memory", "hold", memory, "--release")).out


async def test_transcripts_are_listed_read_taken_back_and_held(run: Run, keep: Keep) -> None:
    """R99"""
    thread = await keep()
    assert thread in (await run("alice", "transcripts", "ls")).out
    assert "nothing is archived" in (await run("bob", "transcripts", "ls")).out
    ran = await run("alice", "transcripts", "show", thread)
    assert all(text in ran.out for text in (thread, "checkpoints", "no model was asked"))
    assert (await run("bob", "transcripts", "show", thread)).code == 1
    assert (await run("alice", "transcripts", "restore", thread, "--json")).json["restored"]
    assert "under legal hold" in (await run("root", "transcripts", "hold", thread)).out
    assert "released" in (await run("root", "transcripts", "hold", thread, "--release")).out


async def test_an_export_is_one_object_where_one_is_asked_for(run: Run) -> None:
    """R101"""
    await add(run, "Grüße aus Kiel")
    assert [len(lines) for lines in (await run("alice", "memory", "export", "--json")).json.values()] == [2]


@pytest.mark.parametrize(
    "argv",
    [
        ("ls", "--limit", "500"), ("ls", "--limit", "0"), ("add", " "), ("add", "x", "--ttl", "0"),
        ("add", "x", "--key", " "), ("add", "x", "--key", "k" * 201), ("add", "\u200b"), ("add", "x" * 9000),
        ("search", ""), ("search", "x", "--limit", "201"), ("prune", "--facts", "-1"), ("as-of", "office", "soon"),
        ("archive", "--limit", "201"),
    ],
)  # fmt: skip
async def test_wrong_use_is_told_with_its_own_code(run: Run, argv: tuple[str, ...]) -> None:
    ran = await run("alice", "memory", *argv)
    assert (ran.code, ran.out, "Traceback" in ran.err) == (2, "", False)


@pytest.mark.parametrize("argv", [("show",), ("show", "--history"), ("pin",), ("unpin",), ("hold",), ("restore",)])
async def test_what_is_not_there_is_told(run: Run, argv: tuple[str, ...]) -> None:
    ran = await run("root", "memory", *argv, "nosuch", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "not_found")


@pytest.mark.parametrize("id", ["../kills/all", "..", "", "%2e%2e"])
async def test_an_id_never_leads_to_another_route(run: Run, id: str) -> None:
    await run("bob", "kill")
    for group, verbs in (("memory", ("show", "pin", "unpin", "hold", "restore")), ("transcripts", ("show", "restore"))):
        for verb in verbs:
            assert (await run("root", group, verb, id)).code == 1
    assert (await run("root", "memory", "hold", id, "--release")).code == 1
    assert (await run("root", "transcripts", "hold", id, "--release")).code == 1
    assert len((await run("bob", "kill", "--list", "--json")).json["items"]) == 1
