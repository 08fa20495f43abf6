"""Memory on the command line: looked at before it leaves, taken back, carried elsewhere."""

from pathlib import Path

from tests.app.test_cli import Run, api, run

__all__ = ["api", "run"]


async def test_a_search_says_why_and_what_it_left_out(run: Run) -> None:
    for value in ("the office is in Kiel", "the office is in Bonn"):
        await run("alice", "memory", "add", value, "--key", "office")
    found = await run("alice", "memory", "search", "where is the office")
    assert "Bonn" in found.out
    assert "Kiel" not in found.out
    assert " +" in found.out
    assert "not shown: 1 superseded" in found.err


async def test_pruning_is_looked_at_done_and_undone(run: Run) -> None:
    for text in ("the blue door squeaks", "invoice 4711 was paid in March"):
        await run("alice", "memory", "add", text)
    assert "1 of 2 would leave user:alice" in (await run("alice", "memory", "prune", "--episodes", "1")).out
    assert len((await run("alice", "memory", "ls", "--json")).json["items"]) == 2
    done = await run("alice", "memory", "prune", "--episodes", "1", "--apply")
    assert "1 of 2 left user:alice; 1 can be restored" in done.out
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
    told = await run("alice", "memory", "forget", "--person", "alice")
    assert (told.code, "memories" in told.out, "receipt" in told.out) == (0, True, True)
    assert "nothing is remembered" in (await run("alice", "memory", "ls")).out


async def test_the_embedder_and_what_waits_for_it_are_shown(run: Run) -> None:
    await run("alice", "memory", "add", "the office is in Kiel")
    told = await run("alice", "memory", "embedder", "--json")
    assert told.json == {"embedder": "lexical-1024-v1", "waiting": {"memories": 0, "knowledge": 0}}
    assert "lexical" in (await run("alice", "memory", "embedder")).out


async def test_knowledge_is_searched_by_what_it_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("The retry job runs every night.", encoding="utf-8")
    about = ("--id", "fact.retry", "--title", "Retry job", "--owner", "ops", "--review-by", "2027-01-01")
    assert (await run("bob", "knowledge", "publish", "note.md", *about)).code == 0
    assert "fact.retry" in (await run("alice", "knowledge", "search", "when are retries", "--kind", "fact")).out
    assert "2027-01-01" in (await run("alice", "knowledge", "ls")).out
