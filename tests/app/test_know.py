"""What plans rest on, on the command line."""

from pathlib import Path

from tests.app.test_cli import Run, api, run

__all__ = ["api", "run"]


async def test_knowledge_is_searched_by_what_it_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("The retry job runs every night.", encoding="utf-8")
    about = ("--id", "fact.retry", "--title", "Retry job", "--owner", "ops", "--review-by", "2027-01-01")
    assert (await run("bob", "knowledge", "publish", "note.md", *about)).code == 0
    assert "fact.retry" in (await run("alice", "knowledge", "search", "when are retries", "--kind", "fact")).out
    assert "2027-01-01" in (await run("alice", "knowledge", "ls")).out
